//! Keys for S3 that live for seconds: the catalog's proxy vends them, and the store's takes each for its time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::proxy::http::{self, Request, Response};

/// The store knows so many (`tests/components/s3.sh`), which are vended one after the other.
const COUNT: u64 = 64;
pub const SECRET: &str = "vended-secret";

/// What is vended at a time is good for that long and half as long again.
pub struct Keys {
    begin: Instant,
    life: Duration,
    used: Mutex<BTreeSet<u64>>,
    refused: Mutex<u64>,
}

impl Keys {
    pub fn of(life: Duration) -> Arc<Keys> {
        let (used, refused) = (Mutex::default(), Mutex::default());
        Arc::new(Keys { begin: Instant::now(), life, used, refused })
    }

    /// Keys that the store took.
    pub fn used(&self) -> usize {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Requests that it did not take.
    pub fn refused(&self) -> u64 {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        (self.begin.elapsed().as_millis() / self.life.as_millis()) as u64
    }

    fn ends(&self, number: u64) -> Instant {
        self.begin + self.life * (number as u32 + 1) + self.life / 2
    }

    /// A loaded table's answer, with the key of this moment in it.
    pub(super) fn vended(&self, request: &Request, answer: Vec<u8>) -> Vec<u8> {
        let text = String::from_utf8_lossy(&request.bytes).to_ascii_lowercase();
        let asked = text.contains("x-iceberg-access-delegation: vended-credentials");
        let is_table = request.method == "GET" && request.path.contains("/tables/");
        let response = Response { status: 200, bytes: answer };
        if !is_table || !asked || !response.bytes.starts_with(b"HTTP/1.1 200") {
            return response.bytes;
        }
        let body = response.body().ok();
        let table = body.and_then(|it| serde_json::from_slice::<serde_json::Value>(&it).ok());
        let Some(mut table) = table else { return response.bytes };
        let number = self.now();
        let left = self.ends(number).saturating_duration_since(Instant::now());
        let ends = SystemTime::now() + left;
        let ends_ms = ends.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis());
        table["storage-credentials"] = serde_json::json!([{
            "prefix": "s3://",
            "config": {
                "s3.access-key-id": format!("vended-{:02}", number % COUNT),
                "s3.secret-access-key": SECRET,
                "s3.session-token-expires-at-ms": ends_ms.to_string(),
            }
        }]);
        http::answer_with(200, &table.to_string())
    }

    /// The store's answer to a key that is not good, or not good any more.
    pub(super) fn refusal(&self, request: &Request) -> Option<Vec<u8>> {
        let text = String::from_utf8_lossy(&request.bytes);
        let key =
            text.split_once("Credential=vended-").and_then(|(_, it)| it.get(..2)?.parse().ok());
        let (now, key): (u64, Option<u64>) = (self.now(), key);
        // The newest of that name.
        let number = key.and_then(|key| (0..=now).rev().find(|it| it % COUNT == key));
        match number.filter(|it| Instant::now() < self.ends(*it)) {
            Some(number) => {
                self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
                None
            }
            None => {
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                let code = if key.is_some() { "ExpiredToken" } else { "AccessDenied" };
                let body = format!(
                    "<Error><Code>{code}</Code><Message>not taken</Message><Token-0>{SECRET}</Token-0></Error>"
                );
                Some(http::answer_with(403, &body))
            }
        }
    }
}
