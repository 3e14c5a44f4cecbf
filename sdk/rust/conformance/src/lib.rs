//! The conformance operator in Rust: what it must do is written in sdk/abi/CONFORMANCE.md.

use std::collections::HashMap;

use floe_sdk::log;
use floe_sdk::prelude::*;
use floe_sdk::types::{Date, Decimal, TimeMicros, TimestampMicros, TimestampNanos};

#[derive(Row, Clone)]
struct Pair {
    a: i64,
    b: Option<String>,
}

#[derive(Row, Clone, Default)]
struct Data {
    #[row(name = "do")]
    command: String,
    #[row(name = "_offset")]
    offset: i64,
    boolean: Option<bool>,
    tiny: Option<i8>,
    small: Option<i16>,
    medium: Option<i32>,
    big: Option<i64>,
    utiny: Option<u8>,
    usmall: Option<u16>,
    umedium: Option<u32>,
    ubig: Option<u64>,
    single: Option<f32>,
    twice: Option<f64>,
    text: Option<String>,
    binary: Option<Vec<u8>>,
    fixed: Option<[u8; 4]>,
    date: Option<Date>,
    time: Option<TimeMicros>,
    millis: Option<Timestamp>,
    micros: Option<TimestampMicros>,
    nanos: Option<TimestampNanos>,
    decimal: Option<Decimal<20, 4>>,
    list: Option<Vec<Option<i64>>>,
    pair: Option<Pair>,
    pairs: Option<Vec<Pair>>,
}

#[derive(Row)]
#[row(name = "second")]
struct Second {
    text: String,
}

struct Conformance {
    greeting: String,
    counts: HashMap<String, i64>,
    kept: Vec<Vec<u8>>,
}

#[operator(name = "conformance", state_version = 7, state(by_key(counts)))]
impl Operator for Conformance {
    type Input = Data;
    type Output = (Data, Second);

    fn open(config: Config) -> Result<Self> {
        let greeting = config.get("greeting")?.unwrap_or_default();
        if let Some(why) = config.get::<String>("fail")? {
            bail!("{why}");
        }
        Ok(Conformance { greeting, counts: HashMap::new(), kept: Vec::new() })
    }

    fn process(&mut self, row: Data, out: &mut Emit<(Data, Second)>) -> Result<()> {
        let text = row.text.clone().unwrap_or_default();
        let number = |big| Data { big: Some(big), ..row.clone() };
        match row.command.as_str() {
            "echo" => out.emit(row),
            "many" => (0..row.big.unwrap_or(0)).try_for_each(|_| out.emit(row.clone())),
            "second" => out.emit_to::<1>(Second { text }),
            "reject" => {
                out.emit(row)?;
                bail!("{text}")
            }
            "fail" => panic!("{text}"),
            "panic" => {
                let none: Vec<i64> = Vec::new();
                out.emit(number(none[text.len()]))
            }
            "log" => {
                match row.medium {
                    Some(0) => log::error!("{text}"),
                    Some(1) => log::warn!("{text}"),
                    Some(2) => log::info!("{text}"),
                    _ => log::debug!("{text}"),
                }
                Ok(())
            }
            "now" => out.emit(number(now().0)),
            // Rust has no clock on this target.
            "clock" => out.emit(Data { big: None, ..row }),
            "random" => out.emit(Data { ubig: Some(random_u64()), ..row }),
            "keep" => {
                let count = self.counts.entry(text).or_default();
                *count += 1;
                out.emit(number(*count))
            }
            "keys" => {
                let keys: Vec<&str> = self.counts.keys().map(String::as_str).collect();
                out.emit(Data { text: Some(keys.join(",")), ..row })
            }
            "grow" => {
                self.kept.push(vec![7; row.big.unwrap_or(0) as usize]);
                out.emit(number(self.kept.iter().map(|it| it.len() as i64).sum()))
            }
            "spin" => loop {
                std::hint::black_box(());
            },
            "config" => out.emit(Data { text: Some(self.greeting.clone()), ..row }),
            _ => bail!("no such command"),
        }
    }

    fn watermark(&mut self, time: Timestamp, out: &mut Emit<(Data, Second)>) -> Result<()> {
        out.emit(Data { command: "watermark".into(), big: Some(time.0), ..Data::default() })
    }
}
