//! The golden encodings of `sdk/abi/vectors`: text to bytes and back.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use floe_core::ports::DecoderFactory;
use floe_core::{EventTime, Offset, Records, TopicPartition};

use crate::arrow_in::Plan;
use crate::arrow_out::read_batch;
use crate::instance::{Said, read_description};
use crate::memory::GuestMemory;
use crate::schema::data_type;
use crate::{Format, InputDecoder};

const BASE: u32 = 0x10000;

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/abi/vectors")).join(name)
}

/// The lines that say something, from the first one's word on.
fn lines(name: &str, kind: &str) -> Vec<String> {
    let text = fs::read_to_string(file(&format!("{name}.txt"))).unwrap();
    let mut lines = text.lines().filter(|it| !it.starts_with('#')).map(str::to_owned);
    assert_eq!(lines.next().as_deref(), Some(kind), "{name}");
    lines.collect()
}

/// Takes the columns at the front whose indentation is `depth` twice.
fn columns(lines: &mut &[String], depth: usize) -> Vec<Field> {
    let mut found = Vec::new();
    while let Some((line, rest)) = lines.split_first() {
        let Some(line) = line.strip_prefix(&"  ".repeat(depth)) else { break };
        let words: Vec<&str> = line.split(' ').collect();
        let ["column", name, format, nullable] = words[..] else { break };
        *lines = rest;
        let children = columns(lines, depth + 1);
        let kind = data_type(format, &children).unwrap_or_else(|| panic!("{line}"));
        found.push(Field::new(name, kind, nullable == "nullable"));
    }
    found
}

fn schema(lines: &mut &[String]) -> SchemaRef {
    Arc::new(Schema::new(columns(lines, 0)))
}

fn batch(name: &str) -> RecordBatch {
    let lines = lines(name, "batch");
    let mut rest = &lines[..];
    let schema = schema(&mut rest);
    let (head, rows) = rest.split_first().unwrap();
    assert_eq!(head, "rows", "{name}");
    let mut records = Records::new(TopicPartition::new("t", 0), Offset(0));
    for (index, row) in rows.iter().enumerate() {
        records.push(Offset(index as i64), EventTime(0), None, Some(row.as_bytes()));
    }
    let factory = InputDecoder::new(Format::Json, schema).unwrap();
    let decoded = factory.decoder().decode(&records).unwrap();
    assert_eq!(decoded.rejected, [], "{name}");
    decoded.batch
}

/// Compares with the golden bytes; what differs is left beside them for a look.
fn compare(name: &str, bytes: &[u8]) {
    let golden = fs::read(file(&format!("{name}.bin"))).unwrap_or_default();
    if golden != bytes {
        let found = std::env::temp_dir().join(format!("{name}.bin"));
        fs::write(&found, bytes).unwrap();
        panic!("{name}.bin is not what the host writes now: {}", found.display());
    }
}

fn in_memory(name: &str) -> Vec<u8> {
    [vec![0xa5; BASE as usize], fs::read(file(&format!("{name}.bin"))).unwrap()].concat()
}

#[test]
fn batches_are_written_and_read_as_they_always_were() {
    for name in ["flat", "nulls", "nested", "types"] {
        let batch = batch(name);
        let plan = Plan::of(&batch);
        let mut region = vec![0xa5; plan.bytes as usize];
        assert_eq!(plan.write(&mut region, BASE), BASE);
        compare(name, &region);
        let memory = in_memory(name);
        let read = read_batch(GuestMemory(&memory), BASE.into(), &batch.schema(), &mut (1 << 20));
        assert_eq!(read, Ok(batch), "{name}");
    }
}

#[test]
fn a_description_is_read_as_it_always_was() {
    let said = written_down("description");
    compare("description", &Image::of(&said));
    let memory = in_memory("description");
    assert_eq!(read_description(GuestMemory(&memory), BASE.into()), Ok(said));
}

fn written_down(name: &str) -> Said {
    let lines = lines(name, "description");
    let mut rest = &lines[..];
    let mut word = |key: &str| {
        let (line, after) = rest.split_first().unwrap();
        rest = after;
        line.strip_prefix(key).unwrap_or_else(|| panic!("{key}: {line}")).trim().to_owned()
    };
    let (name, version, state) = (word("name"), word("version"), word("state-version"));
    assert_eq!(word("input"), "");
    let input = schema(&mut rest);
    let mut outputs = Vec::new();
    while let Some((line, after)) = rest.split_first() {
        rest = after;
        outputs.push((line.strip_prefix("output ").unwrap().to_owned(), schema(&mut rest)));
    }
    Said { name, version, state_version: state.parse().unwrap(), input, outputs }
}

/// A description as a plain SDK might lay it out: each thing behind the last, aligned to 8 bytes.
struct Image(Vec<u8>);

impl Image {
    fn of(said: &Said) -> Vec<u8> {
        let mut image = Image(vec![0; 32]);
        let mut outputs = Vec::new();
        let (name, version) = (image.text(&said.name), image.text(&said.version));
        let input = image.schema("+s", "", false, said.input.fields());
        for (name, schema) in &said.outputs {
            let at = image.text(name);
            let schema = image.schema("+s", "", false, schema.fields());
            outputs.extend([at, name.len() as u32, schema]);
        }
        let outputs = image.words(&outputs);
        let (name_len, version_len) = (said.name.len() as u32, said.version.len() as u32);
        let count = said.outputs.len() as u32;
        let head =
            [name, name_len, version, version_len, said.state_version, input, count, outputs];
        let head: Vec<u8> = head.iter().flat_map(|it| it.to_le_bytes()).collect();
        image.0[..32].copy_from_slice(&head);
        image.0
    }

    fn put(&mut self, bytes: &[u8]) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        BASE + at
    }

    fn text(&mut self, text: &str) -> u32 {
        self.put(&[text.as_bytes(), &[0]].concat())
    }

    fn words(&mut self, words: &[u32]) -> u32 {
        let bytes: Vec<u8> = words.iter().flat_map(|it| it.to_le_bytes()).collect();
        self.put(&bytes)
    }

    fn schema(
        &mut self,
        format: &str,
        name: &str,
        nullable: bool,
        children: &arrow_schema::Fields,
    ) -> u32 {
        let pointers: Vec<u32> = children
            .iter()
            .map(|it| {
                let below = match it.data_type() {
                    DataType::List(item) => vec![Arc::clone(item)].into(),
                    DataType::Struct(fields) => fields.clone(),
                    _ => arrow_schema::Fields::empty(),
                };
                self.schema(format_of(it.data_type()), it.name(), it.is_nullable(), &below)
            })
            .collect();
        let (format, name) = (self.text(format), self.text(name));
        let count = pointers.len() as u32;
        let pointers = if count == 0 { 0 } else { self.words(&pointers) };
        let flags = if nullable { 2 } else { 0 };
        self.words(&[format, name, 0, 0, flags, 0, count, 0, pointers, 0, 0, 0])
    }
}

/// Of the types that `description.txt` has.
fn format_of(kind: &DataType) -> &'static str {
    match kind {
        DataType::Int64 => "l",
        DataType::Utf8 => "u",
        DataType::Binary => "z",
        DataType::Decimal128(20, 4) => "d:20,4",
        DataType::Decimal128(30, 4) => "d:30,4",
        DataType::Timestamp(..) => "tsu:UTC",
        DataType::List(_) => "+l",
        DataType::Struct(_) => "+s",
        other => panic!("no format for {other}"),
    }
}
