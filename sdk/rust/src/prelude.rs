//! What an operator needs, in one line: `use floe_sdk::prelude::*;`.

pub use crate::config::Config;
pub use crate::error::{Error, Result};
pub use crate::log;
pub use crate::operator::{Emit, Operator};
pub use crate::record::Header;
pub use crate::row::Row;
#[cfg(feature = "state")]
pub use crate::state::State;
pub use crate::types::{Date, Decimal, TimeMicros, Timestamp, TimestampMicros, TimestampNanos};
pub use crate::world::{now, random_u64};
pub use crate::{bail, ensure};
pub use floe_sdk_derive::{Row, operator};
