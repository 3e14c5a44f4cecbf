use std::fmt::Write as _;
use std::io::Write as _;

use floe_core::ErrorKind;

use super::*;
use crate::recording::write_line;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Everything from a position on, one text a record: `topic/partition@offset key=value`.
fn read_all(source: &mut RecordingSource, position: &Position, records_max: usize) -> Vec<String> {
    source.assign(position).unwrap();
    let mut read = Vec::new();
    loop {
        let batch = source.poll(Duration::ZERO, records_max).unwrap();
        if batch.is_empty() {
            return read;
        }
        for records in batch {
            assert!(records.len() <= records_max);
            let text = |it: Option<&[u8]>| {
                it.map_or("-".into(), |it| String::from_utf8_lossy(it).into_owned())
            };
            read.extend(records.iter().map(|it| {
                let mut line = format!("{}@{} ", records.topic_partition(), it.offset());
                write!(line, "{}={}", text(it.key()), text(it.value())).unwrap();
                for (name, value) in it.headers() {
                    write!(line, " {}:{}", String::from_utf8_lossy(name), text(value)).unwrap();
                }
                line
            }));
        }
    }
}

fn start(source: &mut RecordingSource, start: StartAt) -> Position {
    let partitions: Vec<_> =
        source.partitions().unwrap().into_iter().map(|it| it.topic_partition).collect();
    source.resolve_start(&partitions, start).unwrap()
}

const SMALL: &str = r#"
{"partition":0,"offset":5,"timestamp":100,"key":"k","value":"a \"b\" ü","headers":[["n","v"],["e",null]]}
{"partition":1,"offset":0,"timestamp":110,"key":null,"value":"one"}
{"partition":0,"offset":7,"timestamp":120,"value":null}

{"topic":"other","partition":0,"offset":0,"timestamp":130,"value":{"base64":"aGk="}}
{"partition":0,"offset":8,"value":""}
"#;

#[test]
fn every_form_of_a_line_is_read() {
    let file = file(SMALL);
    let mut source = RecordingSource::open(file.path(), "t").unwrap();
    let facts: Vec<_> = source
        .partitions()
        .unwrap()
        .iter()
        .map(|it| format!("{} {}..{}", it.topic_partition, it.earliest, it.end))
        .collect();
    assert_eq!(facts, ["other/0 0..1", "t/0 5..9", "t/1 0..1"]);
    let position = start(&mut source, StartAt::Earliest);
    let mut read = read_all(&mut source, &position, 100);
    read.sort();
    assert_eq!(
        read,
        ["other/0@0 -=hi", "t/0@5 k=a \"b\" ü n:v e:-", "t/0@7 -=-", "t/0@8 -=", "t/1@0 -=one"]
    );
}

#[test]
fn a_start_is_the_earliest_the_end_or_a_time() {
    let file = file(SMALL);
    let mut source = RecordingSource::open(file.path(), "t").unwrap();
    let cases = [
        (StartAt::Earliest, [0, 5, 0]),
        (StartAt::Latest, [1, 9, 1]),
        (StartAt::Timestamp(EventTime(111)), [0, 7, 1]),
        (StartAt::Timestamp(EventTime(1000)), [1, 9, 1]),
    ];
    for (at, offsets) in cases {
        let found: Vec<i64> = start(&mut source, at).0.values().map(|it| it.0).collect();
        assert_eq!(found, offsets, "{at:?}");
    }
}

#[test]
fn a_bad_line_is_named_by_file_and_number() {
    let good = r#"{"partition":0,"offset":0,"value":"x"}"#;
    let cases = [
        ("{", ":2:"),
        ("not json", ":2:"),
        (r#"{"partition":0}"#, ":2: missing field `offset`"),
        (r#"{"partition":0,"offset":"1"}"#, ":2:"),
        (r#"{"partition":0,"offset":0}"#, ":2: offset 0 of t/0 comes after offset 0"),
        (r#"{"partition":-1,"offset":0}"#, "count from 0"),
        (r#"{"topic":"@totals","partition":0,"offset":0}"#, ":2: topic \"@totals\" begins with"),
        (r#"{"partition":0,"offset":1,"valeu":"x"}"#, ":2: unknown field `valeu`"),
        (
            r#"{"partition":0,"offset":1,"value":7}"#,
            ":2: invalid type: integer `7`, expected a string",
        ),
        (r#"{"partition":0,"offset":1,"value":{"base64":"?"}}"#, ":2: no base64"),
        (r#"{"partition":0,"offset":1,"value":{"hex":"00"}}"#, "one key, \"base64\""),
    ];
    for (line, why) in cases {
        let file = file(&format!("{good}\n{line}\n"));
        let error = read_until_error(file.path());
        assert_eq!(error.kind, ErrorKind::Invalid, "{line}");
        assert!(error.message.contains(why), "{line}: {error}");
        assert!(error.message.contains(&file.path().display().to_string()), "{line}: {error}");
    }
}

/// Opens and reads; the records before the bad line come first.
fn read_until_error(path: &Path) -> Error {
    let mut source = match RecordingSource::open(path, "t") {
        Ok(source) => source,
        Err(error) => return error,
    };
    let position = start(&mut source, StartAt::Earliest);
    source.assign(&position).unwrap();
    assert_eq!(source.poll(Duration::ZERO, 10).unwrap()[0].len(), 1);
    source.poll(Duration::ZERO, 10).unwrap_err()
}

#[test]
fn an_empty_or_absent_file_is_refused() {
    let empty = file("\n\n");
    let error = RecordingSource::open(empty.path(), "t").unwrap().partitions().unwrap_err();
    assert!(error.message.contains("holds no records"), "{error}");
    let error = RecordingSource::open("/no/such/recording.jsonl", "t").err().unwrap();
    assert!(error.message.contains("/no/such/recording.jsonl cannot be opened"), "{error}");
}

/// 30,000 records over three partitions, unevenly, with gaps.
fn large() -> String {
    let mut text = String::new();
    let mut offsets = [0i64; 3];
    for index in 0..30_000i64 {
        let partition = (index * index % 7 % 3) as usize;
        writeln!(
            text,
            r#"{{"partition":{partition},"offset":{},"timestamp":{index},"key":"k","value":"v{index}"}}"#,
            offsets[partition]
        )
        .unwrap();
        offsets[partition] += 1 + index % 2;
    }
    text
}

#[test]
fn reading_from_anywhere_gives_the_rest_and_nothing_else() {
    let file = file(&large());
    let mut source = RecordingSource::open(file.path(), "t").unwrap();
    let earliest = start(&mut source, StartAt::Earliest);
    let latest = start(&mut source, StartAt::Latest);
    let all = read_all(&mut source, &earliest, 1000);
    assert_eq!(all.len(), 30_000);
    for step in 0..8 {
        let mut position = Position::default();
        for (index, (partition, end)) in latest.0.iter().enumerate() {
            position
                .0
                .insert(partition.clone(), Offset(end.0 * ((step + index as i64 * 3) % 8) / 7));
        }
        let mut expected: Vec<&String> = all
            .iter()
            .filter(|it| {
                let (partition, offset) = it.split_once(' ').unwrap().0.split_once('@').unwrap();
                let offset: i64 = offset.parse().unwrap();
                position.0.iter().any(|(at, from)| at.to_string() == partition && from.0 <= offset)
            })
            .collect();
        let read = read_all(&mut source, &position, 777);
        let mut read: Vec<&String> = read.iter().collect();
        expected.sort();
        read.sort();
        assert_eq!(read, expected, "{position:?}");
    }
    assert!(read_all(&mut source, &latest, 10).is_empty());
}

#[test]
fn a_position_out_of_range_names_what_is_there() {
    let file = file(SMALL);
    let mut source = RecordingSource::open(file.path(), "t").unwrap();
    for (partition, offset, why) in [
        (0, 4, "offset 4 is out of range"),
        (0, 10, "has offsets 5 to 9 (excluded)"),
        (3, 0, "has no records of partition t/3"),
    ] {
        let position = Position([(TopicPartition::new("t", partition), Offset(offset))].into());
        let error = source.assign(&position).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused);
        assert!(error.message.contains(why), "{error}");
    }
}

#[test]
fn a_recording_may_grow_and_must_not_shrink() {
    let mut file = file("{\"partition\":0,\"offset\":0,\"value\":\"a\"}");
    let mut source = RecordingSource::open(file.path(), "t").unwrap();
    let position = start(&mut source, StartAt::Earliest);
    assert_eq!(read_all(&mut source, &position, 10), ["t/0@0 -=a"]);
    file.write_all(b"\n{\"partition\":0,\"offset\":1,\"value\":\"b\"}\n").unwrap();
    assert_eq!(source.partitions().unwrap()[0].end, Offset(2));
    assert_eq!(source.poll(Duration::ZERO, 10).unwrap()[0].first_offset(), Some(Offset(1)));
    file.as_file().set_len(3).unwrap();
    assert_eq!(source.partitions().unwrap_err().kind, ErrorKind::Refused);
}

#[test]
fn what_is_written_is_read_back() {
    let partition = TopicPartition::new("t", 2);
    let mut records = Records::new(partition.clone(), Offset(3));
    records.push(Offset(3), EventTime(9), Some(b"k\n"), Some("ü\u{0} \"".as_bytes()));
    records.push_header(b"h", Some(&[0xff]));
    records.push_header(b"n", None);
    records.push(Offset(4), EventTime(10), None, None);
    records.push(Offset(6), EventTime(-1), Some(b""), Some(&[0xff, 0]));
    let mut text = Vec::new();
    records.iter().for_each(|it| write_line(&mut text, &partition, &it));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&text).unwrap();
    let mut source = RecordingSource::open(file.path(), "unused").unwrap();
    let position = start(&mut source, StartAt::Earliest);
    source.assign(&position).unwrap();
    let read = source.poll(Duration::ZERO, 10).unwrap().remove(0);
    assert_eq!(read.topic_partition(), &partition);
    for (before, after) in records.iter().zip(read.iter()) {
        assert_eq!((before.offset(), before.timestamp()), (after.offset(), after.timestamp()));
        assert_eq!((before.key(), before.value()), (after.key(), after.value()));
        assert!(before.headers().eq(after.headers()));
    }
    assert_eq!(read.len(), 3);
}

#[test]
fn a_line_that_is_being_written_is_waited_for() {
    let mut file = file("{\"partition\":0,\"offset\":0,\"value\":\"a\"}\n{\"partition\":0,\"off");
    let mut source = RecordingSource::open(file.path(), "t").unwrap();
    let position = start(&mut source, StartAt::Earliest);
    assert_eq!(source.partitions().unwrap()[0].end, Offset(1));
    assert_eq!(read_all(&mut source, &position, 9), ["t/0@0 -=a"]);
    assert!(source.poll(Duration::ZERO, 9).unwrap().is_empty());
    file.write_all(b"set\":1,\"value\":\"b\"").unwrap();
    assert!(source.poll(Duration::ZERO, 9).unwrap().is_empty());
    // Whole, though its newline is still to come.
    file.write_all(b"}").unwrap();
    assert_eq!(source.poll(Duration::ZERO, 9).unwrap()[0].len(), 1);
    file.write_all(b"\n{\"partition\":0,\"offset\":2}").unwrap();
    assert_eq!(source.poll(Duration::ZERO, 9).unwrap()[0].len(), 1);
    assert_eq!(source.partitions().unwrap()[0].end, Offset(3));
}
