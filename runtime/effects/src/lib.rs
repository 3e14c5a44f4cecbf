//! The worker of command intents: reads what a pipeline wants done, has it done over HTTP under a key that
//! never changes, and writes down what came of it.

mod deliver;
mod outcome;
mod worker;

pub use deliver::{Outcome, OutcomeKind};
pub use worker::{EffectsConfig, Summary, run};

/// The header of an intent that names it for ever.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
