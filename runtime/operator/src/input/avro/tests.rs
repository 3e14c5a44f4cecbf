use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use floe_core::ports::{Decoded, DecoderFactory};
use floe_core::schema::{KnownSchemas, SchemaId, SchemaKind, SchemaUse, WriterSchema};
use floe_core::{EventTime, Offset, Records, TopicPartition};

use super::super::{Format, InputDecoder, Written};

fn schema(text: &str) -> WriterSchema {
    WriterSchema { kind: SchemaKind::Avro, text: text.into(), references: Vec::new() }
}

fn records(values: &[Vec<u8>]) -> Records {
    let mut records = Records::new(TopicPartition::new("t", 3), Offset(0));
    for (index, value) in values.iter().enumerate() {
        records.push(Offset(index as i64), EventTime(0), None, Some(value));
    }
    records
}

fn decode(format: Format, fields: Vec<Field>, values: &[Vec<u8>]) -> Decoded {
    let factory = InputDecoder::new(format, Arc::new(Schema::new(fields))).unwrap();
    factory.decoder().decode(&records(values)).unwrap()
}

fn bare(text: &str, fields: Vec<Field>, values: &[Vec<u8>]) -> Decoded {
    decode(Format::Avro(Written::By(Arc::new(schema(text)))), fields, values)
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |it: u8| (it as char).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|it| digit(it[0]) << 4 | digit(it[1])).collect()
}

/// Written by fastavro 1.13.1 with the schema in every.avsc.
const GOLDEN: [&str; 2] = [
    "010d8080808080400000003f9c7500883ce437fe06c3a90a0400ff61626364020298e8b2520ee8c7cb9582678280ecd5f8e8a4060404ceffffffffffffffffff4830303131323233332d343435352d363637372d383839392d6161626263636464656566660000027806020261000202620002026e010002730002066f6c640202310002026f0202320000",
    "00feffffff0fffffffffffffffffff01000050c09a9999999999b93f0000000102030088c0020080c0ddeec102010002ff00ab54a98ceb1f0ad34866666666666666662d666666662d666666662d666666662d666666666666666666666666020a02110000027402027a0000",
];

/// The same two values as JSON, as the JSON decoder takes them.
const AS_JSON: [&str; 2] = [
    r#"{"flag":true,"small":-7,"big":1099511627776,"ratio":0.5,"exact":-1e300,"name":"é\n","blob":"AP8=","four":"YWJjZA==","colour":"GREEN","day":"1970-01-02","clock_ms":"23:59:59.5","clock_us":"00:00:00.000007","at_ms":"2026-01-31T00:00:00.5Z","at_us":"2026-01-31T00:00:00.000001Z","price":12.3,"price_fixed":-0.0001,"id":"ABEiM0RVZneImaq7zN3u/w==","maybe":null,"tags":["a",null,"b"],"counts":[{"key":"n","value":-1}],"address":{"street":"s","zip":null},"others":[{"street":"o","zip":"2"}]}"#,
    r#"{"flag":false,"small":2147483647,"big":-9223372036854775808,"ratio":-3.25,"exact":0.1,"name":"","blob":"","four":"AAECAw==","colour":"RED","day":"2026-01-31","clock_ms":"00:00:00","clock_us":"12:00:00","at_ms":-1000,"at_us":0,"price":-0.01,"price_fixed":"1234567890123456.7891","id":"/////////////////////w==","maybe":5,"tags":[],"counts":[],"address":{"street":"t","zip":"z"},"others":[]}"#,
];

/// `at_ms` is a column of microseconds: units are converted.
fn every() -> Vec<Field> {
    let utc = |unit| DataType::Timestamp(unit, Some("UTC".into()));
    let address = Fields::from(vec![
        Field::new("street", DataType::Utf8, false),
        Field::new("zip", DataType::Utf8, true),
    ]);
    let count = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Int64, false),
    ]);
    let list = |of: DataType, nulls| DataType::List(Arc::new(Field::new("item", of, nulls)));
    vec![
        Field::new("flag", DataType::Boolean, false),
        Field::new("small", DataType::Int32, false),
        Field::new("big", DataType::Int64, false),
        Field::new("ratio", DataType::Float32, false),
        Field::new("exact", DataType::Float64, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("blob", DataType::Binary, false),
        Field::new("four", DataType::FixedSizeBinary(4), false),
        Field::new("colour", DataType::Utf8, false),
        Field::new("day", DataType::Date32, false),
        Field::new("clock_ms", DataType::Time64(TimeUnit::Microsecond), false),
        Field::new("clock_us", DataType::Time64(TimeUnit::Microsecond), false),
        Field::new("at_ms", utc(TimeUnit::Microsecond), false),
        Field::new("at_us", utc(TimeUnit::Microsecond), false),
        Field::new("price", DataType::Decimal128(12, 3), false),
        Field::new("price_fixed", DataType::Decimal128(20, 4), false),
        Field::new("id", DataType::FixedSizeBinary(16), false),
        Field::new("maybe", DataType::Int64, true),
        Field::new("tags", list(DataType::Utf8, true), false),
        Field::new("counts", list(DataType::Struct(count), false), false),
        Field::new("address", DataType::Struct(address.clone()), false),
        Field::new("others", list(DataType::Struct(address), false), true),
    ]
}

const EVERY: &str = include_str!("every.avsc");

fn as_json() -> RecordBatch {
    let values = AS_JSON.map(|it| it.as_bytes().to_vec());
    let decoded = decode(Format::Json, every(), &values);
    assert_eq!(decoded.rejected, []);
    decoded.batch
}

#[test]
fn every_type_is_read_as_another_writer_wrote_it() {
    let decoded = bare(EVERY, every(), &GOLDEN.map(hex));
    assert_eq!(decoded.rejected, []);
    assert_eq!(decoded.batch, as_json());
    assert_eq!(decoded.schemas, []);
}

/// A value that was cut, or altered in any byte, is a row or a rejection, and what follows is not touched.
#[test]
fn damaged_values_are_rejected_alone() {
    let whole = hex(GOLDEN[0]);
    let good = hex(GOLDEN[1]);
    let format = Format::Avro(Written::By(Arc::new(schema(EVERY))));
    let factory = InputDecoder::new(format, Arc::new(Schema::new(every()))).unwrap();
    let mut decoder = factory.decoder();
    let mut decode = |values: &[Vec<u8>]| decoder.decode(&records(values)).unwrap();
    for cut in 0..whole.len() {
        let decoded = decode(&[good.clone(), whole[..cut].to_vec(), good.clone()]);
        let [rejected] = &decoded.rejected[..] else { panic!("{cut} bytes were a row") };
        assert_eq!((rejected.row, decoded.batch.num_rows()), (1, 2));
    }
    let longer = [whole.clone(), vec![0]].concat();
    assert!(decode(&[longer]).rejected[0].reason.contains("1 bytes are left over"));
    let expected = as_json().slice(1, 1);
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut altered = whole.clone();
            altered[at] ^= 1 << bit;
            let decoded = decode(&[altered, good.clone()]);
            assert_eq!(decoded.batch.num_rows() + decoded.rejected.len(), 2);
            let last = decoded.batch.num_rows() - 1;
            assert_eq!(decoded.batch.slice(last, 1), expected, "byte {at}, bit {bit}");
        }
    }
}

fn one(
    type_text: &str,
    column: DataType,
    nullable: bool,
    value: &str,
) -> Result<RecordBatch, String> {
    let text = format!(
        "{{\"type\":\"record\",\"name\":\"R\",\"fields\":[{{\"name\":\"a\",\"type\":{type_text}}}]}}"
    );
    let fields = vec![Field::new("a", column, nullable)];
    let format = Format::Avro(Written::By(Arc::new(schema(&text))));
    let factory =
        InputDecoder::new(format, Arc::new(Schema::new(fields))).map_err(|it| it.message)?;
    let mut decoded = factory.decoder().decode(&records(&[hex(value)])).unwrap();
    decoded.rejected.pop().map_or(Ok(decoded.batch), |it| Err(it.reason))
}

#[test]
fn types_are_promoted_and_never_narrowed() {
    let fits = [
        ("\"int\"", DataType::Int64, "0d", "-7"),
        ("\"int\"", DataType::Float64, "0d", "-7.0"),
        ("\"long\"", DataType::Float64, "0e", "7.0"),
        ("\"float\"", DataType::Float64, "0000003f", "0.5"),
        ("\"bytes\"", DataType::Utf8, "0261", "a"),
        ("\"string\"", DataType::Binary, "0261", "61"),
        ("\"int\"", DataType::Int8, "0e", "7"),
        ("\"long\"", DataType::UInt32, "0e", "7"),
        ("\"long\"", DataType::Decimal128(5, 1), "0e", "7.0"),
        ("{\"type\":\"int\",\"logicalType\":\"date\"}", DataType::Int32, "0e", "7"),
        ("{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}", DataType::Int64, "0e", "7"),
        ("[\"null\",\"int\",\"string\"]", DataType::Int64, "020e", "7"),
        // A logical type that does not fit its type is left out.
        ("{\"type\":\"string\",\"logicalType\":\"date\"}", DataType::Utf8, "0261", "a"),
    ];
    for (from, to, value, expected) in fits {
        let batch = one(from, to.clone(), true, value).unwrap();
        let shown = arrow_cast::display::array_value_to_string(batch.column(0), 0).unwrap();
        assert_eq!(shown, expected, "{from} → {to}");
    }
    let refused = [
        ("\"long\"", DataType::Int32),
        ("\"double\"", DataType::Float32),
        ("\"double\"", DataType::Int64),
        ("\"string\"", DataType::Int64),
        ("\"int\"", DataType::Utf8),
        ("\"boolean\"", DataType::Int32),
        ("[\"null\",\"string\"]", DataType::Int64),
        ("\"null\"", DataType::List(Arc::new(Field::new("item", DataType::Int64, true)))),
    ];
    for (from, to) in refused {
        match one(from, to.clone(), false, "00") {
            Ok(_) => panic!("{from} became {to}"),
            Err(why) => assert!(why.contains("(schema: ") || why.contains("found null"), "{why}"),
        }
    }
    let rejected = [
        ("\"int\"", DataType::Int8, "8002", "128 is out of the range of byte"),
        ("\"long\"", DataType::UInt8, "01", "-1 is out of the range"),
        ("[\"null\",\"long\"]", DataType::Int64, "00", "expected long, found null"),
        ("[\"string\",\"long\"]", DataType::Int64, "000261", "expected long, found string"),
        ("[\"long\",\"string\"]", DataType::Int64, "04", "2 at byte 0 is no branch of a union"),
        ("\"string\"", DataType::Utf8, "02ff", "not UTF-8"),
        ("\"string\"", DataType::Utf8, "01", "-1 at byte 0 is no length"),
        ("\"long\"", DataType::Int64, "ffffffffffffffffffff01", "no number at byte 0"),
        ("\"int\"", DataType::Int64, "8080808010", "is no int"),
        (
            "{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}",
            DataType::Timestamp(TimeUnit::Millisecond, None),
            "02",
            "no whole number of the column's units",
        ),
        (
            "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":9,\"scale\":3}",
            DataType::Decimal128(9, 2),
            "0201",
            "more of them than decimal(9,2)",
        ),
        (
            "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":9,\"scale\":0}",
            DataType::Decimal128(9, 2),
            "1000ffffffffffffff",
            "out of the range of decimal(9,2)",
        ),
    ];
    for (from, to, value, expected) in rejected {
        let why = one(from, to, false, value).unwrap_err();
        assert!(why.contains(expected), "{expected}: {why}");
    }
}

/// A few bytes that ask for much: each is refused at once.
#[test]
fn hostile_values_cost_no_more_than_their_length() {
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    let cases = [
        // 2^60 nulls, which take no bytes; as one block, and as many.
        (
            "{\"type\":\"array\",\"items\":[\"null\",\"long\"]}",
            list,
            "808080808080808010".to_owned(),
        ),
        ("{\"type\":\"array\",\"items\":\"null\"}", DataType::Utf8, "8080808080808010".repeat(100)),
        ("\"bytes\"", DataType::Binary, "feffffffffffffffff01".to_owned()),
        // A record that is in itself for ever.
        (
            "{\"type\":\"record\",\"name\":\"N\",\"fields\":[{\"name\":\"n\",\"type\":[\"null\",\"N\"]}]}",
            DataType::Utf8,
            "02".repeat(1_000_000),
        ),
    ];
    for (from, column, value) in cases {
        // A column that is not there: the value is passed over.
        let text = format!(
            "{{\"type\":\"record\",\"name\":\"R\",\"fields\":[{{\"name\":\"a\",\"type\":{from}}}]}}"
        );
        let skipped = bare(&text, vec![Field::new("b", DataType::Utf8, true)], &[hex(&value)]);
        assert_eq!(skipped.rejected.len(), 1, "{from}");
        if let Ok(batch) = one(from, column, true, &value) {
            panic!("{from}: {batch:?}");
        }
    }
}

const V1: &str = r#"{"type":"record","name":"P","namespace":"shop","fields":[{"name":"id","type":"string"},{"name":"amount","type":"int"}]}"#;
/// `amount` is wider, `note` is new, `id` stands elsewhere.
const V2: &str = r#"{"type":"record","name":"P","namespace":"shop","fields":[{"name":"note","type":["null","string"]},{"name":"amount","type":"long"},{"name":"more","type":{"type":"array","items":"P2"}},{"name":"id","type":"string"}]}"#;
const P2: &str =
    r#"{"type":"record","name":"P2","namespace":"shop","fields":[{"name":"x","type":"double"}]}"#;

fn payment() -> Vec<Field> {
    vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("amount", DataType::Int64, false),
        Field::new("note", DataType::Utf8, true),
    ]
}

fn framed(id: u32, value: &str) -> Vec<u8> {
    [vec![0], id.to_be_bytes().to_vec(), hex(value)].concat()
}

#[test]
fn each_value_is_read_by_the_schema_that_it_names() {
    let known = Arc::new(KnownSchemas::default());
    known.put(SchemaId(1), Some(Arc::new(schema(V1))));
    let references = vec![("shop.P2".to_owned(), P2.to_owned())];
    known.put(SchemaId(2), Some(Arc::new(WriterSchema { references, ..schema(V2) })));
    known.put(SchemaId(3), Some(Arc::new(schema("\"string\""))));
    known.put(SchemaId(4), None);
    let missing = r#"{"type":"record","name":"P","fields":[{"name":"amount","type":"string"}]}"#;
    known.put(SchemaId(5), Some(Arc::new(schema(missing))));
    let values = [
        framed(1, "026102"),
        framed(2, "02026e8001020000000000000000000262"),
        framed(3, "0261"),
        framed(4, "00"),
        framed(5, "0261"),
        framed(1, "026304"),
        hex("0261"),
    ];
    let format = Format::Avro(Written::Registered(Arc::clone(&known)));
    let factory = InputDecoder::new(format, Arc::new(Schema::new(payment()))).unwrap();
    let mut decoder = factory.decoder();
    let decoded = decoder.decode(&records(&values)).unwrap();
    let reasons: Vec<&str> = decoded.rejected.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(reasons.len(), 4, "{reasons:?}");
    assert!(reasons[0].contains("schema 3: it is string, and no record"), "{reasons:?}");
    assert!(reasons[1].contains("schema 4 is unknown"), "{reasons:?}");
    assert!(
        reasons[2].contains(
            "id (schema: absent, operator: string); amount (schema: string, operator: long)"
        ),
        "{reasons:?}"
    );
    assert!(reasons[3].contains("but with 02 61"), "{reasons:?}");
    let amounts = decoded.batch.column(1).as_primitive::<Int64Type>();
    assert_eq!(amounts.values(), &[1, 64, 2]);
    assert_eq!(decoded.batch.column(2).as_string::<i32>().value(1), "n");
    assert!(decoded.batch.column(2).is_null(0));

    // What it used is told once, and a re-execution repeats it, though the id has become known since.
    let mut used = decoded.schemas.clone();
    used.sort_by_key(|it| it.id);
    assert_eq!(used.iter().map(|it| it.id.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(used[3].hash, None);
    known.put(SchemaId(4), Some(Arc::new(schema(V1))));
    let mut again = factory.decoder();
    used.iter().for_each(|it| again.recall(*it).unwrap());
    assert_eq!(again.decode(&records(&values)).unwrap().rejected, decoded.rejected);
    assert_eq!(decoder.decode(&records(&values[3..4])).unwrap().rejected.len(), 1, "it ends early");

    let mut other = factory.decoder();
    other.recall(SchemaUse { id: SchemaId(1), hash: Some(7) }).unwrap();
    let error = other.decode(&records(&values[..1])).err().unwrap();
    assert!(error.message.contains("not the one that the run decoded by"), "{error}");
    let unasked = decoder.decode(&records(&[framed(9, "00")])).err().unwrap();
    assert!(unasked.message.contains("schema 9"), "{unasked}");
}

#[test]
fn a_schema_that_is_none_is_said_at_the_start() {
    let cases = [
        ("{", "no JSON"),
        ("[]", "and no record"),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":"X"}]}"#,
            "\"X\" is declared nowhere",
        ),
        (r#"{"type":"record","name":"R"}"#, "record without \"fields\""),
        (r#"{"type":"record","fields":[]}"#, "without a name"),
        (r#"{"type":"record","name":"R","fields":[{"name":"a"}]}"#, "has no name or no type"),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"fixed","name":"F","size":-1}}]}"#,
            "no size",
        ),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":{"type":"enum","name":"R","symbols":[]}}]}"#,
            "declared twice",
        ),
        (r#"{"type":"record","name":"R","fields":[]}"#, "id (schema: absent, operator: string)"),
    ];
    for (text, expected) in cases {
        let format = Format::Avro(Written::By(Arc::new(schema(text))));
        let made = InputDecoder::new(format, Arc::new(Schema::new(payment())));
        let why = made.err().expect(text).message;
        assert!(why.contains(expected), "{text}: {why}");
    }
}

/// Where values are Avro, the key of a tombstone may still be JSON; whatever else it is, `_key` has it.
#[test]
fn a_tombstone_among_avro_values_is_the_row_of_its_key() {
    let text = r#"{"type":"record","name":"R","fields":[{"name":"id","type":["null","long"]}]}"#;
    let fields =
        vec![Field::new("id", DataType::Int64, true), Field::new("_key", DataType::Binary, true)];
    let format = Format::Avro(Written::By(Arc::new(schema(text))));
    let factory = InputDecoder::new(format, Arc::new(Schema::new(fields))).unwrap();
    let mut records = Records::new(TopicPartition::new("t", 0), Offset(0));
    records.push(Offset(0), EventTime(0), Some(br#"{"id":7}"#), Some(&[2, 14]));
    records.push(Offset(1), EventTime(0), Some(br#"{"id":8}"#), None);
    records.push(Offset(2), EventTime(0), Some(&[0, 0, 0, 0, 9, 14]), None);
    let ids = |factory: &InputDecoder| -> (Vec<Option<i64>>, usize) {
        let decoded = factory.decoder().decode(&records).unwrap();
        let ids = decoded.batch.column(0).as_primitive::<Int64Type>().iter().collect();
        (ids, decoded.rejected.len())
    };
    assert_eq!(ids(&factory), (vec![Some(7)], 2));
    let factory = factory.with_tombstone_rows();
    assert!(factory.name().ends_with("-tombstones"), "{}", factory.name());
    assert_eq!(ids(&factory), (vec![Some(7), Some(8), None], 0));
}
