//! Checkers: functions over the history of a world. Each returns what is wrong, as sentences.

pub mod oracle;
pub mod log;
pub mod tables;
pub mod keyed;
pub mod weaker;
pub mod ends;
pub mod replays;
pub mod reachable;
