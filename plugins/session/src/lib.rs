//! `session`: aggregates over bursts of rows with a pause between them.

use floe_plugin_window::{Grouping, Key, Totals, Windowed, duration};
use floe_sdk::event_time::{Millis, Sessions, Window};
use floe_sdk::prelude::Timestamp;
use floe_sdk::{Config, Result};

struct Session(Sessions<Key, Totals>);

impl Grouping for Session {
    fn open(config: &Config) -> Result<Self> {
        Ok(Session(Sessions::new(Millis(duration(config, "gap")?))))
    }

    fn add(&mut self, time: Timestamp, key: Key, add: &mut dyn FnMut(&mut Totals)) -> Result<()> {
        self.0.update(time, key, add, Totals::merge)
    }

    fn close(&mut self, watermark: Timestamp) -> Vec<(Window, Key, Totals)> {
        let closed = self.0.close(watermark);
        closed.into_iter().map(|it| (it.window, it.key, it.value)).collect()
    }
}

floe_sdk::dynamic_operator!(Windowed<Session>, name = "session", state_version = 1);
