//! What the tests of floe share: simulated worlds, and checkers over what happened in them.

pub mod simulation;
pub mod checkers;
pub mod proxy;
pub mod sdks;
