//! Windows, sessions and timers of event time: plain state in the operator's fields, driven by its `watermark`.
//!
//! ```
//! use floe_sdk::event_time::{Minutes, Windows};
//! use floe_sdk::prelude::*;
//!
//! #[derive(Row)]
//! struct Payment { merchant_id: String, ts: Timestamp, amount_minor: i64 }
//!
//! #[derive(Row)]
//! struct Total { merchant_id: String, minute: Timestamp, amount_minor: i64 }
//!
//! struct PerMinute { windows: Windows<String, i64> }
//!
//! #[operator]
//! impl Operator for PerMinute {
//!     type Input = Payment;
//!     type Output = Total;
//!
//!     fn open(_: Config) -> Result<Self> {
//!         Ok(PerMinute { windows: Windows::tumbling(Minutes(1)) })
//!     }
//!
//!     fn process(&mut self, it: Payment, _: &mut Emit<Total>) -> Result<()> {
//!         self.windows.update(it.ts, it.merchant_id, |sum| *sum += it.amount_minor)
//!     }
//!
//!     fn watermark(&mut self, time: Timestamp, out: &mut Emit<Total>) -> Result<()> {
//!         for (window, merchant_id, amount_minor) in self.windows.close(time) {
//!             out.emit(Total { merchant_id, minute: window.start, amount_minor })?;
//!         }
//!         Ok(())
//!     }
//! }
//! ```
//!
//! The pipeline file says where event time is: `event-time = { field = "ts", out-of-order = "5s" }` in
//! `[source]`. Without it no watermark comes, and no window is ever closed.
//!
//! A record that comes behind the watermark is late: its window was closed, and `update` returns an error.
//! With `?` the record is rejected, so that `on-error = "dead-letter"` keeps late records in a table.
//!
//! Rows come out in the order of time, then of key, so the same state always gives the same bytes.

mod session;
mod timer;
mod window;

pub use session::{Session, Sessions};
pub use timer::Timers;
pub use window::{Window, Windows};

/// A span of event time.
pub trait Span {
    /// In milliseconds.
    fn millis(self) -> i64;
}

macro_rules! span {
    ($name:ident, $text:literal, $millis:literal) => {
        #[doc = $text]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(
            /// How many.
            pub i64,
        );

        impl Span for $name {
            fn millis(self) -> i64 {
                self.0.saturating_mul($millis)
            }
        }
    };
}

span!(Millis, "Milliseconds.", 1);
span!(Seconds, "Seconds.", 1_000);
span!(Minutes, "Minutes.", 60_000);
span!(Hours, "Hours.", 3_600_000);
