//! Command intents: the runtime, the worker and the server are killed, and each intent is done once (S9).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, Random, check, root, variable};
use crate::process::{End, PATIENCE, Process};
use crate::scene::{Place, Scene};

const RECORDS: u64 = 10_000;
const RECORDS_PER_SECOND: u64 = 400;
const NEEDS: &[&str] = &["FLOE_TEST_KAFKA"];
/// While records come in, of runtime, worker and server by turns.
const KILLS: u64 = 12;

#[test]
fn each_intent_is_done_once_whoever_dies() {
    check("effects::each_intent_is_done_once", NEEDS, |lab| {
        let parts = Parts::new(lab, "effects", 51, false)?;
        parts.live_and_die()?;
        let charged = parts.charges()?;
        let intents = parts.intents()?;
        ensure!(
            charged.len() == intents.len(),
            "{} charges, {} intents",
            charged.len(),
            intents.len()
        );
        let keys: BTreeSet<&String> = charged.iter().map(|(key, _)| key).collect();
        ensure!(keys.len() == charged.len(), "a key was charged twice");
        let ids: BTreeSet<String> =
            charged.iter().map(|(_, body)| txn_id(body)).collect::<Result<_>>()?;
        ensure!(ids == intents, "the charges are not those of the intents");
        parts.scene.done();
        Ok(())
    });
}

#[test]
fn a_server_that_forgets_keys_repeats_at_most_one_intent_a_death() {
    check("effects::a_server_that_forgets", NEEDS, |lab| {
        let parts = Parts::new(lab, "forgets", 52, true)?;
        let deaths = parts.live_and_die()?;
        let charged = parts.charges()?;
        let intents = parts.intents()?;
        let ids: BTreeSet<String> =
            charged.iter().map(|(_, body)| txn_id(body)).collect::<Result<_>>()?;
        ensure!(ids == intents, "the charges are not those of the intents");
        let extra = charged.len() - intents.len();
        ensure!(extra as u64 <= deaths, "{extra} repeated, after {deaths} deaths");
        parts.scene.done();
        Ok(())
    });
}

struct Parts<'a> {
    scene: Scene<'a>,
    port: u16,
    forgets: bool,
}

impl<'a> Parts<'a> {
    fn new(lab: &'a Lab, name: &str, seed: u64, forgets: bool) -> Result<Parts<'a>> {
        let scene = Scene::new(lab, name, Place::Local)?;
        scene.make_input(RECORDS, seed)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let parts = Parts { scene, port, forgets };
        for topic in [parts.topic(), parts.outcomes()] {
            let status = parts.kafka_py(&[&topic, "create", "--partitions", "2"]).status();
            ensure!(status.context("start kafka.py")?.success(), "kafka.py create");
        }
        let text = format!(
            "[pipeline]\nid = \"{}\"\n[source]\nrecording = \"payments.jsonl\"\n[[operator]]\nmodule = \"{}\"\n\
             [sink]\nkafka = \"{}\"\nbootstrap-servers = \"{}\"\nkey = [\"kafka_partition\", \"txn_id\"]\nintents = true\n\
             [checkpoint]\nstore = \"file://./checkpoints\"\ninterval = \"60ms\"\n[run]\nbatch-records = 64\n",
            parts.scene.id,
            lab.payments.display(),
            parts.topic(),
            variable("FLOE_TEST_KAFKA")?
        );
        std::fs::write(parts.scene.pipeline(), text)?;
        Ok(parts)
    }

    fn topic(&self) -> String {
        format!("{}-intents", self.scene.id)
    }

    fn outcomes(&self) -> String {
        format!("{}-outcomes", self.scene.id)
    }

    fn kafka_py(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.scene.lab.python);
        command.arg(root().join("tests/kill/kafka.py"));
        command.arg(variable("FLOE_TEST_KAFKA").unwrap_or_default()).args(arguments);
        command
    }

    fn server(&self) -> Result<Process> {
        let log = self.scene.folder.join("charges.log");
        let mut command = Command::new(&self.scene.lab.python);
        command.arg(root().join("tests/kill/charges.py")).arg(self.port.to_string());
        command.arg(self.scene.folder.join("charges"));
        if self.forgets {
            command.arg("--forgets");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        Process::start(command, log)
    }

    fn worker(&self, arguments: &[&str]) -> Result<Process> {
        let log = self.scene.folder.join("effects.log");
        let mut command = Command::new(&self.scene.lab.floe);
        let url = format!("http://127.0.0.1:{}/charge", self.port);
        command.args(["effects", "--intents", &self.topic(), "--outcomes", &self.outcomes()]);
        command.args(["--url", &url, "--timeout", "5"]);
        // A worker of a fixed name takes its partitions up again without waiting for its own funeral.
        command.args(["--property", "group.instance.id=worker"]);
        command.args(arguments).env("FLOE_KAFKA", variable("FLOE_TEST_KAFKA")?);
        let file = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Process::start(command, log)
    }

    /// Kills one of the three again and again, then lets them finish. How often worker and server died.
    fn live_and_die(&self) -> Result<u64> {
        let feed = self.scene.feed_endlessly(RECORDS_PER_SECOND)?;
        let mut random = Random::from_environment();
        let mut runtime = self.scene.start(&["run"])?;
        let (mut server, mut worker) = (self.server()?, self.worker(&[])?);
        let mut deaths = 0;
        for kill in 0..KILLS {
            std::thread::sleep(Duration::from_millis(150 + random.below(400)));
            match kill % 3 {
                0 => {
                    ensure!(runtime.kill()?, "the runtime ended\n{}", runtime.last_words());
                    runtime = self.scene.start(&["run"])?;
                }
                1 => {
                    ensure!(worker.kill()?, "the worker ended\n{}", worker.last_words());
                    worker = self.worker(&[])?;
                    deaths += 1;
                }
                _ => {
                    ensure!(server.kill()?, "the server ended\n{}", server.last_words());
                    server = self.server()?;
                    deaths += 1;
                }
            }
        }
        runtime.kill()?;
        worker.kill()?;
        feed.stop()?;
        self.scene.run_until_end()?;
        let mut last = self.worker(&["--until-end"])?;
        let end = last.wait(PATIENCE)?;
        ensure!(
            end == End::Code(0),
            "floe effects --until-end ended with {end:?}\n{}",
            last.last_words()
        );
        server.kill()?;
        Ok(deaths + 1)
    }

    fn charges(&self) -> Result<Vec<(String, String)>> {
        let text = std::fs::read_to_string(self.scene.folder.join("charges"))?;
        let line = |it: &str| {
            let (key, body) = it.split_once('\t').context("a charge is a key and a body")?;
            Ok((key.to_owned(), body.to_owned()))
        };
        text.lines().map(line).collect()
    }

    /// What the topic holds for readers of committed transactions: each payment once.
    fn intents(&self) -> Result<BTreeSet<String>> {
        let said = self.kafka_py(&[&self.topic(), "consume"]).output().context("start kafka.py")?;
        let text = String::from_utf8(said.stdout)?;
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for line in text.lines() {
            let (_, value) = line.split_once('\t').context("a key and a value")?;
            *seen.entry(txn_id(value)?).or_default() += 1;
        }
        ensure!(seen.values().all(|it| *it == 1), "an intent was published twice");
        let records = std::fs::read_to_string(self.scene.input())?.lines().count();
        ensure!(seen.len() > records / 2, "{} intents of {records} records", seen.len());
        Ok(seen.into_keys().collect())
    }
}

/// The operator counts ids for each partition, so the partition is part of the intent's name.
fn txn_id(text: &str) -> Result<String> {
    let row: serde_json::Value = serde_json::from_str(text)?;
    let id = row["txn_id"].as_str().context("an intent has its txn_id")?;
    Ok(format!("{} {id}", row["kafka_partition"]))
}
