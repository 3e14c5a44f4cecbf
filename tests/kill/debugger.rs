//! `floe replay --debug`: gdb stops at a line of the operator, with one record, and prints a variable of it.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, check, root};
use crate::languages::clicks;
use crate::replay::must;
use crate::scene::{Place, Scene};

/// The line of sdk/c/examples/dedup.c that keeps a click's time.
const LINE: &str = "*seen = click->at.ms;";

/// The operator with all of its debug information.
fn build(scene: &Scene<'_>) -> Result<()> {
    let script = root().join("tests/components/guest-toolchains.sh");
    let zig = Command::new("bash").arg(script).arg("zig").output().context("find zig")?;
    ensure!(zig.status.success(), "{}", String::from_utf8_lossy(&zig.stderr));
    let zig = String::from_utf8(zig.stdout)?;
    let mut compile = Command::new(zig.trim());
    compile.arg("cc").current_dir(root().join("sdk/c"));
    compile.args(["-std=gnu2x", "--target=wasm32-wasi", "-mexec-model=reactor", "-O0", "-g"]);
    compile.args(["-Wl,-z,stack-size=262144", "-o"]).arg(scene.folder.join("dedup.wasm"));
    let done = compile.arg("examples/dedup.c").output().context("start zig cc")?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

fn stop_and_print(lab: &Lab) -> Result<()> {
    let mut scene = Scene::new(lab, "debugger", Place::Local)?;
    build(&scene)?;
    scene.settings.module = scene.folder.join("dedup.wasm");
    scene.settings.on_error = "skip";
    std::fs::write(scene.recording(), clicks())?;
    scene.write_pipeline()?;
    scene.run_until_end()?;
    let source = std::fs::read_to_string(root().join("sdk/c/examples/dedup.c"))?;
    let line = source.lines().position(|it| it.contains(LINE)).context("the line")? + 1;
    let at = format!("break dedup.c:{line}");
    // Record 33 of partition 2 is click 134.
    let replay = [
        "replay",
        "pipeline.toml",
        "--checkpoint",
        "0",
        "--task",
        "payments/2",
        "--until",
        "33",
        "--debug",
    ];
    let commands = [
        at.as_str(),
        "continue",
        "print __vmctx->set()",
        "print click->amount",
        "print is_new",
        "backtrace 1",
    ];
    let mut arguments = replay.to_vec();
    commands.iter().for_each(|it| arguments.extend(["--debug-command", it]));
    let place = format!("dedup.c:{line}");
    let words = [place.as_str(), "= 37\n", "= true\n", "process (row="];
    must(&scene, 0, &words, &arguments)?;
    scene.done();
    Ok(())
}

#[test]
fn gdb_stops_at_a_line_of_the_operator() {
    check("debugger::gdb_stops", &[], |lab| {
        let has_gdb = Command::new("gdb").arg("--version").output().is_ok();
        if !has_gdb && std::env::var_os("CI").is_none() {
            println!("skipped debugger::gdb_stops: there is no gdb");
            return Ok(());
        }
        stop_and_print(lab)
    });
}
