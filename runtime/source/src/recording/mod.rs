//! A recording: records of a topic in a file, one JSON object a line, read as if from the broker.
//!
//! ```json
//! {"partition":0,"offset":12,"timestamp":1760000000000,"key":"m-1","value":"text","headers":[["n","v"]]}
//! ```
//!
//! `key` and `value` are a string, `null` (or left out), or `{"base64":"…"}`; `topic` is the source's
//! own unless named. Lines are in offset order within a partition; partitions may be mixed.

mod by_partition;
mod index;
mod keeper;
mod line;
mod source;

pub use keeper::{Keeper, keep, lines};
pub use line::write_line;
pub use source::RecordingSource;
