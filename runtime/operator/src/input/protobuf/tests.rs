use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use floe_core::ports::{Decoded, DecoderFactory};
use floe_core::schema::{KnownSchemas, SchemaId, SchemaKind, WriterSchema};
use floe_core::{EventTime, Offset, Records, TopicPartition};

use super::super::{Format, InputDecoder, Written};

/// Written by protobuf 7.36 for Python, deterministic, with the schema in every.proto.
const GOLDEN: &str = "080110f9ffffffffffffffff01188080808080202080d0acf30e2880808080808080808001300938ffffffffff3f450700000049080000000000000055f7ffffff59f6ffffffffffffff650000003f699c7500883ce437fe7203c3a90a7a0200ff8001018801ffffffffffffffffff0192010c08808cf5cb061080cab5ee019a0100a20100aa010c01feffffffffffffffff0103b2010161b20100ba010e0a016e10ffffffffffffffffff01c2010a0a01731a050a036f6c64ca01060a016f120132ca0100d80105e00101e00104";

/// The same value, and that of a message without a byte, as the JSON decoder takes them.
const AS_JSON: [&str; 2] = [
    r#"{"flag":true,"small":-7,"big":1099511627776,"u32":4000000000,"u64":9223372036854775808,"s32":-5,"s64":-1099511627776,"f32":7,"f64":8,"sf32":-9,"sf64":-10,"ratio":0.5,"exact":-1e300,"name":"é\n","blob":"AP8=","colour":"RED","colour_number":-1,"at":"2026-01-31T00:00:00.5Z","maybe":0,"note":"","packed":[1,-2,3],"tags":["a",""],"counts":[{"key":"n","value":-1}],"address":{"street":"s","zip":null},"others":[{"street":"o","zip":"2"},{"street":""}],"number":5,"loose":[-1,2]}"#,
    r#"{"flag":false,"small":0,"big":0,"u32":0,"u64":0,"s32":0,"s64":0,"f32":0,"f64":0,"sf32":0,"sf64":0,"ratio":0.0,"exact":0.0,"name":"","blob":"","colour":"NONE","colour_number":0,"packed":[],"tags":[],"counts":[],"others":[],"loose":[]}"#,
];

const EVERY: &str = include_str!("every.proto");

fn schema(text: &str) -> WriterSchema {
    WriterSchema { kind: SchemaKind::Protobuf, text: text.into(), references: Vec::new() }
}

fn every() -> Vec<Field> {
    let address = Fields::from(vec![
        Field::new("street", DataType::Utf8, false),
        Field::new("zip", DataType::Utf8, true),
    ]);
    let count = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Int32, false),
    ]);
    let list = |of: DataType| DataType::List(Arc::new(Field::new("item", of, false)));
    vec![
        Field::new("flag", DataType::Boolean, false),
        Field::new("small", DataType::Int32, false),
        Field::new("big", DataType::Int64, false),
        Field::new("u32", DataType::UInt32, false),
        Field::new("u64", DataType::UInt64, false),
        Field::new("s32", DataType::Int64, false),
        Field::new("s64", DataType::Int64, false),
        Field::new("f32", DataType::Int64, false),
        Field::new("f64", DataType::Int64, false),
        Field::new("sf32", DataType::Int32, false),
        Field::new("sf64", DataType::Int64, false),
        Field::new("ratio", DataType::Float32, false),
        Field::new("exact", DataType::Float64, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("blob", DataType::Binary, false),
        Field::new("colour", DataType::Utf8, false),
        Field::new("colour_number", DataType::Int32, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("maybe", DataType::Int64, true),
        Field::new("note", DataType::Utf8, true),
        Field::new("packed", list(DataType::Int64), false),
        Field::new("tags", list(DataType::Utf8), false),
        Field::new("counts", list(DataType::Struct(count)), false),
        Field::new("address", DataType::Struct(address.clone()), true),
        Field::new("others", list(DataType::Struct(address)), false),
        Field::new("text", DataType::Utf8, true),
        Field::new("number", DataType::Int64, true),
        Field::new("loose", list(DataType::Int64), false),
    ]
}

fn records(values: &[Vec<u8>]) -> Records {
    let mut records = Records::new(TopicPartition::new("t", 3), Offset(0));
    for (index, value) in values.iter().enumerate() {
        records.push(Offset(index as i64), EventTime(0), None, Some(value));
    }
    records
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |it: u8| (it as char).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|it| digit(it[0]) << 4 | digit(it[1])).collect()
}

fn factory(text: &str, message: Option<&str>, fields: Vec<Field>) -> Result<InputDecoder, String> {
    let written = Written::By(Arc::new(schema(text)));
    let format = Format::Protobuf { written, message: message.map(str::to_owned) };
    InputDecoder::new(format, Arc::new(Schema::new(fields))).map_err(|it| it.message)
}

fn decode(text: &str, message: &str, fields: Vec<Field>, values: &[Vec<u8>]) -> Decoded {
    let factory = factory(text, Some(message), fields).unwrap();
    factory.decoder().decode(&records(values)).unwrap()
}

fn as_json() -> RecordBatch {
    let factory = InputDecoder::new(Format::Json, Arc::new(Schema::new(every()))).unwrap();
    let values = AS_JSON.map(|it| it.as_bytes().to_vec());
    let decoded = factory.decoder().decode(&records(&values)).unwrap();
    assert_eq!(decoded.rejected, []);
    decoded.batch
}

#[test]
fn every_type_is_read_as_another_writer_wrote_it() {
    let decoded = decode(EVERY, "shop.Every", every(), &[hex(GOLDEN), Vec::new()]);
    assert_eq!(decoded.rejected, []);
    assert_eq!(decoded.batch, as_json());
}

#[test]
fn damaged_values_are_rejected_alone() {
    let whole = hex(GOLDEN);
    let factory = factory(EVERY, Some("shop.Every"), every()).unwrap();
    let mut decoder = factory.decoder();
    let expected = as_json().slice(1, 1);
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut altered = whole.clone();
            altered[at] ^= 1 << bit;
            for value in [altered.clone(), altered[..at].to_vec()] {
                let decoded = decoder.decode(&records(&[value, Vec::new()])).unwrap();
                assert_eq!(decoded.batch.num_rows() + decoded.rejected.len(), 2);
                let last = decoded.batch.num_rows() - 1;
                assert_eq!(decoded.batch.slice(last, 1), expected, "byte {at}, bit {bit}");
            }
        }
    }
}

/// Two packages with a name in common, imports, proto2, groups, and words that are names of fields.
#[test]
fn names_are_found_from_the_inside_out() {
    let text = r#"
        syntax = "proto2"; package a.b; import public "other.proto";
        message P {
          extensions 100 to max; optional string message = 1 [default = "x;}"]; required Kind kind = 2;
          enum Kind { A = 0; B = 0x10; }
          message Q { enum Kind { C = 16; } optional Kind kind = 1; optional .a.b.Kind outer = 2; }
          optional Q q = 3; repeated group Old = 4 { optional int32 x = 1; }
          optional c.Thing thing = 5; oneof one { int64 first = 6; string second = 7; }
          extend c.Thing { optional int32 more = 100; }
        }
        enum Kind { OUTER = 16; }
    "#;
    let references = vec![(
        "other.proto".to_owned(),
        "syntax=\"proto3\"; package a.c; message Thing { int32 n = 1; }".to_owned(),
    )];
    let q = Fields::from(vec![
        Field::new("kind", DataType::Utf8, true),
        Field::new("outer", DataType::Utf8, true),
    ]);
    let thing = Fields::from(vec![Field::new("n", DataType::Int32, false)]);
    let fields = vec![
        Field::new("message", DataType::Utf8, true),
        Field::new("kind", DataType::Utf8, false),
        Field::new("q", DataType::Struct(q), true),
        Field::new("thing", DataType::Struct(thing), true),
        Field::new("first", DataType::Int64, true),
        Field::new("second", DataType::Utf8, true),
    ];
    let written = Written::By(Arc::new(WriterSchema { references, ..schema(text) }));
    let format = Format::Protobuf { written, message: None };
    let factory = InputDecoder::new(format, Arc::new(Schema::new(fields))).unwrap();
    let values = [
        // The group is passed over, `q` comes twice and is one, of the oneof the last counts.
        hex("1010230801241a0208101a0210102a00300732017a3a0179"),
        hex("10103a01793007"),
        hex("0a0178"),
        hex("1005"),
        hex("230801"),
        hex("120100"),
        hex("0a05"),
        hex("07"),
    ];
    let decoded = factory.decoder().decode(&records(&values)).unwrap();
    let reasons: Vec<&str> = decoded.rejected.iter().map(|it| it.reason.as_str()).collect();
    let expected = [
        "field first: not Protobuf by this schema: bytes",
        "field kind is missing",
        "5 is no value of the enum",
        "ends in the middle",
        "not Protobuf by this schema: bytes behind their length",
        "ends in the middle",
        "0 is no number of a field",
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for (reason, expected) in reasons.iter().zip(expected) {
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    let good = hex("1010230801241a0208101a0210102a0030073a0179");
    let batch = factory.decoder().decode(&records(&[good, values[1].clone()])).unwrap().batch;
    assert_eq!(batch.num_rows(), 2);
    assert_eq!(batch.column(1).as_string::<i32>().value(0), "B");
    let q = batch.column(2).as_struct();
    assert_eq!(q.column(0).as_string::<i32>().value(0), "C");
    assert_eq!(q.column(1).as_string::<i32>().value(0), "OUTER");
    assert!(q.is_null(1));
    assert!(batch.column(4).is_null(0));
    assert_eq!(batch.column(5).as_string::<i32>().value(0), "y");
    assert_eq!(batch.column(4).as_primitive::<Int64Type>().value(1), 7);
    assert!(batch.column(5).is_null(1));
}

#[test]
fn a_value_says_which_message_it_is() {
    let text = "syntax=\"proto3\"; message A { string x = 1; message In { int64 n = 1; } } message B { int64 n = 1; }";
    let known = Arc::new(KnownSchemas::default());
    known.put(SchemaId(1), Some(Arc::new(schema(text))));
    let written = Written::Registered(known);
    let format = Format::Protobuf { written, message: None };
    let fields = vec![Field::new("n", DataType::Int64, false)];
    let factory = InputDecoder::new(format, Arc::new(Schema::new(fields))).unwrap();
    // B, A.In, A by its short form, one that is not there, and no place at all.
    let values = ["02020807", "0400000808", "00", "020a0807", ""];
    let values = values.map(|it| [vec![0, 0, 0, 0, 1], hex(it)].concat());
    let decoded = factory.decoder().decode(&records(&values)).unwrap();
    assert_eq!(decoded.batch.column(0).as_primitive::<Int64Type>().values(), &[7, 8]);
    let reasons: Vec<&str> = decoded.rejected.iter().map(|it| it.reason.as_str()).collect();
    assert!(
        reasons[0].contains("message A: it does not fit")
            && reasons[0].contains("n (schema: absent"),
        "{reasons:?}"
    );
    assert!(reasons[1].contains("no message at [5]"), "{reasons:?}");
    assert!(reasons[2].contains("ends in the middle"), "{reasons:?}");
}

#[test]
fn a_schema_that_is_none_is_said_at_the_start() {
    let fields = || vec![Field::new("x", DataType::Int64, false)];
    let cases = [
        ("message A { string x = 1; }", None, "x (schema: optional string, operator: long)"),
        ("message A { optional Z x = 1; }", None, "x (schema: optional Z, operator: long)"),
        ("message A { int64 x = 1; }", Some("B"), "no message \"B\""),
        ("message A { int64 x = 1;", None, "ends in the middle"),
        ("message A { int64 x; }", None, "'=' is expected"),
        ("message A {} message A {}", None, "declared twice"),
        ("/* message", None, "a comment does not end"),
        ("syntax = \"proto3;", None, "a text does not end"),
        ("", None, "no message"),
    ];
    for (text, message, expected) in cases {
        let why = factory(text, message, fields()).err().expect(text);
        assert!(why.contains(expected), "{text}: {why}");
    }
    let deep = "message A {".repeat(100_000);
    assert!(factory(&deep, None, fields()).err().unwrap().contains("deeper than"));
}
