//! Operators as WAT text, which needs no guest toolchain: what they compute, how they are captured and
//! restored, and what becomes of those that are wrong or hostile.

mod dirty;
mod configured;
mod core_dump;
mod emitted;
mod hostile;
mod limits;
mod lines;
mod order;
mod polls;
mod refused;
mod running_sum;
mod state;
mod vectors;
mod wat_module;
