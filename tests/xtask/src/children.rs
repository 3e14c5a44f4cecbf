//! Child processes: run to their end, and ended with us when we are told to stop.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use anyhow::{Context, Result, bail};

/// The child in the foreground and its group, for the signal handler; 0 for none.
static FOREGROUND: AtomicI32 = AtomicI32::new(0);
static STOPPED: AtomicBool = AtomicBool::new(false);

/// On Ctrl-C or SIGTERM the child in the foreground is told, with all that it started, and we live on to end
/// the components.
pub(crate) fn forward_signals() -> Result<()> {
    extern "C" fn forward(signal: libc::c_int) {
        STOPPED.store(true, Ordering::SeqCst);
        let child = FOREGROUND.load(Ordering::SeqCst);
        if child > 0 {
            // SAFETY: kill is async-signal-safe, and the group is of a child that was not waited for yet.
            unsafe { libc::kill(-child, signal) };
        }
    }
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let handler = forward as extern "C" fn(libc::c_int);
        // SAFETY: the handler touches atomics and calls kill alone, both safe in a signal handler.
        let before = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        if before == libc::SIG_ERR {
            return Err(std::io::Error::last_os_error()).context("install a signal handler");
        }
    }
    Ok(())
}

/// Runs a command to its end, which must be a good one.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let text = describe(command);
    refuse_when_stopped()?;
    // A group of its own: cargo does not pass a signal on to the tests that it runs.
    let spawned = command.process_group(0).spawn();
    let mut child = spawned.with_context(|| format!("start {text}"))?;
    FOREGROUND.store(child.id() as i32, Ordering::SeqCst);
    let status = child.wait().with_context(|| format!("wait for {text}"));
    FOREGROUND.store(0, Ordering::SeqCst);
    let status = status?;
    refuse_when_stopped()?;
    if !status.success() {
        bail!("{text}: {status}");
    }
    Ok(())
}

/// Runs a command to its end and gives what it printed; its stderr is ours.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let text = describe(command);
    refuse_when_stopped()?;
    let out = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("start {text}"))?;
    if !out.status.success() {
        bail!("{text}: {}", out.status);
    }
    String::from_utf8(out.stdout).with_context(|| format!("read what {text} prints"))
}

fn refuse_when_stopped() -> Result<()> {
    if STOPPED.load(Ordering::SeqCst) {
        bail!("stopped by a signal");
    }
    Ok(())
}

fn describe(command: &Command) -> String {
    let arguments = command.get_args().map(|it| it.to_string_lossy());
    let name = command.get_program().to_string_lossy().into_owned();
    std::iter::once(name.into()).chain(arguments).collect::<Vec<_>>().join(" ")
}
