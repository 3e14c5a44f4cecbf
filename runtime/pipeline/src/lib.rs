//! Pipeline: the loop that joins source, operators, sink and checkpoints, through the ports of core alone.

pub mod telemetry;
