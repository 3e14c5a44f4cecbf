//! What the commands share that run a checkpoint again: replay, verify-determinism, bundle, trace, bisect.

pub(crate) mod folder;
pub(crate) mod subject;
pub(crate) mod input;
pub(crate) mod run;
pub(crate) mod report;
pub(crate) mod redact;
