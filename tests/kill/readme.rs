//! The commands that people are told to type: taken from the texts, and run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, check, root, variable};
use crate::scene::Place;

#[test]
fn the_examples_commands_work() {
    check("readme::the_examples_commands", &[], |lab| {
        let place = Checkout::new(lab, "example")?;
        let commands = block("examples/01-payments/README.md", "## Run it")?;
        let said = place.run(&commands, &[])?;
        ensure!(said.contains("190 rows, all as expected"), "{said}");
        // "Run it again: there is nothing new in the recording, so nothing is added."
        let again = place.run(&commands, &[])?;
        ensure!(again.contains("190 rows, all as expected"), "{again}");
        place.done()
    });
}

#[test]
fn the_story_of_a_crash_works() {
    check("readme::the_story_of_a_crash", &[], |lab| {
        let example = "examples/05-replay-a-crash";
        let place = Checkout::of(lab, "crash", example)?;
        let guests = lab.payments.parent().context("the guests stand in a folder")?;
        for (guest, file) in [("prices", "prices"), ("prices_fixed", "prices-fixed")] {
            let built = guests.join(format!("floe_example_{guest}.wasm"));
            let there = place.folder.join(example).join(format!("{file}.wasm"));
            std::fs::copy(&built, there).with_context(|| format!("copy {}", built.display()))?;
        }
        let said = place.run(&block(&format!("{example}/README.md"), "## The story")?, &[])?;
        for words in [
            "error: record orders/1 @ 11",
            "attempt to divide by zero",
            "state hash",
            "0 changed, 1 added, 0 removed",
            "checkpoint 3 follows 2",
            "1 letters given back → 1 rows, 0 rejected again",
            "no dead letters that wait",
            "\n240\n",
        ] {
            ensure!(said.contains(words), "{words:?} is not in what was said\n{said}");
        }
        place.done()
    });
}

#[test]
fn the_chain_of_three_languages_works() {
    check("readme::the_chain_of_three_languages", &[], |lab| {
        let place = Checkout::new(lab, "languages")?;
        let example = "examples/06-three-languages";
        place.add(example)?;
        for (operator, guest) in [("unique", "unique_go.wasm"), ("totals", "totals_c.wasm")] {
            let built = lab.payments.with_file_name(guest);
            if !built.exists() && std::env::var_os("CI").is_none() {
                println!("skipped: {} is not built (cargo xtask guests)", built.display());
                return place.done();
            }
            let there = place.folder.join(example).join(operator).join("target/floe");
            std::fs::create_dir_all(&there)?;
            std::fs::copy(&built, there.join("operator.wasm"))
                .with_context(|| format!("copy {}", built.display()))?;
        }
        let commands = block(&format!("{example}/README.md"), "## Run it")?;
        // What these two make was put there.
        let run = commands.lines().filter(|it| !it.starts_with("floe build "));
        let said = place.run(&run.collect::<Vec<_>>().join("\n"), &[])?;
        ensure!(said.contains("190 rows, all as expected"), "{said}");
        place.done()
    });
}

#[test]
fn the_readmes_commands_for_kafka_work() {
    check("readme::the_readmes_commands", Place::RestS3.needs(), |lab| {
        let place = Checkout::new(lab, "kafka")?;
        let commands = block("README.md", "## With real Kafka, a REST catalog and S3")?;
        // The components run already, and elsewhere.
        let is_ours = |it: &&str| !it.starts_with("export ") && !it.starts_with("cargo xtask ");
        let commands: Vec<&str> = commands.lines().filter(is_ours).collect();
        // Nor is the broker always a new one: the names get something of this run.
        let own = std::process::id();
        let path = place.folder.join("examples/01-payments/pipeline-kafka.toml");
        let pipeline = std::fs::read_to_string(&path)?
            .replace("\"payments\"", &format!("\"payments-{own}\""))
            .replace("\"payments-kafka\"", &format!("\"payments-kafka-{own}\""))
            .replace("checkpoints/payments", &format!("checkpoints/payments-{own}"))
            .replace("lake.payments", &format!("lake.payments_{own}"));
        std::fs::write(&path, pipeline)?;
        let commands = commands
            .join("\n")
            .replace("$FLOE_KAFKA payments", &format!("$FLOE_KAFKA payments-{own}"))
            .replace("lake.payments", &format!("lake.payments_{own}"));
        let environment = [
            ("FLOE_KAFKA", variable("FLOE_TEST_KAFKA")?),
            ("CATALOG_URI", variable("FLOE_TEST_REST")?),
            ("S3_ENDPOINT", variable("FLOE_TEST_S3")?),
            ("S3_KEY", "test".to_owned()),
            ("S3_SECRET", "testtest".to_owned()),
        ];
        let said = place.run(&commands, &environment)?;
        ensure!(said.contains("190 rows by pyiceberg"), "{said}");
        place.done()
    });
}

/// The first code block under a heading.
pub(crate) fn block(file: &str, heading: &str) -> Result<String> {
    let text =
        std::fs::read_to_string(root().join(file)).with_context(|| format!("read {file}"))?;
    let (_, text) = text.split_once(heading).with_context(|| format!("{file}: {heading}"))?;
    let (_, text) = text.split_once("\n```").context("a block begins")?;
    let (_, text) = text.split_once('\n').context("a block has lines")?;
    let (text, _) = text.split_once("\n```").context("a block ends")?;
    Ok(text.to_owned())
}

/// A folder that looks like a checkout in which everything was built.
pub(crate) struct Checkout<'a> {
    lab: &'a Lab,
    pub(crate) folder: PathBuf,
}

impl<'a> Checkout<'a> {
    fn new(lab: &'a Lab, name: &str) -> Result<Checkout<'a>> {
        let place = Checkout::of(lab, name, "examples/01-payments")?;
        let module = place.folder.join("examples/01-payments/payments.wasm");
        std::fs::copy(&lab.payments, module)?;
        Ok(place)
    }

    pub(crate) fn of(lab: &'a Lab, name: &str, example: &str) -> Result<Checkout<'a>> {
        let unique = std::process::id();
        let folder = std::env::temp_dir().join(format!("floe-kill-{unique}-readme-{name}"));
        let place = Checkout { lab, folder };
        place.add(example)?;
        let tests = root().join("tests").canonicalize()?;
        std::os::unix::fs::symlink(tests, place.folder.join("tests"))?;
        Ok(place)
    }

    /// The files of another example, its folders left out.
    fn add(&self, example: &str) -> Result<()> {
        let there = self.folder.join(example);
        std::fs::create_dir_all(&there)?;
        for entry in std::fs::read_dir(root().join(example))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                std::fs::copy(entry.path(), there.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    /// Runs lines of shell as a person would who types them, but stops at the first that fails.
    pub(crate) fn run(&self, commands: &str, environment: &[(&str, String)]) -> Result<String> {
        let floe = self.lab.floe.parent().unwrap_or(Path::new("/"));
        let path = format!("{}:{}", floe.display(), variable("PATH")?);
        let out = Command::new("bash")
            .args(["-euo", "pipefail", "-c", commands])
            .current_dir(&self.folder)
            .env("PATH", path)
            .envs(environment.iter().cloned())
            .output()
            .context("start bash")?;
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        ensure!(out.status.success(), "{}\n{commands}\n{said}", out.status);
        Ok(said)
    }

    pub(crate) fn done(self) -> Result<()> {
        std::fs::remove_dir_all(&self.folder).context("remove the checkout")
    }
}
