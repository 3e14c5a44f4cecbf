//! SIGKILL at random moments, most of them just after something appeared in the store or the table.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::feed::Feed;
use crate::lab::{Lab, Random, check, number, root, wait_for};
use crate::scene::{Place, Scene, Settings};

/// A life's share of the records comes within this time.
const LIFE: Duration = Duration::from_millis(1200);

/// A file that does not appear by then will not.
const APPEARS: Duration = Duration::from_secs(20);

#[test]
fn recording_sqlite_and_local_files() {
    kill(Place::Local, "moments::recording_sqlite", 60_000, 20, |_, _| Ok(()));
}

#[test]
fn kafka_rest_catalog_and_s3() {
    kill(Place::RestS3, "moments::kafka_rest", 60_000, 8, |settings, _| {
        settings.partition_by = "[\"bucket(4, merchant_id)\"]";
        Ok(())
    });
}

#[test]
fn kafka_postgres_and_local_files() {
    kill(Place::Postgres, "moments::kafka_postgres", 60_000, 8, |settings, _| {
        settings.partition_by = "[\"truncate(3, merchant_id)\"]";
        Ok(())
    });
}

/// When a process is killed.
#[derive(Debug)]
enum Aim {
    /// So long after its start that it has not committed anything of its own: while it recovers, mostly.
    Recovery(Duration),
    /// So long after its start.
    After(Duration),
    /// When the nth new file appears in a folder, and so long after that.
    New { folder: usize, nth: usize, then: Duration },
}

/// From Kafka through Go, a plugin in Rust, and C: the pipeline of examples/06-three-languages, whose rows are
/// those of the payments in one operator.
#[test]
fn a_chain_of_three_languages() {
    let name = "moments::a_chain_of_three_languages";
    kill(Place::Kafka, name, 44_000, 10, |settings, lab| {
        let pipeline = root().join("examples/06-three-languages/pipeline.toml");
        let text = std::fs::read_to_string(pipeline)?;
        let begin = text.find("plugin = ").context("the chain has a plugin")?;
        let end = text.find("[sink]").context("the chain has a sink")?;
        let guest = |file| lab.payments.with_file_name(file);
        let totals = guest("totals_c.wasm").display().to_string();
        settings.module = guest("unique_go.wasm");
        // Compiled once and kept: else the first lives would be killed while they compile.
        let modules = [settings.module.as_path(), Path::new(&totals)];
        for module in modules.into_iter().filter(|it| it.exists()) {
            let known = Command::new(&lab.floe).arg("inspect").arg(module).output()?;
            ensure!(known.status.success(), "{}", String::from_utf8_lossy(&known.stderr));
        }
        settings.operator = format!("[[operator]]\n{}", &text[begin..end])
            .replace("totals/target/floe/operator.wasm", &totals);
        Ok(())
    });
}

fn kill(
    place: Place,
    name: &str,
    records: u64,
    kills: u64,
    change: fn(&mut Settings, &Lab) -> Result<()>,
) {
    check(name, place.needs(), |lab| {
        let records = number("FLOE_KILL_RECORDS", records);
        let kills = number("FLOE_KILL_KILLS", kills);
        let mut random = Random::from_environment();
        let seed = random.0;
        println!("{name}: FLOE_KILL_SEED={seed}");
        let mut scene = Scene::new(lab, &format!("moments-{place:?}").to_lowercase(), place)?;
        change(&mut scene.settings, lab)?;
        if !scene.settings.module.exists() {
            let module = scene.settings.module.display();
            ensure!(std::env::var_os("CI").is_none(), "{module} is not built");
            println!("skipped {name}: {module} is not built (cargo xtask guests)");
            return Ok(());
        }
        scene.settings.interval = if records > 300_000 { "250ms" } else { "60ms" };
        scene.settings.batch_records = if records > 300_000 { 8192 } else { 512 };
        scene.make_input(records, seed)?;
        scene.write_pipeline()?;
        let begin = Instant::now();
        // Each life has its share of the records, so that each kill meets a process at work.
        let share = records / (kills + 1);
        let mut counted = Kills::default();
        let mut feed = scene.feed((share as f64 / LIFE.as_secs_f64()) as u64 + 1)?;
        for number in 1..=kills {
            let aim = aim(number, &mut random);
            let mut pace = Pace { feed: &mut feed, from: (number - 1) * share, share };
            live(&scene, &aim, &mut counted, &mut pace)
                .with_context(|| format!("kill {number}, {aim:?}, seed {seed}"))?;
        }
        feed.finish()?;
        scene.run_until_end().with_context(|| format!("after the kills, seed {seed}"))?;
        let compared = scene.compare(&[]).with_context(|| format!("seed {seed}"))?;
        let Kills { aimed, in_recovery, any } = counted;
        println!(
            "{name}: {records} records, {kills} kills ({aimed} aimed, {in_recovery} in recovery, {any} at any time): {} rows, {} snapshots, each a consistent cut",
            compared.rows, compared.snapshots
        );
        let line = format!(
            "| {place:?} | {records} | {kills} | {aimed} | {in_recovery} | {} | {} | {} | {:.0} | {seed} |\n",
            scene.commits()?,
            compared.snapshots,
            compared.rows,
            begin.elapsed().as_secs_f64()
        );
        summarise(&line)?;
        scene.done();
        Ok(())
    });
}

/// Of ten kills one is at any time and two during the recovery from the kill before; the others are aimed
/// at the moments just after something durable appeared.
fn aim(number: u64, random: &mut Random) -> Aim {
    match number % 10 {
        0 => Aim::After(Duration::from_millis(100 + random.below(LIFE.as_millis() as u64))),
        1 | 6 => Aim::Recovery(Duration::from_micros(random.below(160_000))),
        _ => Aim::New {
            folder: random.below(4) as usize,
            nth: 1 + random.below(6) as usize,
            // Within a commit or two.
            then: Duration::from_micros(random.below(8) * random.below(2000)),
        },
    }
}

/// A tenth of a share of records comes in this time to a process that is waited for.
const PACE: Duration = Duration::from_millis(150);

/// The records of one life, handed out in parts.
struct Pace<'a> {
    feed: &'a mut Feed,
    /// Where the life's share begins.
    from: u64,
    share: u64,
}

impl Pace<'_> {
    fn allow(&mut self, times: u64, of: u64) -> Result<()> {
        self.feed.allow(self.from + self.share * times / of)
    }
}

/// How many kills were what.
#[derive(Default)]
struct Kills {
    aimed: u64,
    in_recovery: u64,
    any: u64,
}

/// One life: from its start to its kill.
fn live(scene: &Scene<'_>, aim: &Aim, kills: &mut Kills, pace: &mut Pace<'_>) -> Result<()> {
    pace.allow(1, 10)?;
    let folders = scene.watched()?;
    let before = match aim {
        Aim::After(_) | Aim::Recovery(_) => BTreeSet::new(),
        Aim::New { folder, .. } => names(&folders[*folder]),
    };
    let mut process = scene.start(&["run"])?;
    let mut met = false;
    match aim {
        Aim::After(time) | Aim::Recovery(time) => {
            pace.allow(1, 1)?;
            std::thread::sleep(*time);
        }
        Aim::New { folder, nth, then } => {
            let begin = Instant::now();
            let come = wait_for(APPEARS, || {
                // Records go on coming until it is there: a tenth of the share at a time, to twice the share.
                let tenths = 1 + begin.elapsed().as_millis() as u64 / PACE.as_millis() as u64;
                pace.allow(tenths.min(20), 10)?;
                ensure!(!process.has_ended()?, "it ended by itself\n{}", process.last_words());
                let new = names(&folders[*folder]).difference(&before).count();
                Ok(new >= *nth)
            })?;
            // Else this is a kill of a process that had no more to do.
            if come {
                met = true;
                std::thread::sleep(*then);
            }
        }
    }
    ensure!(process.kill()?, "it ended by itself\n{}", process.last_words());
    let said = process.said();
    if met {
        kills.aimed += 1;
    } else if matches!(aim, Aim::Recovery(_)) && !said.contains("committed epoch=") {
        kills.in_recovery += 1;
    } else {
        kills.any += 1;
    }
    Ok(())
}

/// The files in a folder and in those below it.
pub(crate) fn names(folder: &Path) -> BTreeSet<OsString> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // It may not be there yet.
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(it) if it.is_dir() => folders.push(entry.path()),
                Ok(_) | Err(_) => drop(found.insert(entry.file_name())),
            }
        }
    }
    found
}

/// For `cargo xtask soak`.
fn summarise(line: &str) -> Result<()> {
    let Some(path) = std::env::var_os("FLOE_KILL_SUMMARY") else { return Ok(()) };
    let mut file = std::fs::OpenOptions::new().append(true).open(path)?;
    Ok(file.write_all(line.as_bytes())?)
}
