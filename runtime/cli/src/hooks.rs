//! The hook of the kill tests: `FLOE_CRASH_AT=name[:nth]` ends the process at that point.

use floe_core::Error;
use floe_core::crash_point::{CrashPoint, arm};

const VARIABLE: &str = "FLOE_CRASH_AT";

pub(crate) fn arm_crash_point() -> anyhow::Result<()> {
    let Ok(text) = std::env::var(VARIABLE) else { return Ok(()) };
    let (name, nth) = text.split_once(':').unwrap_or((&text, "1"));
    let known = || CrashPoint::ALL.iter().map(|it| it.name()).collect::<Vec<_>>().join(", ");
    let point = CrashPoint::parse(name).ok_or_else(|| {
        Error::invalid(format!("{VARIABLE}: no crash point is named {name:?}\nknown: {}", known()))
    })?;
    let nth =
        nth.parse().map_err(|_| Error::invalid(format!("{VARIABLE}: {nth:?} is no number")))?;
    arm(point, nth);
    Ok(())
}
