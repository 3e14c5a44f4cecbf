//! Operators that are broken or hostile: each is named, the host lives, and nothing of it is seen.

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, check, root};
use crate::process::{End, PATIENCE};
use crate::scene::{Place, Scene};

/// What `floe_v1_process` does in place of its work, and what must be said.
const CALLS: &[(&str, &str, &[&str])] = &[
    ("loops", "(loop $for_ever (br $for_ever)) (i32.const 0)", &["fuel"]),
    ("traps", "unreachable", &["unreachable"]),
    ("divides", "(i32.div_s (i32.const 1) (i32.const 0))", &["divi"]),
    ("overflows", "(call $deeper (i32.const 0))", &["stack"]),
    ("reads-outside", "(drop (i32.load (i32.const 0x7fffffff))) (i32.const 0)", &["out of bounds"]),
    (
        // It goes on for as long as the host gives it pages, then it says that it could not.
        "grows",
        "(block $full (loop $more (br_if $full (i32.eq (memory.grow (i32.const 64)) (i32.const -1))) (br $more))) unreachable",
        &["unreachable"],
    ),
    ("emits-nowhere", "(call $emit (i32.const 0) (i32.const 0x7ffffff0)) (i32.const 0)", &["emit"]),
    ("emits-to-output-9", "(call $emit (i32.const 9) (i32.const 4160)) (i32.const 0)", &["output"]),
    ("says-no", "(i32.const 17)", &["17"]),
];

/// Whole modules that must be refused before anything starts.
const MODULES: &[(&str, &str, &[&str])] = &[
    ("no-module", "this is no module", &["module"]),
    ("no-exports", "(module (memory (export \"memory\") 1))", &["floe_v1_"]),
    (
        "unknown-import",
        "(module (import \"env\" \"system\" (func (param i32))) (memory (export \"memory\") 1))",
        &["system"],
    ),
    (
        "another-version",
        "(module (import \"floe_v2\" \"emit\" (func (param i32 i32))) (memory (export \"memory\") 1))",
        &["floe_v2"],
    ),
    ("shared-memory", "(module (memory (export \"memory\") 1 1 shared))", &["shared"]),
    ("memory64", "(module (memory (export \"memory\") i64 1))", &["64"]),
];

#[test]
fn each_broken_operator_is_named() {
    check("bad_modules::each_broken_operator", &[], |lab| {
        let mut failed = Vec::new();
        for (name, body, says) in CALLS {
            let done =
                counter_with(body).and_then(|text| one(lab, name, &text, End::Code(1), says));
            failed.extend(done.err().map(|error| format!("{name}: {error:#}")));
        }
        for (name, text, says) in MODULES {
            let done = one(lab, name, text, End::Code(2), says);
            failed.extend(done.err().map(|error| format!("{name}: {error:#}")));
        }
        ensure!(failed.is_empty(), "{} cases\n{}", failed.len(), failed.join("\n"));
        Ok(())
    });
}

/// The demo's counter with another body of `floe_v1_process`.
fn counter_with(body: &str) -> Result<String> {
    let path = root().join("runtime/cli/src/demo/counter.wat");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let begin = text.find("(func (export \"floe_v1_process\")").context("the counter processes")?;
    Ok(format!(
        "{}(func $deeper (param i32) (result i32) (i32.add (i32.const 1) (call $deeper (local.get 0))))\n\
         (func (export \"floe_v1_process\") (param $batch i32) (result i32) {body}))",
        &text[..begin]
    ))
}

fn one(lab: &Lab, name: &str, module: &str, expected: End, says: &[&str]) -> Result<()> {
    let mut scene = Scene::new(lab, &format!("module-{name}"), Place::Local)?;
    let path = scene.folder.join(format!("{name}.wat"));
    std::fs::write(&path, module)?;
    scene.settings.module = path;
    scene.settings.operator = "limits = { memory = \"64MiB\" }".to_owned();
    let line = r#"{"partition":0,"offset":0,"timestamp":1,"value":"{\"order_id\":\"o-1\"}"}"#;
    std::fs::write(scene.recording(), format!("{line}\n"))?;
    scene.write_pipeline()?;
    let mut process = scene.start(&["run", "--until-end"])?;
    let end = process.wait(PATIENCE)?;
    let said = process.said();
    ensure!(end == expected, "it ended with {end:?}\n{said}");
    for word in says.iter().chain(&["error:"]) {
        ensure!(said.contains(word), "{word:?} is not in what it said\n{said}");
    }
    ensure!(!said.contains("panicked"), "the host panicked\n{said}");
    if expected == End::Code(1) {
        // The place of the record, and nothing in the table.
        ensure!(said.contains("payments/0"), "no place is in what it said\n{said}");
        ensure!(scene.row_count()? == 0, "rows of a broken operator are in the table");
    }
    scene.done();
    Ok(())
}
