//! `hop`: aggregates in windows that overlap.

use floe_plugin_window::{Grouping, Key, Totals, Windowed, duration};
use floe_sdk::event_time::{Millis, Window, Windows};
use floe_sdk::prelude::Timestamp;
use floe_sdk::{Config, Result, ensure};

/// Windows that a row may be in: each of them is work and memory.
const OVERLAP_MAX: i64 = 1_000;

struct Hop(Windows<Key, Totals>);

impl Grouping for Hop {
    fn open(config: &Config) -> Result<Self> {
        let (size, slide) = (duration(config, "size")?, duration(config, "slide")?);
        ensure!(
            slide <= size,
            "config.slide is longer than config.size: rows between would be lost"
        );
        ensure!(size / slide <= OVERLAP_MAX, "a row would be in over {OVERLAP_MAX} windows");
        Ok(Hop(Windows::hopping(Millis(size), Millis(slide))))
    }

    fn add(&mut self, time: Timestamp, key: Key, add: &mut dyn FnMut(&mut Totals)) -> Result<()> {
        self.0.update(time, key, add)
    }

    fn close(&mut self, watermark: Timestamp) -> Vec<(Window, Key, Totals)> {
        self.0.close(watermark).collect()
    }
}

floe_sdk::dynamic_operator!(Windowed<Hop>, name = "hop", state_version = 1);
