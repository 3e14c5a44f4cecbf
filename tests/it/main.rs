//! The one test binary that links everything.

mod conformance;
mod protocol;
mod simulation;
mod fuzz;
