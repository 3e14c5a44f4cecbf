//! Sampled epochs run again beside the pipeline that took them: determinism as a check in production.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use floe_core::ports::Source;
use floe_core::{ErrorKind, Result};
use floe_operator::Engine;
use floe_pipeline::config::{OnDivergence, PipelineSpec, VerifySpec};
use floe_pipeline::telemetry::Status;
use floe_replay::Nobody;
use tokio::sync::watch;

use super::input::{Input, Reading};
use super::report::Report;
use super::run::{Running, run};
use super::subject::Subject;
use crate::telemetry::facts::is_complete;
use crate::terminal::Terminal;
use crate::wire;

/// How sampled epochs came out, in the order of the counters.
pub(crate) const RESULTS: [&str; 3] = ["identical", "differs", "skipped"];

#[derive(Debug, Default)]
pub(crate) struct Verified {
    pub(crate) counts: [AtomicU64; RESULTS.len()],
    diverged: AtomicBool,
}

impl Verified {
    /// An epoch differed, and the pipeline is to stop for it.
    pub(crate) fn must_stop(&self) -> bool {
        self.diverged.load(Ordering::Acquire)
    }

    fn count(&self, result: usize) {
        self.counts[result].fetch_add(1, Ordering::Relaxed);
    }
}

const IDENTICAL: usize = 0;
const DIFFERS: usize = 1;
const SKIPPED: usize = 2;

/// How often the newest epochs are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Runs until it is aborted. `stop` becomes true when an epoch differed and the file says to stop then.
pub(crate) async fn verify(
    spec: Arc<PipelineSpec>,
    settings: VerifySpec,
    status: Arc<Status>,
    verified: Arc<Verified>,
    stop: watch::Sender<bool>,
) {
    let mut last = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        let complete: Vec<u64> =
            status.epochs().iter().filter(|it| is_complete(it)).map(|it| it.epoch).collect();
        let sampled = |it: &&u64| **it > last && it.is_multiple_of(settings.one_of);
        let due: Vec<u64> = complete.iter().filter(sampled).copied().collect();
        let Some(newest) = due.last().copied() else { continue };
        last = newest;
        // What could not be taken up within the budget is passed over, and counted.
        due[..due.len() - 1].iter().for_each(|_| verified.count(SKIPPED));
        let begin = Instant::now();
        let spec_of_epoch = Arc::clone(&spec);
        // Reading blocks, so this keeps a thread of its own.
        let runtime = tokio::runtime::Handle::current();
        let again = move || runtime.block_on(run_again(&spec_of_epoch, newest));
        match tokio::task::spawn_blocking(again).await {
            Ok(Ok(None)) => {
                verified.count(IDENTICAL);
                tracing::info!(epoch = newest, "verified: run again, state hashes identical");
            }
            Ok(Ok(Some(difference))) => {
                verified.count(DIFFERS);
                tracing::error!(epoch = newest, "run again, it differs: {difference}");
                if settings.on_divergence == OnDivergence::Stop {
                    verified.diverged.store(true, Ordering::Release);
                    // The run has ended already if nobody listens.
                    let _ = stop.send(true);
                    return;
                }
            }
            Ok(Err(error)) => {
                verified.count(SKIPPED);
                tracing::warn!(epoch = newest, "not verified: {error}");
            }
            Err(error) => {
                verified.count(SKIPPED);
                tracing::warn!(epoch = newest, "not verified: {error}");
            }
        }
        tokio::time::sleep(rest(begin.elapsed(), settings.cpu_percent)).await;
    }
}

/// One thread worked for so long; it rests until it took no more than its share of a core.
fn rest(worked: Duration, cpu_percent: u8) -> Duration {
    worked.mul_f64(100.0 / f64::from(cpu_percent) - 1.0)
}

/// The first difference, if there is one.
async fn run_again(spec: &Arc<PipelineSpec>, epoch: u64) -> Result<Option<String>> {
    let subject = Subject::of(Arc::clone(spec), Engine::new(Some(wire::module_cache()))?)?;
    let kept = floe_checkpoint::list_checkpoints(&*subject.store, &spec.id).await?;
    let at = kept.iter().find(|it| it.epoch == epoch);
    let from = at.and_then(|it| it.predecessor_epoch).unwrap_or(0);
    let plan = subject.plan(from, Some(epoch), None).await?;
    let ranges = plan.input();
    let terminal = Terminal::silent();
    let input = Input::of(subject.input(&plan), None, &ranges, &terminal).await?;
    let tasks = super::tasks_of(&subject, &plan)?.into_iter().map(|it| (it, Nobody)).collect();
    let records = plan.records();
    let reading = match ranges.is_empty() {
        true => None,
        false => Some(Reading::new(Box::new(input.open()?) as Box<dyn Source>, ranges)?),
    };
    let running = Running { reading, beyond: false, threads: 1, records, terminal: &terminal };
    let replayed = match run(tasks, running) {
        // A trap is a difference; what else goes wrong is the world's.
        Err(error) if error.kind == ErrorKind::Operator => return Ok(Some(error.message)),
        other => other?,
    };
    let report = Report::of(&subject, &plan, &replayed, Duration::ZERO).await?;
    Ok(report.difference.map(|it| format!("{}: {}", it.task, it.what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_until_its_share_is_kept() {
        let worked = Duration::from_secs(3);
        for (cpu_percent, seconds) in [(100, 0), (50, 3), (25, 9), (1, 297u16)] {
            let rest = rest(worked, cpu_percent).as_secs_f64();
            assert!((rest - f64::from(seconds)).abs() < 1e-6, "{cpu_percent} %: {rest} s");
        }
    }
}
