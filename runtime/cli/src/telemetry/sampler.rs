//! Rates: how fast records come in and rows go out, over the last few seconds.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use floe_pipeline::telemetry::Status;

/// Long enough to be calm, short enough to show a stall.
const WINDOW: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Rates {
    samples: Mutex<VecDeque<Sample>>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    records_in: u64,
    rows_out: u64,
}

impl Rates {
    pub(crate) fn sample(&self, status: &Status) {
        let now = Sample {
            at: Instant::now(),
            records_in: status.records_in.load(Ordering::Relaxed),
            rows_out: status.rows_out.load(Ordering::Relaxed),
        };
        let mut samples = self.samples.lock().expect("no holder of this lock panics");
        samples.push_back(now);
        while samples.len() > 2 && now.at.duration_since(samples[1].at) >= WINDOW {
            samples.pop_front();
        }
    }

    pub(crate) fn records_per_second(&self) -> f64 {
        self.rate(|it| it.records_in)
    }

    pub(crate) fn rows_per_second(&self) -> f64 {
        self.rate(|it| it.rows_out)
    }

    fn rate(&self, of: impl Fn(&Sample) -> u64) -> f64 {
        let samples = self.samples.lock().expect("no holder of this lock panics");
        let (Some(first), Some(last)) = (samples.front(), samples.back()) else { return 0.0 };
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        if seconds == 0.0 { 0.0 } else { of(last).saturating_sub(of(first)) as f64 / seconds }
    }
}
