//! One pipeline of one test: its folder, its input, its file, and the comparison at the end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::feed::Feed;
use crate::lab::{Lab, root, variable};
use crate::process::{End, PATIENCE, Process};

/// Where records come from and rows go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A recording, sqlite, local files.
    Local,
    /// Kafka, sqlite, local files.
    Kafka,
    /// Kafka, the REST catalog, tables and checkpoints on S3.
    RestS3,
    /// A recording, the REST catalog, tables and checkpoints on S3.
    Rest,
    /// Kafka, Postgres as the catalog, local files.
    Postgres,
}

impl Place {
    pub(crate) fn needs(self) -> &'static [&'static str] {
        match self {
            Place::Local => &[],
            Place::Kafka => &["FLOE_TEST_KAFKA"],
            Place::RestS3 => {
                &["FLOE_TEST_KAFKA", "FLOE_TEST_REST", "FLOE_TEST_S3", "FLOE_TEST_S3_FOLDER"]
            }
            Place::Rest => &["FLOE_TEST_REST", "FLOE_TEST_S3", "FLOE_TEST_S3_FOLDER"],
            Place::Postgres => &["FLOE_TEST_KAFKA", "FLOE_TEST_POSTGRES"],
        }
    }
}

pub(crate) struct Scene<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) place: Place,
    /// The pipeline's id, and the name of its topic and its namespace.
    pub(crate) id: String,
    pub(crate) folder: PathBuf,
    pub(crate) settings: Settings,
    /// The broker, where it is not that of all tests.
    pub(crate) kafka: Option<String>,
    starts: std::cell::Cell<u32>,
    is_good: bool,
}

/// What differs between the pipelines of the tests.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) module: PathBuf,
    pub(crate) guarantee: &'static str,
    pub(crate) on_error: &'static str,
    pub(crate) interval: &'static str,
    pub(crate) keep: u32,
    pub(crate) batch_records: u32,
    pub(crate) partition_by: &'static str,
    /// Of the table.
    pub(crate) properties: &'static str,
    /// More lines of `[[operator]]`.
    pub(crate) operator: String,
    /// More lines of `[checkpoint]`.
    pub(crate) checkpoint: &'static str,
    /// More lines of `[sink]`.
    pub(crate) sink: &'static str,
    /// The script of tests/readers that knows what the table must hold.
    pub(crate) reader: &'static str,
    /// Put in place of `[source]`'s and `[sink.catalog]`'s lines by the tests of an unreachable world.
    pub(crate) source: Option<String>,
    pub(crate) catalog: Option<String>,
    /// The REST catalog's credential.
    pub(crate) credential: Option<&'static str>,
    pub(crate) store: Option<String>,
    /// Where floe is told that the REST catalog and S3 are; the readers know better.
    pub(crate) rest: Option<String>,
    pub(crate) s3: Option<String>,
}

/// Every snapshot stays, so that each can be compared.
const KEEP_SNAPSHOTS: &str = r#""history.expire.min-snapshots-to-keep" = "1000000""#;

impl Settings {
    pub(crate) fn of(lab: &Lab) -> Settings {
        Settings {
            module: lab.payments.clone(),
            guarantee: "exactly-once",
            on_error: "fail",
            interval: "50ms",
            keep: 5,
            batch_records: 512,
            partition_by: "[]",
            properties: KEEP_SNAPSHOTS,
            operator: String::new(),
            checkpoint: "",
            sink: "",
            reader: "compare.py",
            source: None,
            catalog: None,
            credential: None,
            store: None,
            rest: None,
            s3: None,
        }
    }
}

impl<'a> Scene<'a> {
    pub(crate) fn new(lab: &'a Lab, name: &str, place: Place) -> Result<Scene<'a>> {
        let unique = std::process::id();
        let folder = std::env::temp_dir().join(format!("floe-kill-{unique}-{name}"));
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let id = format!("{}-{unique}", name.replace([' ', '.'], "-"));
        let settings = Settings::of(lab);
        let starts = std::cell::Cell::new(0);
        let kafka = None;
        Ok(Scene { lab, place, id, folder, settings, kafka, starts, is_good: false })
    }

    /// All of the input: the oracle reads it, and the feed hands it out.
    pub(crate) fn input(&self) -> PathBuf {
        self.folder.join("input.jsonl")
    }

    /// What the pipeline reads where there is no Kafka.
    pub(crate) fn recording(&self) -> PathBuf {
        self.folder.join("payments.jsonl")
    }

    /// Makes the input: payments as in the example, the same for the same seed.
    pub(crate) fn make_input(&self, records: u64, seed: u64) -> Result<()> {
        let status = Command::new(&self.lab.python)
            .arg(root().join("examples/01-payments/generate.py"))
            .args(["--records", &records.to_string(), "--seed", &(seed % 1_000_000).to_string()])
            .args(["--merchants", &(records / 200).clamp(10, 10_000).to_string(), "--out"])
            .arg(self.input())
            .status()
            .context("start generate.py")?;
        ensure!(status.success(), "generate.py: {status}");
        Ok(())
    }

    /// Hands records out while processes come and go, at first so many a second, until the feed is stopped.
    pub(crate) fn feed_endlessly(&self, records_per_second: u64) -> Result<Feed> {
        let mut feed = self.feed(records_per_second)?;
        feed.allow_endlessly()?;
        Ok(feed)
    }

    /// Hands out what is allowed, so many records a second.
    pub(crate) fn feed(&self, records_per_second: u64) -> Result<Feed> {
        match self.place {
            Place::Local | Place::Rest => {
                Feed::recording(&self.input(), &self.recording(), records_per_second)
            }
            Place::Kafka | Place::RestS3 | Place::Postgres => {
                let broker = self.broker()?;
                Feed::kafka(self.lab, &broker, &self.input(), &self.id, records_per_second)
            }
        }
    }

    pub(crate) fn write_pipeline(&self) -> Result<()> {
        let text = self.pipeline_text()?;
        let path = self.pipeline();
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    pub(crate) fn pipeline(&self) -> PathBuf {
        self.folder.join("pipeline.toml")
    }

    fn pipeline_text(&self) -> Result<String> {
        let Settings { interval, keep, batch_records, on_error, partition_by, .. } = &self.settings;
        let source = match (&self.settings.source, self.place) {
            (Some(lines), _) => lines.clone(),
            (None, Place::Local | Place::Rest) => "recording = \"payments.jsonl\"".to_owned(),
            (None, Place::Kafka | Place::RestS3 | Place::Postgres) => {
                format!("kafka = \"{}\"\nbootstrap-servers = \"{}\"", self.id, self.broker()?)
            }
        };
        let catalog = match &self.settings.catalog {
            Some(lines) => lines.clone(),
            None => self.catalog_text()?,
        };
        let store = match (&self.settings.store, self.place) {
            (Some(store), _) => store.clone(),
            (None, Place::RestS3 | Place::Rest) => format!("s3://checkpoints/{}", self.id),
            (None, Place::Local | Place::Kafka | Place::Postgres) => "file://./checkpoints".into(),
        };
        Ok(format!(
            r#"[pipeline]
id = "{id}"
guarantee = "{guarantee}"

[source]
{source}

[[operator]]
module = '{module}'
on-error = "{on_error}"
{operator}

[sink]
iceberg = "{namespace}.payments"
partition-by = {partition_by}
properties = {{ {properties} }}
{sink}

[sink.catalog]
{catalog}

[checkpoint]
store = "{store}"
interval = "{interval}"
keep = {keep}
{checkpoint}

[run]
batch-records = {batch_records}
"#,
            id = self.id,
            guarantee = self.settings.guarantee,
            module = self.settings.module.display(),
            operator = self.settings.operator,
            checkpoint = self.settings.checkpoint,
            properties = self.settings.properties,
            sink = self.settings.sink,
            namespace = self.namespace(),
        ))
    }

    fn catalog_text(&self) -> Result<String> {
        Ok(match self.place {
            Place::Local | Place::Kafka => {
                "type = \"sql\"\nuri = \"sqlite://lake.db\"\nwarehouse = \"file://./lake\""
                    .to_owned()
            }
            Place::Postgres => format!(
                "type = \"sql\"\nuri = \"{}\"\nwarehouse = \"file://./lake\"",
                variable("FLOE_TEST_POSTGRES")?
            ),
            Place::RestS3 | Place::Rest => format!(
                r#"type = "rest"
uri = "{}"
"s3.endpoint" = "{}"
"s3.region" = "us-east-1"
"s3.access-key-id" = "test"
"s3.secret-access-key" = "testtest"
"s3.path-style-access" = true
{credential}"#,
                self.rest()?,
                match &self.settings.s3 {
                    Some(proxy) => proxy.clone(),
                    None => variable("FLOE_TEST_S3")?,
                },
                credential = match self.settings.credential {
                    Some(secret) => format!("credential = \"{secret}\""),
                    None => String::new(),
                },
            ),
        })
    }

    fn broker(&self) -> Result<String> {
        match &self.kafka {
            Some(own) => Ok(own.clone()),
            None => variable("FLOE_TEST_KAFKA"),
        }
    }

    fn rest(&self) -> Result<String> {
        match &self.settings.rest {
            Some(proxy) => Ok(proxy.clone()),
            None => variable("FLOE_TEST_REST"),
        }
    }

    pub(crate) fn namespace(&self) -> String {
        self.id.replace('-', "_")
    }

    /// `floe VERB pipeline.toml …`, its stderr in a log of its own.
    pub(crate) fn floe(&self, arguments: &[&str]) -> Result<(Command, PathBuf)> {
        let number = self.starts.get();
        self.starts.set(number + 1);
        let log = self.folder.join(format!("floe-{number:03}.log"));
        let file = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        let mut command = Command::new(&self.lab.floe);
        // `floe dead-letters retry FILE`: the file stands behind the verb's second word.
        let verb = if arguments[0] == "dead-letters" { 2 } else { 1 };
        command.args(&arguments[..verb]).arg(self.pipeline()).args(&arguments[verb..]);
        command.current_dir(&self.folder).stdin(Stdio::null());
        command.stdout(file.try_clone()?).stderr(file);
        Ok((command, log))
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Result<Process> {
        let (command, log) = self.floe(arguments)?;
        Process::start(command, log)
    }

    pub(crate) fn start_armed(&self, crash_at: &str) -> Result<Process> {
        let (mut command, log) = self.floe(&["run"])?;
        command.env("FLOE_CRASH_AT", crash_at);
        Process::start(command, log)
    }

    /// A verb that ends at a crash point.
    pub(crate) fn start_armed_with(&self, arguments: &[&str], crash_at: &str) -> Result<Process> {
        let (mut command, log) = self.floe(arguments)?;
        command.env("FLOE_CRASH_AT", crash_at);
        Process::start(command, log)
    }

    /// Runs to the input's end, which must be a good one. Gives what was said.
    pub(crate) fn run_until_end(&self) -> Result<String> {
        let mut process = self.start(&["run", "--until-end"])?;
        match process.wait(PATIENCE)? {
            End::Code(0) => Ok(process.said()),
            end => bail!("floe run --until-end ended with {end:?}\n{}", process.last_words()),
        }
    }

    /// Commits that its processes spoke of. One that was killed before it could speak is not among them.
    pub(crate) fn commits(&self) -> Result<usize> {
        let logs = (0..self.starts.get()).map(|it| self.folder.join(format!("floe-{it:03}.log")));
        let texts = logs.map(|it| Ok(String::from_utf8_lossy(&std::fs::read(it)?).into_owned()));
        let texts: Vec<String> = texts.collect::<Result<_>>()?;
        Ok(texts.iter().map(|it| it.matches("committed epoch=").count()).sum())
    }

    /// Folders in which the protocol's steps can be seen as files that appear.
    pub(crate) fn watched(&self) -> Result<[PathBuf; 4]> {
        let (store, table) = match self.place {
            Place::Local | Place::Kafka | Place::Postgres => (
                self.folder.join("checkpoints"),
                self.folder.join("lake").join(self.namespace()).join("payments"),
            ),
            Place::RestS3 | Place::Rest => {
                let s3 = PathBuf::from(variable("FLOE_TEST_S3_FOLDER")?);
                (
                    s3.join("checkpoints").join(&self.id),
                    s3.join("lake/warehouse").join(self.namespace()).join("payments"),
                )
            }
        };
        let store = store.join(&self.id);
        Ok([store.join("log"), store.join("parts"), table.join("metadata"), table.join("data")])
    }

    /// Row by row, newest snapshot and each on the way, by independent readers.
    pub(crate) fn compare(&self, more: &[&str]) -> Result<Compared> {
        let mut command = self.reader(self.settings.reader)?;
        command.arg(self.input()).arg("--json").args(more);
        command.args(["--guarantee", self.settings.guarantee]);
        let out = command.output().with_context(|| format!("start {}", self.settings.reader))?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if !out.status.success() {
            bail!("the table is wrong\n{text}{}", String::from_utf8_lossy(&out.stderr));
        }
        let summary = text.lines().last().unwrap_or_default();
        let summary: serde_json::Value =
            serde_json::from_str(summary).context("read the reader's summary")?;
        let number = |name: &str| summary[name].as_u64().unwrap_or_default();
        if self.settings.guarantee == "exactly-once" {
            ensure!(number("consistent_cuts") == number("snapshots"), "{summary}");
        }
        Ok(Compared {
            rows: number("oracle_rows"),
            snapshots: number("snapshots"),
            repeated: number("repeated"),
            missing: number("missing"),
        })
    }

    /// A script of tests/readers, told where the table is.
    pub(crate) fn reader(&self, script: &str) -> Result<Command> {
        let mut command = Command::new(&self.lab.python);
        command.arg(root().join("tests/readers").join(script));
        command.arg(format!("{}.payments", self.namespace())).arg("--catalog");
        match self.place {
            Place::Local | Place::Kafka => {
                command.arg(format!("sqlite://{}/lake.db", self.folder.display()));
            }
            Place::Postgres => {
                command.arg(variable("FLOE_TEST_POSTGRES")?);
            }
            Place::RestS3 | Place::Rest => {
                command.arg(variable("FLOE_TEST_REST")?);
                command.args(["--s3-endpoint", &variable("FLOE_TEST_S3")?]);
                command.args(["--s3-key", "test", "--s3-secret", "testtest"]);
            }
        }
        Ok(command)
    }

    /// The epochs of all snapshots, as the REST catalog has them, each by its last: each must be there once (S4).
    pub(crate) fn committed_epochs(&self) -> Result<Vec<u64>> {
        Ok(self.committed_ranges()?.into_iter().map(|(_, last)| last).collect())
    }

    /// The first and the last epoch of each snapshot: an epoch must be in one alone.
    pub(crate) fn committed_ranges(&self) -> Result<Vec<(u64, u64)>> {
        let rest = variable("FLOE_TEST_REST")?;
        let table = format!("{rest}/v1/namespaces/{}/tables/payments", self.namespace());
        let table: serde_json::Value =
            serde_json::from_slice(&floe_tests::proxy::http::get(&table)?)
                .context("read a table")?;
        let mut snapshots = table["metadata"]["snapshots"].as_array().cloned().unwrap_or_default();
        // The upkeep's carry no rows, and so no epoch.
        snapshots.retain(|it| it["summary"]["floe.rewrite"].is_null());
        let mut ranges = Vec::new();
        for snapshot in &snapshots {
            let epoch = |name: &str| snapshot["summary"][name].as_str().map(str::parse::<u64>);
            let last = epoch("floe.epoch").context("a snapshot without an epoch")??;
            ranges.push((epoch("floe.first-epoch").transpose()?.unwrap_or(last), last));
        }
        ranges.sort_unstable();
        let twice: Vec<_> = ranges.windows(2).filter(|it| it[0].1 >= it[1].0).collect();
        ensure!(twice.is_empty(), "epochs in two snapshots: {twice:?}");
        Ok(ranges)
    }

    pub(crate) fn row_count(&self) -> Result<usize> {
        Ok(self.rows()?.len())
    }

    /// Rows in the table as floe itself shows them, each as JSON.
    pub(crate) fn rows(&self) -> Result<Vec<String>> {
        let (mut command, log) = self.floe(&["rows", "--json"])?;
        let out = command.stdout(Stdio::piped()).output().context("start floe rows")?;
        if !out.status.success() {
            bail!("floe rows: {}\n{}", out.status, std::fs::read_to_string(log)?);
        }
        Ok(String::from_utf8(out.stdout)?.lines().map(str::to_owned).collect())
    }

    /// The test is through: its folder may go. A failed one's stays, to be looked at.
    pub(crate) fn done(mut self) {
        self.is_good = true;
    }
}

pub(crate) struct Compared {
    pub(crate) rows: u64,
    pub(crate) snapshots: u64,
    /// Under a weaker guarantee.
    pub(crate) repeated: u64,
    pub(crate) missing: u64,
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        if self.is_good {
            remove(&self.folder);
        } else {
            eprintln!("what {} left is in {}", self.id, self.folder.display());
        }
    }
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        eprintln!("{} stays: {error}", folder.display());
    }
}
