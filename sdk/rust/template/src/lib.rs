//! Drops a click whose id was seen within the window. The ids seen are the state.

use std::collections::HashMap;

use floe_sdk::prelude::*;

#[derive(Row)]
struct Click {
    id: String,
    amount: i64,
    #[row(name = "_timestamp")]
    at: Timestamp,
}

#[derive(Row)]
struct First {
    id: String,
    amount: i64,
}

/// The fields are the state: they are checkpointed as they are.
struct Dedup {
    window_ms: i64,
    last_seen: HashMap<String, i64>,
}

#[operator]
impl Operator for Dedup {
    type Input = Click;
    type Output = First;

    fn open(config: Config) -> Result<Self> {
        let window_ms = config.get("window_ms")?.unwrap_or(3_600_000);
        Ok(Dedup { window_ms, last_seen: HashMap::new() })
    }

    fn process(&mut self, click: Click, out: &mut Emit<First>) -> Result<()> {
        ensure!(!click.id.is_empty(), "a click has no id");
        let seen = self.last_seen.get(&click.id);
        if seen.is_some_and(|seen| click.at.0 - seen <= self.window_ms) {
            return Ok(());
        }
        self.last_seen.insert(click.id.clone(), click.at.0);
        out.emit(First { id: click.id, amount: click.amount })
    }

    fn watermark(&mut self, time: Timestamp, _: &mut Emit<First>) -> Result<()> {
        self.last_seen.retain(|_, seen| *seen >= time.0 - self.window_ms);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floe_sdk::testing::Tester;

    #[test]
    fn a_click_counts_once_in_its_window() {
        let mut dedup = Tester::<Dedup>::open(r#"{"window_ms": 1000}"#).unwrap();
        let click = |id: &str, at| Click { id: id.to_owned(), amount: 1, at: Timestamp(at) };
        assert_eq!(dedup.process(click("a", 0)).unwrap().len(), 1);
        assert_eq!(dedup.process(click("a", 1000)).unwrap().len(), 0);
        assert_eq!(dedup.process(click("a", 1001)).unwrap().len(), 1);
        assert_eq!(dedup.process(click("", 0)).err().unwrap().to_string(), "a click has no id");
    }
}
