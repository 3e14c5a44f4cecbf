//! The log and the parts, over stores that lose answers, lose objects, and alter them.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod chain;
mod claim;
mod damage;
mod golden;
mod list;
mod lost_answers;
mod parts;
mod s3;
mod support;
mod savepoint;
mod shared;
mod sweep;
