//! The demo's files: recordings that grow like a topic, and pipelines over them.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A recording: the demo's topic. Records are appended, as a producer would.
pub(super) struct Topic {
    path: PathBuf,
    timestamp: i64,
}

/// One record: its partition, its offset and its JSON value.
pub(super) struct Produced<'a> {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: &'a str,
    pub(super) value: serde_json::Value,
}

impl Topic {
    pub(super) fn create(path: PathBuf) -> std::io::Result<Topic> {
        std::fs::write(&path, "")?;
        Ok(Topic { path, timestamp: 1_760_000_000_000 })
    }

    pub(super) fn append<'a>(
        &mut self,
        records: impl IntoIterator<Item = Produced<'a>>,
    ) -> std::io::Result<()> {
        let mut text = String::new();
        for record in records {
            self.timestamp += 1;
            let line = serde_json::json!({
                "partition": record.partition,
                "offset": record.offset,
                "timestamp": self.timestamp,
                "key": record.key,
                "value": record.value.to_string(),
            });
            writeln!(text, "{line}").expect("writing to a String does not fail");
        }
        OpenOptions::new().append(true).open(&self.path)?.write_all(text.as_bytes())
    }
}

/// What differs between the demo's pipelines.
pub(super) struct Pipeline<'a> {
    pub(super) id: &'a str,
    pub(super) guarantee: &'a str,
    pub(super) recording: &'a str,
    pub(super) module: &'a Path,
    /// TOML, inline.
    pub(super) config: &'a str,
    pub(super) batch_records: u32,
    pub(super) interval: &'a str,
}

impl Pipeline<'_> {
    /// Writes `ID.toml` into the folder, with its own catalog and warehouse beside it.
    pub(super) fn write(&self, dir: &Path) -> std::io::Result<PathBuf> {
        let Pipeline { id, guarantee, recording, config, batch_records, interval, .. } = self;
        let table = id.replace('-', "_");
        let module = self.module.display();
        let text = format!(
            r#"[pipeline]
id = "{id}"
guarantee = "{guarantee}"

[source]
recording = "{recording}"

[[operator]]
module = '{module}'
config = {config}

[sink]
iceberg = "demo.{table}"
catalog = {{ type = "sql", uri = "sqlite://{id}.db", warehouse = "file://./{id}" }}

[checkpoint]
interval = "{interval}"

[run]
batch-records = {batch_records}
"#
        );
        let path = dir.join(format!("{id}.toml"));
        std::fs::write(&path, text)?;
        Ok(path)
    }
}
