//! `tumble`: aggregates in windows that follow one another.

use floe_plugin_window::{Grouping, Key, Totals, Windowed, duration};
use floe_sdk::event_time::{Millis, Window, Windows};
use floe_sdk::prelude::Timestamp;
use floe_sdk::{Config, Result};

struct Tumble(Windows<Key, Totals>);

impl Grouping for Tumble {
    fn open(config: &Config) -> Result<Self> {
        Ok(Tumble(Windows::tumbling(Millis(duration(config, "size")?))))
    }

    fn add(&mut self, time: Timestamp, key: Key, add: &mut dyn FnMut(&mut Totals)) -> Result<()> {
        self.0.update(time, key, add)
    }

    fn close(&mut self, watermark: Timestamp) -> Vec<(Window, Key, Totals)> {
        self.0.close(watermark).collect()
    }
}

floe_sdk::dynamic_operator!(Windowed<Tumble>, name = "tumble", state_version = 1);
