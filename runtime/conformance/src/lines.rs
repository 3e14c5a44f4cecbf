//! Catches what operators log while something runs on this thread.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

type Lines = Arc<Mutex<Vec<(Level, String)>>>;

struct Catcher(Lines);

/// The lines that `work` logged, with their levels.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> (T, Vec<(Level, String)>) {
    let lines = Lines::default();
    let done = tracing::subscriber::with_default(Catcher(Arc::clone(&lines)), work);
    let lines = std::mem::take(&mut *lines.lock().expect("nothing panics while it is held"));
    (done, lines)
}

impl Subscriber for Catcher {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("floe_operator")
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message::default();
        event.record(&mut message);
        // Lines of operators name theirs.
        if message.has_operator {
            let mut lines = self.0.lock().expect("nothing panics while it is held");
            lines.push((*event.metadata().level(), message.text));
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Message {
    text: String,
    has_operator: bool,
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.text = format!("{value:?}"),
            "operator" => self.has_operator = true,
            _ => {}
        }
    }
}
