//! stderr as the log and the progress line share it: the line is taken away before a log line comes.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone)]
pub(crate) struct Terminal {
    /// The progress line that stands there now; empty if none does.
    line: Arc<Mutex<String>>,
    is_terminal: bool,
}

/// Back to the first column, and away with what stands there.
const CLEAR: &str = "\r\x1b[2K";

impl Terminal {
    pub(crate) fn new() -> Self {
        Terminal { line: Arc::default(), is_terminal: io::stderr().is_terminal() }
    }

    /// One that shows no progress.
    pub(crate) fn silent() -> Self {
        Terminal { line: Arc::default(), is_terminal: false }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Rewrites the progress line. Without a terminal there is none.
    pub(crate) fn progress(&self, text: &str) {
        if !self.is_terminal {
            return;
        }
        let mut line = self.line.lock().expect("no holder of this lock panics");
        let width = width().saturating_sub(1);
        *line = text.chars().take(width).collect();
        // A terminal that is gone is no reason to stop a pipeline.
        let _ = write!(io::stderr(), "{CLEAR}{line}");
    }

    pub(crate) fn end_progress(&self) {
        let mut line = self.line.lock().expect("no holder of this lock panics");
        if !line.is_empty() {
            let _ = write!(io::stderr(), "{CLEAR}");
            line.clear();
        }
    }
}

/// The columns of the terminal; 120 where it does not tell.
fn width() -> usize {
    terminal_size::terminal_size_of(io::stderr()).map_or(120, |(width, _)| usize::from(width.0))
}

/// One log line, written whole.
pub(crate) struct LogLine {
    terminal: Terminal,
    buffer: Vec<u8>,
}

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        let line = self.terminal.line.lock().expect("no holder of this lock panics");
        let mut whole = Vec::with_capacity(self.buffer.len() + line.len() + 8);
        if !line.is_empty() {
            whole.extend_from_slice(CLEAR.as_bytes());
        }
        whole.extend_from_slice(&self.buffer);
        whole.extend_from_slice(line.as_bytes());
        // There is nobody to tell that the log cannot be written.
        let _ = io::stderr().write_all(&whole);
    }
}

impl<'a> MakeWriter<'a> for Terminal {
    type Writer = LogLine;

    fn make_writer(&'a self) -> LogLine {
        LogLine { terminal: self.clone(), buffer: Vec::new() }
    }
}
