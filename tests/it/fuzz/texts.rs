//! What people and other programs write: pipeline files, recordings, and JSON values of records.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_schema::{DataType, Field, Schema, TimeUnit};
use floe_core::ports::{DecoderFactory, Source, StartAt};
use floe_core::{ErrorKind, EventTime, Offset, Records, TopicPartition};
use floe_operator::{Format, InputDecoder};
use floe_pipeline::config::PipelineSpec;
use floe_source::recording::RecordingSource;

use super::fuzz;

#[test]
fn pipeline_file() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/01-payments");
    let read = |name: &str| std::fs::read(examples.join(name)).unwrap();
    let corpus = [read("pipeline.toml"), read("pipeline-kafka.toml")];
    fuzz("texts::pipeline_file", &corpus, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let environment = |_: &str| Some("http://127.0.0.1:9".to_owned());
        match PipelineSpec::parse(&text, Path::new("examples/pipeline.toml"), &environment) {
            Ok(_) => true,
            Err(error) => {
                let said = error.to_string();
                assert!(said.contains("pipeline.toml"), "the file is not named: {said}");
                false
            }
        }
    });
}

#[test]
fn recording() {
    let corpus = [
        concat!(
            r#"{"partition":0,"offset":1,"timestamp":1760000000000,"key":"m-1","value":"text"}"#,
            "\n",
            r#"{"partition":0,"offset":7,"value":null,"headers":[["n","v"],["m",null]]}"#,
            "\n",
        ),
        concat!(
            r#"{"topic":"other","partition":3,"offset":0,"value":{"base64":"AAECAwQF/v8="}}"#,
            "\n\n",
            r#"{"topic":"other","partition":3,"offset":1,"value":"\u00e9 \"quoted\" \ud83d\ude00"}"#,
            "\n",
        ),
    ];
    let corpus: Vec<Vec<u8>> = corpus.iter().map(|it| it.as_bytes().to_vec()).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording.jsonl");
    fuzz("texts::recording", &corpus, |bytes| {
        std::fs::write(&path, bytes).unwrap();
        read_all(&path).is_some()
    });
}

/// All records, each partition in order; `None` when the recording is refused.
fn read_all(path: &Path) -> Option<usize> {
    let mut source = RecordingSource::open(path, "in").ok()?;
    let partitions = source.partitions().ok()?;
    let tasks: Vec<_> = partitions.iter().map(|it| it.topic_partition.clone()).collect();
    let start = source.resolve_start(&tasks, StartAt::Earliest).ok()?;
    source.assign(&start).ok()?;
    let mut count = 0;
    loop {
        let polled = source.poll(Duration::ZERO, 100);
        let batches = match polled {
            Ok(batches) if batches.is_empty() => return Some(count),
            Ok(batches) => batches,
            Err(error) => {
                assert!(error.message.contains("recording.jsonl"), "{error}");
                assert_ne!(error.kind, ErrorKind::Retry, "{error}");
                return None;
            }
        };
        for records in batches {
            let offsets: Vec<i64> = records.iter().map(|it| it.offset().0).collect();
            assert!(offsets.is_sorted_by(|a, b| a < b), "offsets out of order: {offsets:?}");
            count += offsets.len();
        }
    }
}

/// What a producer may put into a topic: a row or a rejection, never anything else.
#[test]
fn json_value() {
    let list = DataType::List(Field::new("item", DataType::Utf8, true).into());
    let inner = Schema::new(vec![Field::new("x", DataType::Float64, true)]);
    let schema = Schema::new(vec![
        Field::new("_offset", DataType::Int64, false),
        Field::new("id", DataType::Utf8, false),
        Field::new("amount", DataType::Int64, true),
        Field::new("small", DataType::UInt8, true),
        Field::new("price", DataType::Decimal128(12, 2), true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("day", DataType::Date32, true),
        Field::new("good", DataType::Boolean, true),
        Field::new("tags", list, true),
        Field::new("inner", DataType::Struct(inner.fields), true),
    ]);
    let factory = InputDecoder::new(Format::Json, Arc::new(schema)).unwrap();
    let good = br#"{"id":"a","amount":-5,"small":7,"price":"12.34","at":"2026-01-02T03:04:05.678Z","day":"2026-01-02","good":true,"tags":["x",null,"\u00e9"],"inner":{"x":1e3}}"#;
    let corpus = [good.to_vec(), br#"{"id":"b","more":[{"a":[[]]}]}"#.to_vec()];
    let mut decoder = factory.decoder();
    fuzz("texts::json_value", &corpus, |bytes| {
        let mut records = Records::new(TopicPartition::new("in", 0), Offset(0));
        records.push(Offset(0), EventTime(1), None, Some(b"{\"id\":\"before\"}"));
        records.push(Offset(1), EventTime(2), None, Some(bytes));
        records.push(Offset(2), EventTime(3), None, Some(b"{\"id\":\"behind\"}"));
        let decoded = decoder.decode(&records).unwrap();
        assert_eq!(decoded.batch.num_rows() + decoded.rejected.len(), 3);
        assert!(decoded.batch.num_rows() >= 2, "its neighbours are rows");
        decoded.rejected.is_empty()
    });
}
