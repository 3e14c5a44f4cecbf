//! The real program from outside: killed, doubled, starved and fed with rubbish; then its table is read by
//! readers that share no code with it, row by row.
//!
//! Variables, set by `cargo xtask test`: FLOE_TEST_BIN, FLOE_TEST_GUEST_PAYMENTS, FLOE_TEST_PYTHON, and
//! FLOE_TEST_KAFKA, FLOE_TEST_REST, FLOE_TEST_S3, FLOE_TEST_POSTGRES for the real components.
//! Of a person: FLOE_KILL_RECORDS, FLOE_KILL_KILLS, FLOE_KILL_SEED, FLOE_KILL_POINT, FLOE_KILL_MODULE, FLOE_KILL_OUTAGE_SECONDS.

mod lab;
mod feed;
mod process;
mod scene;
mod points;
mod graph;
mod keyed;
mod sources;
mod joins;
mod guarantees;
mod upgrades;
mod partitions;
mod evolution;
mod rewinds;
mod overwrites;
mod nexmark;
mod watermarks;
mod moments;
mod owners;
mod upserts;
mod branches;
mod topics;
mod letters;
mod effects;
mod answers;
mod outages;
mod savepoints;
mod offsets;
mod orphans;
mod bad_records;
mod hostile;
mod bad_files;
mod bad_world;
mod corruption;
mod readers;
mod readme;
mod replay;
mod diverged;
mod changed;
mod statics;
mod states;
mod told;
mod recorded;
mod languages;
mod debugger;
mod no_code;
mod new_operators;
mod outbox;
mod typed;
mod verify;
mod situations;
