//! How the program ends: the exit codes, and errors as a person reads them.

use std::fmt;
use std::io::Write;

use floe_core::{Error, ErrorKind};

pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  failed; starting it again may help
  2  wrong usage, pipeline file or module
  3  fenced: another process owns the pipeline; do not restart this one
  4  refused: going on would lose or repeat records; a person decides
  5  differs: what was compared is not the same

FLOE_LOG=debug shows more (trace, debug, info, warn, error; or per part: floe_sink=debug).";

const DONE: u8 = 0;
const FAILED: u8 = 1;
const WRONG: u8 = 2;
const FENCED: u8 = 3;
const REFUSED: u8 = 4;
const DIFFERS: u8 = 5;
/// 128 + SIGINT, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// What was compared is not the same. The differences were shown already.
#[derive(Debug)]
pub(crate) struct Differs(pub(crate) String);

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Differs {}

/// Prints what went wrong, if anything did, and chooses the exit code.
pub(crate) fn report(done: anyhow::Result<()>) -> u8 {
    match done {
        Ok(()) => DONE,
        Err(error) if is_closed_pipe(&error) => DONE,
        Err(error) => {
            eprintln!("{}", text(&error));
            code(&error)
        }
    }
}

/// Ends the process at once. What C libraries and the allocator have registered for the end of a process is not
/// run: it tears down what threads still use that wait inside of a call to the world, and a run that had done
/// its work ended by a signal in place of its exit code.
pub(crate) fn end(code: u8) -> ! {
    // The reader may have gone; standard error holds nothing back.
    let _ = std::io::stdout().flush();
    // SAFETY: the call takes no pointers, and nothing runs behind it.
    unsafe { libc::_exit(code.into()) }
}

/// The one place that maps kinds of errors to exit codes.
fn code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<Differs>().is_some() {
        return DIFFERS;
    }
    match error.downcast_ref::<Error>().map(|it| it.kind) {
        Some(ErrorKind::Invalid) => WRONG,
        Some(ErrorKind::Fenced { .. }) => FENCED,
        Some(ErrorKind::Refused) => REFUSED,
        Some(ErrorKind::Retry | ErrorKind::Corrupt | ErrorKind::Unknown | ErrorKind::Operator)
        | None => FAILED,
    }
}

/// "error: what happened", then details, then "→ what to do", each indented.
pub(crate) fn text(error: &anyhow::Error) -> String {
    let message = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let fenced =
        matches!(error.downcast_ref::<Error>().map(|it| it.kind), Some(ErrorKind::Fenced { .. }));
    // Records and guests have their words in it: none of them may move a terminal's cursor.
    let message: String = message.chars().map(printable).collect();
    let mut lines = message.trim_end().lines();
    let first = lines.next().unwrap_or_default();
    let mut text = if fenced && !first.starts_with("fenced") {
        format!("error: fenced: {first}")
    } else {
        format!("error: {first}")
    };
    for line in lines {
        text.push('\n');
        if !line.is_empty() && !line.starts_with(' ') {
            text.push_str("  ");
        }
        text.push_str(line);
    }
    text
}

fn printable(char: char) -> char {
    if char.is_control() && char != '\n' { char::REPLACEMENT_CHARACTER } else { char }
}

/// `floe rows … | head` is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|it| it.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_code_and_its_look() {
        for (error, expected_code, expected_text) in [
            (Error::invalid("a\nb\n→ c"), 2, "error: a\n  b\n  → c"),
            (Error::refused("a\n  → c"), 4, "error: a\n  → c"),
            (Error::fenced(None, "g"), 3, "error: fenced: g"),
            (Error::fenced(None, "fenced: g"), 3, "error: fenced: g"),
            (Error::retry("r"), 1, "error: r"),
            (Error::corrupt("r"), 1, "error: r"),
            (Error::operator("r"), 1, "error: r"),
            (Error::operator("\u{1b}[2Jr"), 1, "error: \u{fffd}[2Jr"),
        ] {
            let error = anyhow::Error::from(error);
            assert_eq!(code(&error), expected_code, "{error}");
            assert_eq!(text(&error), expected_text);
            assert_eq!(code(&error.context("more")), expected_code);
        }
        assert_eq!(code(&anyhow::anyhow!("x")), 1);
        assert_eq!(code(&Differs("x".into()).into()), 5);
    }
}
