//! `cargo xtask bench languages`: one operator in every language that has an SDK, on raw JSON and on columns,
//! in the sandbox as a pipeline runs it, beside the same operator with the same SDK compiled natively by the
//! same compiler, and beside the same steps written by hand in Rust, without an SDK.
//!
//! All take turns, the order moves on by one each turn, and each is timed by its thread's CPU time. What is
//! said is the median of the turns; ratios are the medians of what each turn's own pairs came to.
//! `--turns N` measures longer; `--only rust,c` leaves out the other languages and the suite.
//! What the source and the sink do is not in it: batches are there, and rows are dropped.

mod by_hand;
mod feed;
mod native;
#[path = "../report.rs"]
mod report;
mod sandbox;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use floe_operator::Engine;
use floe_tests::sdks::{SDKS, guests, report as report_of};

use by_hand::ByHand;
use feed::{Feed, Kind};
use native::Same;
use report::{Report, machine};
use sandbox::{Compiled, Metered};

/// The allocator is the product's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// In metrics; what people call it; what its modules begin with.
const LANGUAGES: &[(&str, &str)] = &[
    ("rust", "Rust"),
    ("c", "C"),
    ("cpp", "C++"),
    ("zig", "Zig"),
    ("go", "Go"),
    ("as", "AssemblyScript"),
    ("js", "JavaScript"),
];

/// CPU time of one turn of one subject.
const TURN_SECONDS: f64 = 0.1;
const TURNS: usize = 11;
/// Between the two captures that tell what a checkpoint holds of the records between them.
const CHECKPOINT_RECORDS: u64 = 500_000;

struct Subject {
    name: String,
    kind: Kind,
    work: Box<dyn FnMut(usize) -> Result<()>>,
    /// Of each turn.
    ns_per_record: Vec<f64>,
}

struct Bench {
    report: Report,
    folder: PathBuf,
    turns: usize,
    /// Of these languages alone; all without any.
    only: Vec<String>,
    feed: Feed,
    subjects: Vec<Subject>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let turns = match arguments.iter().position(|it| it == "--turns") {
        Some(at) => {
            let number = arguments.get(at + 1).context("--turns takes a number")?;
            number.parse().context("--turns takes a number")?
        }
        None => TURNS,
    };
    let only = arguments.iter().position(|it| it == "--only");
    let only = only
        .and_then(|at| arguments.get(at + 1))
        .map_or(Vec::new(), |it| it.split(',').map(str::to_owned).collect());
    let folder = std::env::var_os("FLOE_BENCH_MODULES")
        .context("FLOE_BENCH_MODULES is not set: run cargo xtask bench languages")?;
    let bench = Bench {
        report: Report { bench: "languages", json: arguments.iter().any(|it| it == "--json") },
        folder: PathBuf::from(folder),
        turns,
        only,
        feed: Feed::new(),
        subjects: Vec::new(),
    };
    bench.run()
}

impl Bench {
    fn run(mut self) -> Result<()> {
        eprintln!("a running total for each of {} merchants; {}", feed::MERCHANTS, machine());
        if self.only.is_empty() {
            self.conformance()?;
        }
        let cache = self.folder.join("compiled");
        let engine = Engine::new(Some(cache.clone()))?;
        let unmetered = Engine::without_metering(Some(cache))?;
        for kind in Kind::BOTH {
            self.by_hand(kind);
        }
        let wanted = |it: &str| self.only.is_empty() || self.only.iter().any(|only| only == it);
        let languages: Vec<_> = LANGUAGES.iter().filter(|it| wanted(it.0)).collect();
        for (language, said) in languages {
            let mut built = true;
            for kind in Kind::BOTH {
                let found = Compiled::find(&engine, &self.folder, language, kind)?;
                let Some(compiled) = found else {
                    built = false;
                    continue;
                };
                self.guest(language, kind, &compiled)?;
                let metered = Metered::new(&compiled, &self.feed, kind)?;
                self.add(format!("{language}_{}", kind.name()), kind, metered);
                if let Some(mut same) = Same::find(&self.feed, &self.folder, language, kind)? {
                    self.subjects.push(Subject {
                        name: format!("{language}_native_{}", kind.name()),
                        kind,
                        work: Box::new(move |batch| same.process(batch)),
                        ns_per_record: Vec::new(),
                    });
                }
                if *language == "rust" {
                    let compiled = Compiled::find(&unmetered, &self.folder, language, kind)?;
                    let compiled = compiled.context("the module was there")?;
                    let unmetered = Metered::new(&compiled, &self.feed, kind)?;
                    self.add(format!("unmetered_{}", kind.name()), kind, unmetered);
                }
            }
            if !built {
                eprintln!("{said} is missing: its modules are not built (see above)");
            }
        }
        self.take_turns()?;
        self.tell()
    }

    /// How many SDKs keep every clause of the ABI.
    fn conformance(&self) -> Result<()> {
        let engine = Engine::new(Some(guests().join("compiled")))?;
        let mut passing = 0.0;
        for sdk in SDKS {
            let Some(report) = report_of(&engine, sdk)? else {
                eprintln!("{} is missing: {} is not built", sdk.language, sdk.file);
                continue;
            };
            passing += f64::from(u8::from(report.passes_every_clause()));
        }
        self.say("passing_every_clause", passing, "languages");
        Ok(())
    }

    fn by_hand(&mut self, kind: Kind) {
        let mut by_hand = ByHand::new(&self.feed, kind);
        self.subjects.push(Subject {
            name: format!("by_hand_{}", kind.name()),
            kind,
            work: Box::new(move |batch| by_hand.process(batch)),
            ns_per_record: Vec::new(),
        });
    }

    fn add(&mut self, name: String, kind: Kind, mut guest: Metered) {
        let work = Box::new(move |batch| guest.process(batch));
        self.subjects.push(Subject { name, kind, work, ns_per_record: Vec::new() });
    }

    /// What is told once of a module: size, start, checkpoint. Its rows are those by hand.
    fn guest(&self, language: &str, kind: Kind, compiled: &Compiled) -> Result<()> {
        compiled.compare(&self.feed, kind)?;
        if kind == Kind::Typed {
            return Ok(());
        }
        self.say(&format!("{language}_module_kb"), compiled.module_bytes()? as f64 / 1e3, "kB");
        self.say(&format!("{language}_instantiate_us"), compiled.instantiate_us()?, "us");
        let bytes = compiled.checkpoint_bytes(&self.feed, kind, CHECKPOINT_RECORDS)?;
        let each = bytes as f64 / CHECKPOINT_RECORDS as f64;
        self.say(&format!("{language}_checkpoint_bytes_per_record"), each, "B");
        Ok(())
    }

    fn take_turns(&mut self) -> Result<()> {
        let count = self.subjects.len();
        // The first turn warms up and is not counted.
        for turn in 0..=self.turns {
            for place in 0..count {
                let subject = &mut self.subjects[(turn + place) % count];
                let ns = subject.turn()?;
                if turn > 0 {
                    subject.ns_per_record.push(ns);
                }
            }
        }
        Ok(())
    }

    fn tell(&self) -> Result<()> {
        for subject in &self.subjects {
            let (name, kind) = subject.name.rsplit_once('_').unwrap_or_default();
            let ns = median(subject.ns_per_record.clone());
            self.say(&format!("{name}_ns_per_record_{kind}"), ns, "ns");
            if ["by_hand", "unmetered"].contains(&name) || name.ends_with("_native") {
                continue;
            }
            let native = format!("{name}_native_{kind}");
            if self.subject(&native).is_ok() {
                let over = self.ratio(&subject.name, &native)?;
                self.say(&format!("{name}_over_native_{kind}"), over, "ratio");
            }
            let over = self.ratio(&subject.name, &format!("by_hand_{kind}"))?;
            self.say(&format!("{name}_over_rust_by_hand_{kind}"), over, "ratio");
        }
        for (kind, metric) in
            [(Kind::Raw, "metering_overhead"), (Kind::Typed, "metering_overhead_typed")]
        {
            let (rust, without) =
                (format!("rust_{}", kind.name()), format!("unmetered_{}", kind.name()));
            self.say(metric, self.ratio(&rust, &without)? - 1.0, "fraction");
            let per_second = 1e3 / median(self.subject(&rust)?.ns_per_record.clone());
            self.say(
                &format!("rust_million_records_per_second_{}", kind.name()),
                per_second,
                "M/s",
            );
        }
        Ok(())
    }

    /// The median of the turns' own ratios.
    fn ratio(&self, of: &str, over: &str) -> Result<f64> {
        let (of, over) = (self.subject(of)?, self.subject(over)?);
        let pairs = of.ns_per_record.iter().zip(&over.ns_per_record);
        Ok(median(pairs.map(|(of, over)| of / over).collect()))
    }

    fn subject(&self, name: &str) -> Result<&Subject> {
        let found = self.subjects.iter().find(|it| it.name == name);
        found.with_context(|| format!("{name} was not measured"))
    }

    fn say(&self, metric: &str, value: f64, unit: &str) {
        self.report.say(metric, value, unit, feed::RECORDS);
    }
}

impl Subject {
    fn turn(&mut self) -> Result<f64> {
        let begin = cpu_seconds()?;
        let mut batches = 0_usize;
        loop {
            (self.work)(batches % feed::BATCHES)
                .with_context(|| format!("{} ({})", self.name, self.kind.name()))?;
            batches += 1;
            let seconds = cpu_seconds()? - begin;
            if seconds >= TURN_SECONDS && batches >= feed::BATCHES {
                return Ok(seconds * 1e9 / (batches * feed::BATCH_RECORDS) as f64);
            }
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Of this thread: what else runs on the machine takes none of it.
fn cpu_seconds() -> Result<f64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live value of the type that is written.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    ensure!(done == 0, "read the thread's CPU time: {}", std::io::Error::last_os_error());
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}
