//! Whether the brokers can be reached, by what the client says of itself; and the client's log.
//!
//! librdkafka reconnects for ever by itself. This only remembers since when it tries in vain.

use std::time::{Duration, Instant};

use floe_core::{Error, ErrorKind};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::native::{Client, Event};

#[derive(Default)]
pub(super) struct Link {
    down_since: Option<Instant>,
    last_error: Option<(Code, String)>,
    warned_at: Option<Instant>,
    /// The client wrote an error into its log that it tells in no other way.
    suspicion: bool,
}

/// A broker that is away is logged about as often as a person wants to read it.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The facility under which librdkafka logs errors that no callback takes.
const PARTITION_ERRORS: &str = "ERROR";

impl Link {
    /// Reads what the client has to say.
    pub(super) fn listen(&mut self, client: &mut Client) {
        while let Some(event) = client.event() {
            match event {
                Event::Log { level, facility, text } => {
                    self.suspicion |= facility == PARTITION_ERRORS;
                    log(level, &text);
                }
                Event::Error { code, text } => self.note(code, text),
                Event::Other => {}
            }
        }
    }

    /// A connection failed. It is retried; nothing is lost meanwhile.
    pub(super) fn note(&mut self, code: Code, text: String) {
        if self.warned_at.is_none_or(|it| it.elapsed() >= WARN_EVERY) {
            tracing::warn!(target: "floe::kafka", error = %text, "Kafka connection failed, trying again");
            self.warned_at = Some(Instant::now());
        }
        // "All brokers are down" follows the error that says why, which is the better one to keep.
        if code == Code::AllBrokersDown {
            self.down_since.get_or_insert_with(Instant::now);
        } else {
            self.last_error = Some((code, text));
        }
    }

    /// Something came from a broker.
    pub(super) fn up(&mut self) {
        self.down_since = None;
        self.last_error = None;
    }

    /// Whether partitions may be gone: librdkafka hands such an error to nobody who takes records in
    /// batches, and logs it. The log is only the reason to ask the cluster.
    pub(super) fn take_suspicion(&mut self) -> bool {
        std::mem::take(&mut self.suspicion)
    }

    pub(super) fn down_for(&self) -> Option<Duration> {
        self.down_since.map(|it| it.elapsed())
    }

    /// Why no broker answered, and what to look at.
    pub(super) fn unreachable(&self, bootstrap_servers: &str, waited: Duration) -> Error {
        let seconds = waited.as_secs();
        let (kind, cause) = match &self.last_error {
            // No waiting makes a wrong password right.
            Some((Code::Authentication | Code::SSL, text)) => (ErrorKind::Invalid, text.as_str()),
            Some((_, text)) => (ErrorKind::Retry, text.as_str()),
            None => (ErrorKind::Retry, "no answer"),
        };
        Error::new(
            kind,
            format!(
                "cannot reach Kafka at {bootstrap_servers} within {seconds} s: {cause}; check that the broker runs, \
                 that `bootstrap-servers` in [source] and the broker's advertised.listeners name an address that \
                 this host can reach, and that security.protocol in `properties` is the listener's"
            ),
        )
    }
}

/// Levels count as syslog does. What librdkafka calls an error it goes on from by itself.
fn log(level: i32, text: &str) {
    match level {
        ..=2 => tracing::error!(target: "floe::kafka", "{text}"),
        3..=4 => tracing::warn!(target: "floe::kafka", "{text}"),
        _ => tracing::debug!(target: "floe::kafka", "{text}"),
    }
}
