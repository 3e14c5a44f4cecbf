//! A catalog, a store or a broker that goes away in the middle and comes back: nothing is lost, and none of them
//! even ends the process.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floe_core::crash_point::CrashPoint;
use floe_tests::proxy::{Fault, Keys, Proxy, Rule, SECRET};

use crate::answers::{Proxied, Supervisor};
use crate::lab::{check, number, root};
use crate::moments::names;
use crate::points::crash;
use crate::process::PATIENCE;
use crate::scene::{Place, Scene};

/// How long they are away; a minute in the soak.
fn outage() -> Duration {
    Duration::from_secs(number("FLOE_KILL_OUTAGE_SECONDS", 2))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    Refused,
    Answers(u16),
}

impl Away {
    fn name(self) -> String {
        match self {
            Away::Refused => "refused".to_owned(),
            Away::Answers(status) => status.to_string(),
        }
    }

    fn begin(self, proxy: &Proxy) {
        match self {
            Away::Refused => proxy.refuse(),
            Away::Answers(status) => {
                for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
                    let fault = Fault::AnsweredInstead(status);
                    proxy.add(Rule { times: usize::MAX, ..Rule::once(method, "", fault) });
                }
            }
        }
    }
}

#[test]
fn a_catalog_that_is_away_is_waited_for() {
    check("outages::a_catalog", Place::Rest.needs(), |lab| {
        for (away, bounds) in [
            (Away::Refused, "commits-pending-max = 3"),
            (
                Away::Answers(503),
                "commits-pending-max = 1000\ncommits-pending-bytes-max = \"60KiB\"",
            ),
        ] {
            let mut it = Proxied::new(lab, &format!("catalog-{}", away.name()), Place::Rest)?;
            it.scene.settings.checkpoint = bounds;
            let starts = outage_in_the_middle(&it, &it.rest, away, &|scene, supervisor| {
                what_waits_is_bounded(scene, supervisor).with_context(|| bounds.to_owned())
            })?;
            ensure!(starts == 1, "{away:?} ended the process: {starts} starts");
            it.finish()?;
        }
        Ok(())
    });
}

/// So much more may be resident after an outage of any length than when input was first held back.
const GROWTH_KIB_MAX: u64 = 12 << 10;

/// Checkpoints go on until their bound is reached; from then on neither files nor memory grow.
fn what_waits_is_bounded(scene: &Scene<'_>, supervisor: &mut Supervisor<'_>) -> Result<()> {
    let held = "input is held back";
    let said = supervisor.process.log.clone();
    supervisor.until(PATIENCE, || Ok(std::fs::read_to_string(&said)?.contains(held)))?;
    let [_, parts, _, data] = scene.watched()?;
    let seen = |supervisor: &Supervisor<'_>| {
        let files = names(&parts).len() + names(&data).len();
        (files, supervisor.process.resident_kib())
    };
    // A file may be on its way when input is held back.
    for tries_left in (0..3).rev() {
        let (files, resident_kib) = seen(supervisor);
        supervisor.for_a_time(outage())?;
        let (files_after, resident_kib_after) = seen(supervisor);
        println!(
            "held back: {files} files, {resident_kib} KiB; later: {files_after} files, {resident_kib_after} KiB"
        );
        let grown = resident_kib_after.saturating_sub(resident_kib);
        if files_after <= files && grown <= GROWTH_KIB_MAX {
            return Ok(());
        }
        ensure!(
            tries_left > 0,
            "{files} files became {files_after}, and memory grew by {grown} KiB"
        );
    }
    Ok(())
}

#[test]
fn a_store_that_is_away_is_waited_for() {
    check("outages::a_store", Place::Rest.needs(), |lab| {
        for away in [Away::Refused, Away::Answers(500)] {
            let it = Proxied::new(lab, &format!("store-{}", away.name()), Place::Rest)?;
            let starts = outage_in_the_middle(&it, &it.s3, away, &|_, supervisor| {
                supervisor.for_a_time(outage())
            })?;
            ensure!(starts == 1, "{away:?} ended the process: {starts} starts");
            it.finish()?;
        }
        Ok(())
    });
}

/// Commits come before it, and again after it. Gives the number of starts.
fn outage_in_the_middle(
    it: &Proxied<'_>,
    of: &Proxy,
    away: Away,
    meanwhile: &dyn Fn(&Scene<'_>, &mut Supervisor<'_>) -> Result<()>,
) -> Result<u32> {
    it.scene.make_input(20_000, 51)?;
    it.scene.write_pipeline()?;
    let feed = it.scene.feed_endlessly(4_000)?;
    let mut supervisor = Supervisor::start(&it.scene)?;
    supervisor.until(PATIENCE, || Ok(it.scene.commits()? >= 2))?;
    away.begin(of);
    // What was on its way has come by then.
    supervisor.until_quiet(Duration::from_millis(500), || Ok(()))?;
    let before = it.scene.commits()?;
    meanwhile(&it.scene, &mut supervisor)?;
    ensure!(it.scene.commits()? == before, "{away:?} is no outage: there were commits");
    of.calm();
    supervisor.until(PATIENCE, || Ok(it.scene.commits()? >= before + 2))?;
    let starts = supervisor.kill()?;
    println!("{away:?} for {:?}: {starts} starts", outage());
    feed.stop()?;
    Ok(starts)
}

/// Of three epochs to a commit, some are complete and not committed at each of these deaths.
#[test]
fn epochs_that_wait_for_their_commit_survive_sigkill() {
    check("outages::epochs_that_wait", Place::Rest.needs(), |lab| {
        let mut scene = Scene::new(lab, "epochs-that-wait", Place::Rest)?;
        scene.settings.interval = "100ms";
        scene.settings.checkpoint = "commit-every = 3";
        scene.make_input(20_000, 57)?;
        scene.write_pipeline()?;
        let feed = scene.feed_endlessly(4_000)?;
        for (point, nth) in [
            (CrashPoint::AfterManifest, 3),
            (CrashPoint::BeforeRecommit, 1),
            (CrashPoint::AfterRecommit, 1),
            (CrashPoint::AfterManifest, 2),
            (CrashPoint::AfterCommitSent, 2),
            (CrashPoint::BeforeCommit, 2),
        ] {
            crash(&scene, point, nth)?;
        }
        feed.stop()?;
        scene.run_until_end()?;
        let ranges = scene.committed_ranges()?;
        let several = ranges.iter().filter(|(first, last)| first < last).count();
        ensure!(several >= 3, "{several} of {} snapshots hold several epochs", ranges.len());
        let compared = scene.compare(&[])?;
        println!(
            "{} rows, {several} of {} snapshots of several epochs",
            compared.rows,
            ranges.len()
        );
        scene.done();
        Ok(())
    });
}

const CREDENTIAL: &str = "floe:only-the-catalog-may-know";

/// Tokens that expire while the job runs are renewed; and nothing that it leaves holds a secret.
#[test]
fn a_token_that_expires_is_renewed_and_no_secret_is_kept() {
    check("outages::a_token_that_expires", Place::Rest.needs(), |lab| {
        let mut it = Proxied::new(lab, "tokens", Place::Rest)?;
        it.scene.settings.credential = Some(CREDENTIAL);
        it.rest.give_tokens(Duration::from_secs(1));
        it.scene.make_input(20_000, 58)?;
        it.scene.write_pipeline()?;
        let feed = it.scene.feed_endlessly(4_000)?;
        let mut supervisor = Supervisor::start(&it.scene)?;
        supervisor.until(PATIENCE, || Ok(it.rest.tokens_given() >= 4))?;
        let before = it.scene.commits()?;
        supervisor.until(PATIENCE, || Ok(it.scene.commits()? > before))?;
        let starts = supervisor.kill()?;
        ensure!(starts == 1, "an expired token ended the process: {starts} starts");
        feed.stop()?;
        let said = std::fs::read_dir(&it.scene.folder)?
            .map(|it| Ok(it?.path()))
            .filter(|it| it.as_ref().is_ok_and(|it| it.extension().is_some_and(|it| it == "log")))
            .collect::<Result<Vec<PathBuf>>>()?;
        let [log, parts, metadata, data] = it.scene.watched()?;
        let mut looked_at = 0;
        let folders = [log, parts, metadata, data];
        let left = folders.iter().flat_map(|it| paths(it));
        for file in left.chain(said) {
            let bytes = std::fs::read(&file)?;
            looked_at += 1;
            for secret in ["only-the-catalog-may-know", "testtest", "granted-"] {
                let holds = bytes.windows(secret.len()).any(|it| it == secret.as_bytes());
                ensure!(!holds, "{} holds {secret}", file.display());
            }
        }
        ensure!(looked_at >= 20, "{looked_at} files are not all");
        println!("{} tokens, {looked_at} files without a secret", it.rest.tokens_given());
        it.finish()?;
        Ok(())
    });
}

/// Keys that a catalog vends and a store takes for seconds are renewed before they end; no file holds one.
#[test]
fn vended_keys_that_expire_are_renewed_and_none_is_kept() {
    check("outages::vended_keys", Place::Rest.needs(), |lab| {
        let mut it = Proxied::new(lab, "vended", Place::Rest)?;
        let keys = Keys::of(Duration::from_secs(2));
        it.rest.vend(&keys);
        it.s3.take_only(&keys);
        // Without keys of its own; those of the checkpoints' store are another matter.
        it.scene.settings.catalog = Some(format!(
            "type = \"rest\"\nuri = \"{}\"\n\"s3.endpoint\" = \"{}\"\n\"s3.region\" = \"us-east-1\"",
            it.rest.url(),
            it.s3.url()
        ));
        it.scene.settings.store = Some("file://./checkpoints".to_owned());
        it.scene.make_input(20_000, 59)?;
        it.scene.write_pipeline()?;
        let feed = it.scene.feed_endlessly(4_000)?;
        let mut supervisor = Supervisor::start(&it.scene)?;
        supervisor.until(PATIENCE, || Ok(keys.used() >= 4))?;
        let before = it.scene.commits()?;
        supervisor.until(PATIENCE, || Ok(it.scene.commits()? > before))?;
        let starts = supervisor.kill()?;
        ensure!(starts == 1, "expired keys ended the process: {starts} starts");
        feed.stop()?;
        let mut looked_at = 0;
        for file in paths(&it.scene.folder).into_iter().chain(paths(&it.scene.watched()?[2])) {
            let bytes = std::fs::read(&file)?;
            looked_at += 1;
            for secret in [SECRET, "vended-0"] {
                let holds = bytes.windows(secret.len()).any(|it| it == secret.as_bytes());
                ensure!(!holds, "{} holds {secret}", file.display());
            }
        }
        ensure!(looked_at >= 20, "{looked_at} files are not all");
        println!("{} keys, {} refused, {looked_at} files without one", keys.used(), keys.refused());
        it.finish()?;
        Ok(())
    });
}

/// All files below a folder.
fn paths(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        // It may not be there.
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|it| it.path()) {
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found
}

/// The broker is killed and started again at its address: the consumer comes back by itself.
#[test]
fn a_broker_that_is_started_again_loses_nothing() {
    check("outages::a_broker", Place::Kafka.needs(), |lab| {
        let broker = Broker::start()?;
        let mut scene = Scene::new(lab, "broker-away", Place::Kafka)?;
        scene.kafka = Some(broker.address.clone());
        scene.settings.interval = "100ms";
        scene.make_input(20_000, 53)?;
        scene.write_pipeline()?;
        let mut feed = scene.feed(8_000)?;
        feed.allow(4_000)?;
        let mut supervisor = Supervisor::start(&scene)?;
        supervisor.until(PATIENCE, || Ok(scene.commits()? >= 1))?;
        feed.allow(8_000)?;
        supervisor.until(PATIENCE, || Ok(scene.commits()? >= 2))?;
        // The producer has done its share, so what is in the topic is all there.
        supervisor.until_quiet(Duration::from_secs(1), || Ok(()))?;
        broker.run("kill")?;
        supervisor.for_a_time(outage())?;
        broker.run("start")?;
        let before = scene.commits()?;
        feed.finish()?;
        supervisor.until(PATIENCE, || Ok(scene.commits()? > before))?;
        let starts = supervisor.kill()?;
        println!("broker killed and away for {:?}: {starts} starts", outage());
        scene.run_until_end()?;
        scene.compare(&[])?;
        scene.done();
        Ok(())
    });
}

/// One of the test's own, beside that of all tests.
struct Broker {
    address: String,
    port: u16,
    state: PathBuf,
}

impl Broker {
    fn start() -> Result<Broker> {
        // The controller takes the next one.
        let port =
            TcpListener::bind("127.0.0.1:0").context("find a free port")?.local_addr()?.port();
        let state = std::env::temp_dir().join(format!("floe-kill-{}-broker", std::process::id()));
        let broker = Broker { address: format!("127.0.0.1:{port}"), port, state };
        broker.run("start")?;
        Ok(broker)
    }

    /// `kill` is SIGKILL, beside what the script knows.
    fn run(&self, verb: &str) -> Result<()> {
        if verb == "kill" {
            let pid = std::fs::read_to_string(self.state.join("pid")).context("read its pid")?;
            let pid: i32 = pid.trim().parse().context("read its pid")?;
            // SAFETY: kill takes numbers alone; the process is the broker that this test has started.
            ensure!(unsafe { libc::kill(pid, libc::SIGKILL) } == 0, "the broker was not there");
            return Ok(());
        }
        let said = File::create(self.state.with_extension("log"))?;
        let status = Command::new("bash")
            .arg(root().join("tests/components/kafka.sh"))
            .arg(verb)
            .env("KAFKA_PORT", self.port.to_string())
            .env("KAFKA_STATE", &self.state)
            // A broker that was killed may register again when its old session is over.
            .env(
                "KAFKA_PROPERTIES",
                "broker.session.timeout.ms=1500\nbroker.heartbeat.interval.ms=300",
            )
            // A server keeps what it inherits: were it a pipe of ours, whoever reads it would wait.
            .stdout(said.try_clone()?)
            .stderr(said)
            .status()
            .context("start kafka.sh")?;
        ensure!(status.success(), "kafka.sh {verb}: {status}");
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = self.run("stop") {
            eprintln!("a broker may be left: {error:#}");
        }
        // Its data is of no use to anybody.
        let _ = std::fs::remove_dir_all(&self.state);
        let _ = std::fs::remove_file(self.state.with_extension("log"));
    }
}
