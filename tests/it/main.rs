//! The one test binary that links everything.

mod protocol;
mod simulation;
