//! CapturedTask: the whole of one task at a quiescent point, as a checkpoint holds it.

use crate::event_time::EventTime;
use crate::image::OperatorImage;
use crate::in_flight::InFlight;
use crate::journal::{Journal, Stand};
use crate::position::{Offset, TopicPartition};

#[derive(Clone, Debug, PartialEq)]
pub struct CapturedTask {
    pub task: TopicPartition,
    /// The operators of the chain in order, by name.
    pub operators: Vec<(String, OperatorImage)>,
    /// The steps since the previous checkpoint.
    pub journal: Journal,
    pub next_offset: Offset,
    /// The greatest record timestamp so far; `EventTime::MIN` before the first.
    pub virtual_time: EventTime,
    pub watermark: EventTime,
    /// Records taken since the pipeline began.
    pub records: u64,
    /// What its barrier overtook, of a task of a keyed stage.
    pub in_flight: InFlight,
}

impl CapturedTask {
    /// Behind its journal's last step.
    pub fn stand(&self) -> Stand {
        let CapturedTask { next_offset, virtual_time, watermark, .. } = *self;
        Stand { next_offset, virtual_time, watermark }
    }
}
