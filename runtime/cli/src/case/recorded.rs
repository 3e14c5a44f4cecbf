//! A recording as a case: what was recorded goes in, and the rows beside it must come out.

use std::path::Path;
use std::time::Duration;

use floe_core::ports::{Source, StartAt};
use floe_core::{Error, Result};
use floe_source::RecordingSource;
use serde_json::{Map, Value};

use super::{Case, CaseRecord, Expected, Step};

/// The records of each partition in order, one partition after the other. `expected` is a file of rows, a
/// JSON object a line, if there is one.
pub(crate) fn recorded(file: &Path, expected: Option<&Path>) -> Result<Case> {
    let mut source = RecordingSource::open(file, "recording")?;
    let partitions = source.partitions()?;
    let names: Vec<_> = partitions.iter().map(|it| it.topic_partition.clone()).collect();
    let begin = source.resolve_start(&names, StartAt::Earliest)?;
    source.assign(&begin)?;
    let mut records = Vec::new();
    loop {
        let polled = source.poll(Duration::ZERO, 65_536)?;
        if polled.is_empty() {
            break;
        }
        for batch in &polled {
            let partition = batch.topic_partition().partition;
            records.extend(batch.iter().map(|it| CaseRecord {
                line: 0,
                timestamp: Some(it.timestamp().0),
                key: it.key().map(<[u8]>::to_vec),
                value: it.value().map(<[u8]>::to_vec),
                source: None,
                headers: it.headers().map(|(n, v)| (n.to_vec(), v.map(<[u8]>::to_vec))).collect(),
                place: Some((partition, it.offset().0)),
            }));
        }
    }
    records.sort_by_key(|it| it.place);
    for (index, record) in records.iter_mut().enumerate() {
        record.line = index + 1;
    }
    let expected = match expected {
        None => Expected::Same,
        Some(file) => Expected::Rows(rows(file)?),
    };
    Ok(Case {
        file: file.to_owned(),
        config: "{}".to_owned(),
        steps: records.into_iter().map(Step::Record).collect(),
        expected,
        ..Case::default()
    })
}

fn rows(file: &Path) -> Result<Vec<Map<String, Value>>> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Error::invalid(format!("{} cannot be read: {error}", file.display())))?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| {
                Error::invalid(format!("{}:{}  no JSON object: {error}", file.display(), index + 1))
            })
        })
        .collect()
}
