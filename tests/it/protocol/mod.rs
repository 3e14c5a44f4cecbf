//! The protocol's decisions, searched without any I/O.
