//! The files of a new operator: the SDK's sources, and the SDK's own example with its test.
//!
//! The examples lie in the repository as they are built and tested there; what differs in a folder of
//! its own is where the SDK is.

use crate::args::Language;

/// The SDKs' sources, as build.rs found them.
mod sdks {
    include!(concat!(env!("OUT_DIR"), "/sdks.rs"));
}

/// A file of the repository as a file of the new folder, with what is replaced in it. `NAME` in a
/// replacement is the operator's name.
struct File {
    name: &'static str,
    text: &'static str,
    edits: &'static [(&'static str, &'static str)],
}

/// Files of an SDK, as build.rs lists them: the name, and the text.
type Sources = &'static [(&'static str, &'static str)];

const fn file(name: &'static str, text: &'static str) -> File {
    File { name, text, edits: &[] }
}

const CASE: File =
    file("cases/dedup.case", include_str!("../../../../../sdk/rust/template/cases/dedup.case"));

const RUST: &[File] = &[
    File {
        name: "Cargo.toml",
        text: concat!(
            include_str!("../../../../../sdk/rust/template/Cargo.toml"),
            include_str!("rust/profile.toml")
        ),
        edits: &[("floe-template-rust", "NAME"), ("path = \"..\"", "path = \"floe-sdk\"")],
    },
    file("floe-sdk/Cargo.toml", include_str!("rust/sdk.toml")),
    file("floe-sdk/derive/Cargo.toml", include_str!("rust/derive.toml")),
];

const C: &[File] = &[
    File {
        name: "operator.c",
        text: include_str!("../../../../../sdk/c/examples/dedup.c"),
        edits: &[("../floe.h", "floe-sdk/c/floe.h")],
    },
    File {
        name: "operator_test.c",
        text: include_str!("../../../../../sdk/c/tests/dedup_test.c"),
        edits: &[
            ("../examples/dedup.c", "operator.c"),
            ("../floe_test.h", "floe-sdk/c/floe_test.h"),
            ("dedup_test", "operator_test"),
        ],
    },
    CASE,
];

const CPP: &[File] = &[
    File {
        name: "operator.cpp",
        text: include_str!("../../../../../sdk/cpp/examples/dedup.cpp"),
        edits: &[("../floe.hpp", "floe-sdk/cpp/floe.hpp")],
    },
    File {
        name: "operator_test.cpp",
        text: include_str!("../../../../../sdk/cpp/tests/dedup_test.cpp"),
        edits: &[
            ("../examples/dedup.cpp", "operator.cpp"),
            ("../../c/floe_test.h", "floe-sdk/c/floe_test.h"),
            ("dedup_test", "operator_test"),
        ],
    },
    CASE,
];

const GO: &[File] = &[
    file("main.go", include_str!("../../../../../sdk/go/examples/dedup/main.go")),
    file("main_test.go", include_str!("../../../../../sdk/go/examples/dedup/main_test.go")),
    // A path of one word may be a package of Go's own, as `math` is, or one that it refuses, as `go`.
    File {
        name: "go.mod",
        text: include_str!("go/go.mod"),
        edits: &[("module operator", "module operators/NAME")],
    },
    CASE,
];

const ZIG: &[File] = &[
    file("operator.zig", include_str!("../../../../../sdk/zig/examples/dedup.zig")),
    File {
        name: "operator_test.zig",
        text: include_str!("../../../../../sdk/zig/examples/dedup_test.zig"),
        edits: &[("dedup.zig", "operator.zig")],
    },
    CASE,
];

const ASSEMBLYSCRIPT: &[File] = &[
    File {
        name: "operator.ts",
        text: include_str!("../../../../../sdk/assemblyscript/examples/dedup.ts"),
        edits: &[("\"../assembly\"", "\"./floe-sdk/assembly\"")],
    },
    file("asconfig.json", include_str!("assemblyscript/asconfig.json")),
    file("tsconfig.json", include_str!("assemblyscript/tsconfig.json")),
    File {
        name: "package.json",
        text: include_str!("assemblyscript/package.json"),
        edits: &[("operator", "NAME")],
    },
    CASE,
];

const JAVASCRIPT: &[File] = &[
    file("operator.js", include_str!("../../../../../sdk/javascript/examples/dedup.js")),
    // Without types written down, strictness would complain of each parameter.
    File {
        name: "jsconfig.json",
        text: include_str!("javascript/tsconfig.json"),
        edits: &[("\"strict\": true", "\"strict\": false")],
    },
    CASE,
];

const TYPESCRIPT: &[File] = &[
    file("operator.ts", include_str!("../../../../../sdk/javascript/examples/dedup.ts")),
    file("tsconfig.json", include_str!("javascript/tsconfig.json")),
    File {
        name: "package.json",
        text: include_str!("javascript/package.json"),
        edits: &[("operator", "NAME")],
    },
    CASE,
];

/// All files of a new operator: its name, and its text.
pub(super) fn files(language: Language, name: &str) -> Vec<(String, String)> {
    let (sources, own): (&[Sources], &[File]) = match language {
        Language::Rust => (&[sdks::RUST], RUST),
        Language::C => (&[sdks::C], C),
        Language::Cpp => (&[sdks::C, sdks::CPP], CPP),
        Language::Go => (&[sdks::GO], GO),
        Language::Zig => (&[sdks::ZIG], ZIG),
        Language::As => (&[sdks::ASSEMBLYSCRIPT], ASSEMBLYSCRIPT),
        Language::Js => (&[sdks::JAVASCRIPT], JAVASCRIPT),
        Language::Ts => (&[sdks::JAVASCRIPT], TYPESCRIPT),
    };
    let sdk = sources.iter().flat_map(|it| it.iter());
    let sdk = sdk.map(|(file, text)| ((*file).to_owned(), (*text).to_owned()));
    let own = own.iter().map(|file| {
        let edit = |text: String, (from, to): &(&str, &str)| {
            assert!(text.contains(from), "{}: it holds no {from}", file.name);
            text.replace(from, &to.replace("NAME", name))
        };
        (file.name.to_owned(), file.edits.iter().fold(file.text.to_owned(), edit))
    });
    let ignored = match language {
        Language::As | Language::Js | Language::Ts => "target/\nnode_modules/\n",
        _ => "target/\n",
    };
    sdk.chain(own).chain([(".gitignore".to_owned(), ignored.to_owned())]).collect()
}

/// Packages that stand in the new folder beside the operator's.
pub(super) fn taken(language: Language) -> &'static [&'static str] {
    match language {
        Language::Rust => &["floe-sdk", "floe-sdk-derive"],
        Language::C
        | Language::Cpp
        | Language::Go
        | Language::Zig
        | Language::As
        | Language::Js
        | Language::Ts => &[],
    }
}

/// What is done once in the new folder before the rest, if anything.
pub(super) fn first_command(language: Language) -> &'static str {
    match language {
        Language::As => "\n  npm install       gets the compiler",
        Language::Ts => "\n  npm install       gets esbuild, which takes the types out",
        _ => "",
    }
}
