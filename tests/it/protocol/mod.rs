//! The protocol's decisions, searched without any I/O: every interleaving up to a bound.

mod model;
mod search;
