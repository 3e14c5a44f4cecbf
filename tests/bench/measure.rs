//! A process from outside: CPU time and peak memory as the system counted them, wall time by the clock.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system.
    pub(crate) cpu_seconds: f64,
    pub(crate) wall_seconds: f64,
    pub(crate) rss_mb: f64,
}

/// Runs to the end; anything but exit code 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<Usage> {
    let begin = Instant::now();
    let child =
        command.stdout(Stdio::null()).spawn().with_context(|| format!("start {command:?}"))?;
    let (status, usage) = wait(child.id())?;
    ensure!(status == 0, "{command:?} ended with status {status:#x}");
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(Usage {
        cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        wall_seconds: begin.elapsed().as_secs_f64(),
        // Linux counts it in KiB.
        rss_mb: usage.ru_maxrss as f64 * 1024.0 / 1e6,
    })
}

/// Runs until it ends itself, however that is.
pub(crate) fn until_exit(command: &mut Command) -> Result<Duration> {
    let begin = Instant::now();
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.with_context(|| format!("start {command:?}"))?;
    wait(child.id())?;
    Ok(begin.elapsed())
}

fn wait(pid: u32) -> Result<(i32, libc::rusage)> {
    let mut status = 0;
    // SAFETY: rusage is a struct of integers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the types that wait4 writes.
    let waited = unsafe { libc::wait4(pid as libc::pid_t, &raw mut status, 0, &raw mut usage) };
    ensure!(waited == pid as libc::pid_t, "wait for {pid}: {}", std::io::Error::last_os_error());
    Ok((status, usage))
}
