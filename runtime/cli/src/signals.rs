//! SIGTERM and Ctrl-C: the first stops in order, the second at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::{self, INTERRUPTED};

/// Listens for as long as the runtime lives. The value becomes true at the first signal.
pub(crate) fn stop_on_signals() -> std::io::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let mut stopping = false;
        loop {
            // Both are cancel-safe: a signal that is not taken now is taken by the next call.
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stopping {
                // Everything that counts is in the checkpoint; this is what a crash would do.
                exit::end(INTERRUPTED);
            }
            stopping = true;
            tracing::info!("stopping in order; once more stops at once");
            if sender.send(true).is_err() {
                exit::end(INTERRUPTED);
            }
        }
    });
    Ok(receiver)
}
