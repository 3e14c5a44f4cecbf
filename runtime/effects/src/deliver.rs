//! One intent over HTTP, tried until there is an answer that settles it.

use std::time::Duration;

use floe_core::{Error, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What came of an intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub outcome: OutcomeKind,
    pub status: u16,
    /// The begin of the answer.
    pub body: String,
    pub attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeKind {
    Done,
    /// The server will never take it.
    Refused,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Settled(OutcomeKind),
    Again,
}

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
const BODY_BYTES_MAX: usize = 1024;

fn judge(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Settled(OutcomeKind::Done),
        // Too early, too many, and whatever is the server's own trouble.
        408 | 425 | 429 | 500..=599 => Verdict::Again,
        _ => Verdict::Settled(OutcomeKind::Refused),
    }
}

/// `None` when it was told to stop before an answer came.
pub(crate) async fn deliver(
    client: &reqwest::Client,
    url: &str,
    key: &str,
    body: &[u8],
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<Outcome>> {
    let mut backoff = BACKOFF_MIN;
    for attempts in 1.. {
        let request = client
            .post(url)
            .header("Idempotency-Key", key)
            .header("Content-Type", "application/json")
            .body(body.to_vec());
        let why = match request.send().await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                match (judge(status), answer.text().await) {
                    (Verdict::Settled(outcome), Ok(text)) => {
                        let body = shortened(&text);
                        return Ok(Some(Outcome { outcome, status, body, attempts }));
                    }
                    (Verdict::Settled(_), Err(error)) => format!("the answer broke off: {error}"),
                    (Verdict::Again, _) => format!("status {status}"),
                }
            }
            Err(error) if error.is_builder() => {
                return Err(Error::invalid(format!("{url:?} is no URL: {error}")));
            }
            Err(error) => error.to_string(),
        };
        tracing::warn!(key, attempts, "not settled, trying again in {backoff:?}: {why}");
        tokio::select! {
            () = tokio::time::sleep(backoff) => {}
            _ = stop.wait_for(|it| *it) => return Ok(None),
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
    Ok(None)
}

fn shortened(text: &str) -> String {
    let mut end = text.len().min(BODY_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_settled_or_tried_again() {
        for status in 100..=999u16 {
            let wanted = match status {
                200..=299 => Verdict::Settled(OutcomeKind::Done),
                408 | 425 | 429 => Verdict::Again,
                500..=599 => Verdict::Again,
                _ => Verdict::Settled(OutcomeKind::Refused),
            };
            assert_eq!(judge(status), wanted, "{status}");
        }
    }

    #[test]
    fn a_body_is_cut_between_characters() {
        let long = "ü".repeat(BODY_BYTES_MAX);
        assert_eq!(shortened(&long).len(), BODY_BYTES_MAX);
        assert_eq!(shortened(&format!("a{long}")).len(), BODY_BYTES_MAX - 1);
    }
}
