//! `cargo xtask bench checkpoint`: what a checkpoint costs by the size of the state and how much of it
//! changed, beside copying as much memory in the same run on the same machine.
//!
//! `--page-hashes` measures the method without the kernel's help; `--sizes 64` only that many MiB, and
//! `--percents 1,100` only such changes. `--matrix` leaves out what runs for longer than one checkpoint.

/// The allocator is the product's, with its settings.
#[path = "../../../runtime/cli/src/allocator.rs"]
mod allocator;
mod guest;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use floe_checkpoint::{ClaimRequest, OwnedLog, OwnerIdentity, claim, open_store, random_ids};
use floe_core::image::{Capture, OperatorImage};
use floe_core::in_flight::InFlight;
use floe_core::journal::Journal;
use floe_core::manifest::{CheckpointManifest, PipelineIdentity};
use floe_core::ports::{CheckpointDraft, CheckpointLog, Operator, OperatorFactory};
use floe_core::task::CapturedTask;
use floe_core::{Epoch, EventTime, Offset, TopicPartition};
use floe_operator::{DirtyPages, Engine, Factory};

const MIB: u64 = 1 << 20;
const PAGE_BYTES: u64 = 4096;

struct Bench {
    json: bool,
    engine: Arc<Engine>,
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

fn main() -> Result<()> {
    allocator::in_small_pages();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|it| it == name);
    let numbers = |name: &str, all: &[u64]| -> Result<Vec<u64>> {
        let Some(at) = arguments.iter().position(|it| it == name) else { return Ok(all.to_vec()) };
        let list = arguments.get(at + 1).with_context(|| format!("{name} takes numbers"))?;
        list.split(',').map(|it| it.parse().context(name.to_owned())).collect()
    };
    let sizes = numbers("--sizes", &[64, 1024, 3072])?;
    let percents = numbers("--percents", &[1, 10, 100])?;
    let method = if has("--page-hashes") { DirtyPages::PageHashes } else { DirtyPages::Auto };
    let bench = Bench {
        json: has("--json"),
        engine: Engine::with_dirty_pages(None, method)?,
        runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
        folder: tempfile::tempdir()?,
    };
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    eprintln!("{cpus} cores; changed pages by {}", bench.engine.dirty_pages());
    for mib in sizes {
        for percent in &percents {
            bench.measure(mib, *percent)?;
        }
    }
    if has("--matrix") {
        return Ok(());
    }
    bench.steady()?;
    bench.scattered()
}

/// What one checkpoint cost.
#[derive(Clone, Copy, Default)]
struct Cost {
    pause: f64,
    /// Writing the pages for the first time since the barrier, and again.
    first_touch: f64,
    second_touch: f64,
    background_wall: f64,
    background_cpu: f64,
    written: f64,
    compressed: f64,
}

impl Bench {
    fn say(&self, metric: &str, value: f64, unit: &str) {
        match self.json {
            true => println!(
                "{}",
                serde_json::json!({
                    "bench": "checkpoint", "metric": metric, "value": value, "unit": unit,
                    "method": self.engine.dirty_pages(),
                })
            ),
            false => println!("{metric:<44} {value:>12.3} {unit}"),
        }
    }

    fn measure(&self, mib: u64, percent: u64) -> Result<()> {
        let size = if mib >= 1024 { format!("{}gib", mib / 1024) } else { format!("{mib}mib") };
        let name = format!("{size}_{percent}pct");
        let state = mib * MIB;
        let factory = guest::factory(&self.engine, state)?;
        let mut operator = factory.open(&task(), 1)?;
        guest::fill(&mut operator, state)?;
        let mut kept = self.log(&name)?;
        let whole = operator.capture(Capture::Changes)?;
        let base = self.complete(&mut kept, whole)?.written_bytes();

        let pages = (state / PAGE_BYTES * percent / 100).max(1);
        let rounds = if mib * percent >= 100 * 1024 { 3 } else { 7 };
        let mut costs = Vec::new();
        for round in 0..rounds {
            // The first round's staging is new memory: it is not counted.
            let cost = self.round(&mut operator, &mut kept, round * 1013, pages)?;
            if round > 0 {
                costs.push(cost);
            }
        }
        let middle = |of: fn(&Cost) -> f64| {
            let mut values: Vec<f64> = costs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let dirty = pages * PAGE_BYTES;
        let memcpy = memcpy_seconds(dirty);
        self.say(&format!("pause_ms_{name}"), middle(|it| it.pause) * 1e3, "ms");
        self.say(&format!("memcpy_ms_{name}"), memcpy * 1e3, "ms");
        self.say(&format!("pause_over_memcpy_{name}"), middle(|it| it.pause) / memcpy, "ratio");
        let touch = middle(|it| it.first_touch) - middle(|it| it.second_touch);
        self.say(&format!("first_touch_us_{name}"), touch / pages as f64 * 1e6, "us/page");
        self.say(&format!("background_cpu_ms_{name}"), middle(|it| it.background_cpu) * 1e3, "ms");
        self.say(
            &format!("background_wall_ms_{name}"),
            middle(|it| it.background_wall) * 1e3,
            "ms",
        );
        self.say(&format!("written_mb_{name}"), middle(|it| it.written) / 1e6, "MB");
        let amplification = costs.iter().map(|it| it.written).sum::<f64>()
            / costs.iter().map(|it| it.compressed).sum::<f64>();
        self.say(&format!("write_amplification_{name}"), amplification, "ratio");
        if (mib, percent) == (1024, 1) {
            self.say("write_amplification", amplification, "ratio");
        }
        drop(operator);
        self.restore(&name, &factory, base, (mib, percent) == (64, 100))
    }

    fn round(
        &self,
        operator: &mut Box<dyn Operator>,
        kept: &mut Kept,
        first: u64,
        pages: u64,
    ) -> Result<Cost> {
        let mut cost = Cost::default();
        let begin = Instant::now();
        guest::touch(operator, first, pages, 8)?;
        cost.first_touch = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        guest::touch(operator, first, pages, 8)?;
        cost.second_touch = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let image = operator.capture(Capture::Changes)?;
        cost.pause = begin.elapsed().as_secs_f64();
        cost.compressed = compressed_bytes(&image)? as f64;
        let (begin, cpu) = (Instant::now(), cpu_seconds());
        cost.written = self.complete(kept, image)?.written_bytes() as f64;
        cost.background_wall = begin.elapsed().as_secs_f64();
        cost.background_cpu = cpu_seconds() - cpu;
        self.runtime.block_on(kept.log.sweep(2, &[]))?;
        Ok(cost)
    }

    /// Reads the log, restores the newest checkpoint, and processes a record.
    fn restore(&self, name: &str, factory: &Factory, base: u64, shown: bool) -> Result<()> {
        let mut took = Vec::new();
        let (mut claimed, mut read) = (0.0, 0.0);
        let mut named = 0;
        // Seconds each where it is gigabytes: once tells enough.
        let rounds = if base > 512 * MIB { 1 } else { 3 };
        for _ in 0..rounds {
            let begin = Instant::now();
            let mut kept = self.log(name)?;
            claimed = begin.elapsed().as_secs_f64();
            let newest = kept.log.manifests().pop().context("a checkpoint was written")?.1;
            let tasks = self.runtime.block_on(kept.log.restore(&newest))?;
            read = begin.elapsed().as_secs_f64() - claimed;
            let mut operator = factory.restore(&task(), &tasks[0].operators[0].1)?;
            guest::touch(&mut operator, 0, 1, 1)?;
            took.push(begin.elapsed().as_secs_f64());
            named = newest.objects.iter().map(|it| it.len).sum();
            kept.epoch = newest.epoch;
        }
        took.sort_by(f64::total_cmp);
        self.say(&format!("restore_ms_{name}"), took[took.len() / 2] * 1e3, "ms");
        // Of the last round: reading the log and the claim, and reading and verifying the objects.
        self.say(&format!("restore_claim_ms_{name}"), claimed * 1e3, "ms");
        self.say(&format!("restore_read_ms_{name}"), read * 1e3, "ms");
        self.say(&format!("restore_amplification_{name}"), named as f64 / base as f64, "ratio");
        if shown {
            self.say("restore_ms_64mib", took[took.len() / 2] * 1e3, "ms");
        }
        std::fs::remove_dir_all(self.folder.path().join(name))?;
        Ok(())
    }

    /// The same work with a checkpoint each second and without one: 64 MiB of state, of which 5 % change
    /// in a second, a guest that computes all the time, and everything of the checkpoint on the same cores.
    fn steady(&self) -> Result<()> {
        let state = 64 * MIB;
        let pages = state / PAGE_BYTES / 20;
        let factory = guest::factory(&self.engine, state)?;
        // One batch: 100 words in each of the second's pages, and as in the job, pages are visited again.
        let batch = |operator: &mut Box<dyn Operator>, second: u64| {
            guest::touch(operator, second * 1013 % 16_384, pages, 100)
        };
        let mut operator = factory.open(&task(), 1)?;
        guest::fill(&mut operator, state)?;
        let begin = Instant::now();
        (0..200).try_for_each(|_| batch(&mut operator, 0))?;
        let batches_per_second = (200.0 / begin.elapsed().as_secs_f64()) as u64;
        let mut overheads = Vec::new();
        let (seconds, mut pauses) = (8, 0.0);
        for turn in 0..3 {
            let mut run = |checkpoints: bool| -> Result<(f64, f64)> {
                let mut operator = factory.open(&task(), 1)?;
                guest::fill(&mut operator, state)?;
                let mut kept = self.log(&format!("steady{turn}"))?;
                if checkpoints {
                    let whole = operator.capture(Capture::Changes)?;
                    self.complete(&mut kept, whole)?;
                }
                let mut kept = Some(kept);
                let mut writing: Option<tokio::task::JoinHandle<floe_core::Result<Kept>>> = None;
                let (begin, cpu) = (Instant::now(), cpu_seconds());
                let mut paused = 0.0;
                for second in 0..seconds {
                    for _ in 0..batches_per_second {
                        batch(&mut operator, second)?;
                    }
                    if !checkpoints {
                        continue;
                    }
                    let capture = Instant::now();
                    let image = operator.capture(Capture::Changes)?;
                    paused += capture.elapsed().as_secs_f64();
                    let mut onto = match writing.take() {
                        Some(before) => self.runtime.block_on(before)??,
                        None => kept.take().context("the log is here or being written to")?,
                    };
                    writing = Some(self.runtime.spawn(async move {
                        let draft = onto.draft(image);
                        onto.log.complete(draft).await?;
                        onto.log.sweep(2, &[]).await?;
                        Ok(onto)
                    }));
                }
                if let Some(before) = writing {
                    self.runtime.block_on(before)??;
                }
                let cost = (begin.elapsed().as_secs_f64(), cpu_seconds() - cpu);
                if checkpoints {
                    pauses += paused / seconds as f64;
                }
                Ok(cost)
            };
            let without = run(false)?;
            let with = run(true)?;
            overheads.push((with.1 / without.1 - 1.0, with.0 / without.0 - 1.0));
        }
        overheads.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (cpu, wall) = overheads[overheads.len() / 2];
        self.say("steady_overhead_1s", cpu, "fraction");
        self.say("steady_overhead_1s_wall", wall, "fraction");
        self.say("steady_pause_ms_1s", pauses / 3.0 * 1e3, "ms");
        Ok(())
    }

    /// Other pages each time, for long enough that old objects have to be cleaned again and again.
    fn scattered(&self) -> Result<()> {
        let state = 64 * MIB;
        let pages = state / PAGE_BYTES / 20;
        let factory = guest::factory(&self.engine, state)?;
        let mut operator = factory.open(&task(), 1)?;
        guest::fill(&mut operator, state)?;
        let mut kept = self.log("scattered")?;
        let whole = operator.capture(Capture::Changes)?;
        let base = self.complete(&mut kept, whole)?.written_bytes();
        let (mut written, mut compressed, mut named_most) = (0, 0, 0);
        for round in 0..100u64 {
            guest::touch(&mut operator, round.wrapping_mul(0x9E37_79B9) % 16_384, pages, 8)?;
            let image = operator.capture(Capture::Changes)?;
            compressed += compressed_bytes(&image)?;
            let manifest = self.complete(&mut kept, image)?;
            written += manifest.written_bytes();
            named_most = named_most.max(manifest.objects.iter().map(|it| it.len).sum::<u64>());
            self.runtime.block_on(kept.log.sweep(2, &[]))?;
        }
        self.say(
            "write_amplification_scattered_100_epochs",
            written as f64 / compressed as f64,
            "ratio",
        );
        self.say("restore_amplification_most", named_most as f64 / base as f64, "ratio");
        Ok(())
    }

    fn log(&self, name: &str) -> Result<Kept> {
        let folder = self.folder.path().join(name);
        Ok(Kept { log: self.runtime.block_on(own(&folder))?, epoch: Epoch(0) })
    }

    fn complete(&self, kept: &mut Kept, image: OperatorImage) -> Result<Arc<CheckpointManifest>> {
        let draft = kept.draft(image);
        Ok(self.runtime.block_on(kept.log.complete(draft))?.1)
    }
}

struct Kept {
    log: OwnedLog,
    epoch: Epoch,
}

impl Kept {
    fn draft(&mut self, image: OperatorImage) -> CheckpointDraft {
        self.epoch = self.epoch.next();
        CheckpointDraft {
            epoch: self.epoch,
            identity: identity(),
            tasks: vec![CapturedTask {
                task: task(),
                operators: vec![("bench".to_owned(), image)],
                journal: Journal::default(),
                next_offset: Offset(0),
                virtual_time: EventTime::MIN,
                watermark: EventTime::MIN,
                records: 0,
                in_flight: InFlight::default(),
            }],
            sinks: Vec::new(),
            created_ms: 0,
            savepoint: false,
        }
    }
}

fn task() -> TopicPartition {
    TopicPartition::new("bench", 0)
}

fn identity() -> PipelineIdentity {
    PipelineIdentity {
        pipeline: "bench".to_owned(),
        guarantee: "exactly-once".to_owned(),
        topics: Vec::new(),
        operators: Vec::new(),
        decoder: String::new(),
        engine: String::new(),
        isa: String::new(),
    }
}

async fn own(folder: &Path) -> Result<OwnedLog> {
    let store = open_store(&folder.display().to_string(), &BTreeMap::new())?;
    let request = ClaimRequest {
        owner: OwnerIdentity {
            host: "bench".to_owned(),
            boot_id: "bench".to_owned(),
            pid: 1,
            started_ms: 0,
        },
        take_over: true,
        watch: Duration::ZERO,
        patience: Duration::from_secs(20),
        alive: &|_| false,
        new_id: Box::new(random_ids()),
    };
    Ok(claim(store, "bench", request).await?)
}

/// zstd-1 over the pages that were copied, in one piece.
fn compressed_bytes(image: &OperatorImage) -> Result<u64> {
    let mut encoder = zstd::stream::write::Encoder::new(Counted(0), 1)?;
    for run in &image.memory.runs {
        std::io::Write::write_all(&mut encoder, &run.content)?;
    }
    Ok(encoder.finish()?.0)
}

struct Counted(u64);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The middle of several copies between memories that were written before.
fn memcpy_seconds(bytes: u64) -> f64 {
    let (from, mut to) = (vec![1u8; bytes as usize], vec![2u8; bytes as usize]);
    let mut took: Vec<f64> = (0..5)
        .map(|_| {
            let begin = Instant::now();
            to.copy_from_slice(std::hint::black_box(&from));
            std::hint::black_box(&mut to);
            begin.elapsed().as_secs_f64()
        })
        .collect();
    took.sort_by(f64::total_cmp);
    took[2]
}

/// User and system time of the whole process.
fn cpu_seconds() -> f64 {
    // SAFETY: rusage is a struct of integers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live value of the type that getrusage writes.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
