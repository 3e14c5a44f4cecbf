//! The simulation: exhaustive crashes, random seeds with all faults, planted bugs, and named cases.

mod exhaustive;
mod mutants;
mod named;
mod random;
mod report;
