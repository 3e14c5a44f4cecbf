//! Puts the SDKs' sources into the program, for `floe new` where the repository is not at hand.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// A list of (language, folder in the new operator, folder here, file endings, into folders below?).
const TREES: &[(&str, &str, &str, &[&str], bool)] = &[
    ("RUST", "floe-sdk/src", "sdk/rust/src", &[".rs"], true),
    ("RUST", "floe-sdk/derive/src", "sdk/rust/derive/src", &[".rs"], true),
    ("RUST", "", "sdk/rust/template", &[".rs", ".case"], true),
    ("C", "floe-sdk/c", "sdk/c", &[".h"], false),
    ("C", "floe-sdk/abi", "sdk/abi", &[".h"], false),
    ("CPP", "floe-sdk/cpp", "sdk/cpp", &[".hpp"], false),
    ("GO", "floe-sdk", "sdk/go", &[".go", "go.mod"], false),
    ("ZIG", "floe-sdk", "sdk/zig", &[".zig"], false),
    ("JAVASCRIPT", "floe-sdk", "sdk/javascript", &[".d.ts"], false),
    ("ASSEMBLYSCRIPT", "floe-sdk/assembly", "sdk/assemblyscript/assembly", &[".ts"], false),
];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut text = String::new();
    for language in ["RUST", "C", "CPP", "GO", "ZIG", "JAVASCRIPT", "ASSEMBLYSCRIPT"] {
        let mut entries = Vec::new();
        for (_, to, from, endings, deep) in TREES.iter().filter(|it| it.0 == language) {
            let folder = root.join(from);
            println!("cargo::rerun-if-changed={}", folder.display());
            let mut files = Vec::new();
            walk(&folder, *deep, &mut files);
            for file in files {
                let name = file.strip_prefix(&folder).expect("it is below").display().to_string();
                if endings.iter().any(|it| name.ends_with(it)) && !name.ends_with("_test.go") {
                    let to = if to.is_empty() { name } else { format!("{to}/{name}") };
                    entries.push((to, file));
                }
            }
        }
        entries.sort();
        writeln!(text, "pub(super) const {language}: &[(&str, &str)] = &[").expect("a text");
        for (to, file) in entries {
            let file = file.display().to_string();
            writeln!(text, "    ({to:?}, include_str!({file:?})),").expect("a text");
        }
        text.push_str("];\n");
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    std::fs::write(out.join("sdks.rs"), text).expect("write the list of files");
}

fn walk(folder: &Path, deep: bool, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the SDK is in the repository").flatten() {
        let path = entry.path();
        let is_built = path.file_name().is_some_and(|it| it == "target");
        if path.is_dir() && deep && !is_built {
            walk(&path, deep, files);
        } else if path.is_file() {
            files.push(path);
        }
    }
}
