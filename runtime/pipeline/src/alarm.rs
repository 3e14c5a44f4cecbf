//! Alarm: a part of the run that panics ends the run, as an error of it would. Without it the others would
//! wait for it for ever.

use floe_core::Error;
use tokio::sync::mpsc;

use crate::run::Event;

/// Held by an async task for as long as it lives.
pub(crate) struct Alarm {
    part: &'static str,
    events: mpsc::UnboundedSender<Event>,
}

impl Alarm {
    pub(crate) fn new(part: &'static str, events: &mpsc::UnboundedSender<Event>) -> Alarm {
        Alarm { part, events: events.clone() }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = format!("the {} panicked: this is a defect of floe", self.part);
            // Nobody listens any more only when the run has ended already.
            let _ = self.events.send(Event::Failed(Error::corrupt(text)));
        }
    }
}
