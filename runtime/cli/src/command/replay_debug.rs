//! `floe replay --debug`: the replay under gdb, which sees the operator's lines and variables.

use std::os::unix::process::CommandExt;
use std::process::Command;

use floe_core::{Error, Offset};

use crate::args::ReplayArgs;

/// gdb stops here. Records before `--until` are through, and the next call is the operator's with this one.
#[inline(never)]
pub(super) fn record_reached(offset: Offset) {
    std::hint::black_box(offset);
}

/// Of the call in there. gdb finds a function of this program by its line alone: names are left out of
/// releases.
const REACHED: u32 = line!() - 5;

/// Becomes gdb. Gives the error where it cannot.
pub(super) fn start(args: &ReplayArgs) -> anyhow::Error {
    match command(args) {
        Ok(mut gdb) => {
            let error = gdb.exec();
            Error::invalid(format!(
                "gdb cannot be started: {error}\n→ install it (Debian: apt install gdb), or write a core dump with --core"
            ))
            .into()
        }
        Err(error) => error,
    }
}

fn command(args: &ReplayArgs) -> anyhow::Result<Command> {
    let mut gdb = Command::new("gdb");
    gdb.args(["-q", "-nx"]);
    let mut tell = |text: &str| {
        gdb.args(["-ex", text]);
    };
    // The engine turns these into traps itself.
    tell("handle SIGSEGV SIGILL SIGFPE SIGBUS nostop noprint pass");
    // Lines of a module are known only when it is compiled.
    tell("set breakpoint pending on");
    tell("set pagination off");
    tell("set confirm off");
    tell(&format!("break replay_debug.rs:{REACHED}"));
    tell("run");
    match args.debug_command.is_empty() {
        true => {
            let until = args.until.unwrap_or_default();
            tell(&format!(
                "echo the next call is the operator's, with record {until}\\n→ break FILE:LINE, continue; print __vmctx->set() before pointers of the operator\\n"
            ));
        }
        false => {
            args.debug_command.iter().for_each(|it| tell(it));
            gdb.arg("--batch");
        }
    }
    gdb.arg("--args").arg(std::env::current_exe()?).arg("replay").arg(&args.subject);
    let mut value = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            gdb.args([name, &value]);
        }
    };
    value("--checkpoint", args.checkpoint.map(|it| it.to_string()));
    value("--to", args.to.map(|it| it.to_string()));
    value("--task", args.task.clone());
    value("--until", args.until.map(|it| it.to_string()));
    if let Some(recording) = &args.recording {
        gdb.arg("--recording").arg(recording);
    }
    gdb.arg("--debugged");
    Ok(gdb)
}
