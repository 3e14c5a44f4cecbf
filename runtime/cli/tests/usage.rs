//! What a person sees who says something wrong, and the exit code that a supervisor sees.

use std::path::PathBuf;
use std::process::{Command, Output};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("floe-usage-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder under the temporary one");
        Folder(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file in it");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn floe(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_floe")).args(args).output().expect("floe starts")
}

fn check(args: &[&str], code: i32, words: &[&str]) {
    let output = floe(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?}: {word:?} is not in\n{said}");
    }
    assert!(!said.contains("panicked") && !said.contains("stack backtrace"), "{said}");
}

const PIPELINE: &str = r#"
[pipeline]
id = "orders"

[source]
recording = "orders.jsonl"

[[operator]]
module = "counter.wat"

[sink]
iceberg = "demo.orders"
catalog = { type = "sql", uri = "sqlite://lake.db", warehouse = "file://./lake" }
"#;

#[test]
fn wrong_usage_says_what_and_ends_with_2() {
    let folder = Folder::new("wrong");
    let typo = folder.file("typo.toml", &PIPELINE.replace("recording", "recordng"));
    let missing = folder.file("missing.toml", PIPELINE);
    check(&[], 2, &["Usage"]);
    check(&["rum"], 2, &["rum"]);
    check(&["run", "no-such.toml"], 2, &["error: the pipeline file no-such.toml cannot be read"]);
    check(
        &["run", &typo],
        2,
        &[
            "error: the pipeline file is wrong, nothing was started",
            "typo.toml:6:1",
            "mean \"recording\"",
        ],
    );
    // The source and the module are opened side by side: either may be the first to be missed.
    check(&["run", &missing], 2, &["error: ", "No such file"]);
    check(&["inspect", &missing], 2, &["error: ", "is not WebAssembly"]);
    check(&["checkpoint", "show", &missing], 2, &["no checkpoint yet"]);
    check(&["new", "Clicks", "--lang", "go"], 2, &["small letters"]);
    check(&["new", "floe-sdk", "--lang", "rust"], 2, &["floe-sdk is the name of a package"]);
    check(&["demo", "--module", "nothing.wasm"], 2, &["nothing.wasm", "cargo xtask demo"]);
}

#[test]
fn what_needs_no_pipeline_works() {
    let folder = Folder::new("works");
    let counter = folder.file("counter.wat", include_str!("../src/demo/counter.wat"));
    let pipeline = folder.file("orders.toml", PIPELINE);
    check(&["version"], 0, &["floe "]);
    check(&["help"], 0, &["Exit codes", "fenced", "differs"]);
    check(&["schema"], 0, &["\"title\": \"floe pipeline\""]);
    check(&["inspect", &counter], 0, &["order-counter 1", "order_id", "1 mutable globals"]);
    check(&["inspect", &counter, "--json"], 0, &["\"abi_version\": 1"]);
    check(&["checkpoint", "list", &pipeline], 0, &["no checkpoint of \"orders\""]);
    check(&["checkpoint", "list", &pipeline, "--json"], 0, &["[]"]);
    assert!(!folder.0.join("lake").exists(), "looking makes nothing");
}

/// They are found by a name alone: a linker that left them out would say nothing.
#[test]
fn the_allocator_takes_its_settings() {
    let output = Command::new(env!("CARGO_BIN_EXE_floe"))
        .arg("version")
        .env("MALLOC_CONF", "confirm_conf:true")
        .output()
        .expect("floe starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Set conf value: dirty_decay_ms:100"), "{said}");
}
