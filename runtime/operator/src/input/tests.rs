use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use floe_core::ports::{Decoded, DecoderFactory};
use floe_core::{EventTime, Offset, Records, TopicPartition};

use super::{Format, InputDecoder, SeveralDecoders, SourceDecoder};

fn decode(fields: Vec<Field>, values: &[Option<&[u8]>]) -> Decoded {
    let factory = InputDecoder::new(Format::Json, Arc::new(Schema::new(fields))).unwrap();
    let mut records = Records::new(TopicPartition::new("t", 3), Offset(10));
    for (index, value) in values.iter().enumerate() {
        records.push(Offset(10 + index as i64), EventTime(1000 + index as i64), Some(b"k"), *value);
        records.push_header(b"h", Some(b"1"));
    }
    factory.decoder().decode(&records).unwrap()
}

fn payment() -> Vec<Field> {
    vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("amount", DataType::Int64, false),
        Field::new("note", DataType::Utf8, true),
        Field::new("_offset", DataType::Int64, false),
    ]
}

fn longs(batch: &RecordBatch, column: usize) -> Vec<i64> {
    batch.column(column).as_primitive::<Int64Type>().values().to_vec()
}

#[test]
fn members_become_columns_in_any_order() {
    let decoded = decode(
        payment(),
        &[
            Some(br#"{"id":"a","amount":-5,"note":null}"#),
            Some(br#"{"x":{"y":[1,{"z":2}]},"amount":1099511627777,"id":"\u00e9\n"}"#),
            Some(br#" {"id":"b","amount":1,"amount":2,"note":"n"} "#),
        ],
    );
    assert_eq!(decoded.rejected, []);
    assert!(decoded.rows.is_none());
    assert_eq!(longs(&decoded.batch, 1), [-5, 1_099_511_627_777, 2]);
    let ids = decoded.batch.column(0).as_string::<i32>();
    assert_eq!(ids.iter().collect::<Vec<_>>(), [Some("a"), Some("é\n"), Some("b")]);
    let notes = decoded.batch.column(2).as_string::<i32>();
    assert_eq!(notes.iter().collect::<Vec<_>>(), [None, None, Some("n")]);
    assert_eq!(longs(&decoded.batch, 3), [10, 11, 12]);
}

#[test]
fn a_bad_record_is_rejected_alone_and_says_why() {
    let cases: [(Option<&[u8]>, &str); 16] = [
        (None, "tombstone"),
        (Some(b""), "not JSON"),
        (Some(b"nonsense"), "not JSON"),
        (Some(br#"{"id":"a","amount":1"#), "not JSON"),
        (Some(br#"{"id":"a","amount":1} trailing"#), "not JSON"),
        (Some(b"[1]"), "not JSON"),
        (Some(b"{\"id\":\"\xff\",\"amount\":1}"), "not UTF-8 (byte 7)"),
        (Some(br#"{"id":"a"}"#), "field amount is missing"),
        (Some(br#"{"id":"a","amount":null}"#), "field amount: expected long, found null"),
        (Some(br#"{"id":"a","amount":"5"}"#), "field amount: expected long, found a string"),
        (Some(br#"{"id":"a","amount":1.5}"#), "field amount: expected long, found the number 1.5"),
        (Some(br#"{"id":"a","amount":9223372036854775808}"#), "out of the range of long"),
        (Some(br#"{"id":7,"amount":1}"#), "field id: expected string, found a number"),
        (Some(br#"{"id":{"a":1},"amount":1}"#), "field id: expected string, found an object"),
        (Some(br#"{"id":["a"],"amount":1}"#), "field id: expected string, found a list"),
        (Some(br#"{"id":true,"amount":1}"#), "field id: expected string, found a boolean"),
    ];
    let good: Option<&[u8]> = Some(br#"{"id":"good","amount":1}"#);
    for (bad, expected) in cases {
        let decoded = decode(payment(), &[good, bad, good]);
        assert_eq!(decoded.batch.num_rows(), 2, "{expected}");
        assert_eq!(decoded.rows.as_deref(), Some(&[0, 2][..]));
        assert_eq!(longs(&decoded.batch, 3), [10, 12]);
        let [rejected] = &decoded.rejected[..] else { panic!("{:?}", decoded.rejected) };
        assert_eq!(rejected.row, 1);
        assert!(rejected.reason.contains(expected), "{expected}: {}", rejected.reason);
    }
}

#[test]
fn a_tombstone_is_the_row_of_its_key_where_that_is_asked_for() {
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("_value", DataType::Binary, true),
    ];
    let factory = InputDecoder::new(Format::Json, Arc::new(Schema::new(fields))).unwrap();
    assert_eq!(factory.name(), "json-1");
    let factory = factory.with_tombstone_rows();
    assert_eq!(factory.name(), "json-1-tombstones");
    let mut records = Records::new(TopicPartition::new("t", 0), Offset(0));
    type Bytes = Option<&'static [u8]>;
    let cases: [(Bytes, Bytes); 6] = [
        (Some(br#"{"id":1}"#), Some(br#"{"id":7,"name":"n"}"#)),
        (Some(br#" {"id":2,"other":[1]}"#), None),
        (Some(br#"{"id":3,"name":"of the key"}"#), None),
        (Some(b"4"), None),
        (None, None),
        (Some(br#"{"id":"#), None),
    ];
    for (offset, (key, value)) in (0..).zip(cases) {
        records.push(Offset(offset), EventTime(0), key, value);
    }
    let decoded = factory.decoder().decode(&records).unwrap();
    assert_eq!(decoded.rows.as_deref(), Some(&[0, 1, 2][..]));
    assert_eq!(longs(&decoded.batch, 0), [7, 2, 3]);
    let names: Vec<_> = decoded.batch.column(1).as_string::<i32>().iter().collect();
    assert_eq!(names, [Some("n"), None, Some("of the key")]);
    let nulls: Vec<bool> = (0..3).map(|it| decoded.batch.column(2).is_null(it)).collect();
    assert_eq!(nulls, [false, true, true]);
    let reasons: Vec<&str> = decoded.rejected.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(reasons.len(), 3);
    assert!(
        reasons[0].contains("tombstone") && reasons[0].contains("id is missing"),
        "{reasons:?}"
    );
    assert!(reasons[2].contains("not JSON"), "{reasons:?}");
}

#[test]
fn every_type_has_its_form() {
    let item = Field::new("item", DataType::Int32, true);
    let pair = Fields::from(vec![
        Field::new("a", DataType::Utf8, false),
        Field::new("b", DataType::Boolean, true),
    ]);
    let fields = vec![
        Field::new("time", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        Field::new("price", DataType::Decimal128(10, 2), false),
        Field::new("list", DataType::List(Arc::new(item)), true),
        Field::new("pair", DataType::Struct(pair), false),
        Field::new("day", DataType::Date32, false),
        Field::new("blob", DataType::Binary, false),
        Field::new("ratio", DataType::Float64, false),
    ];
    let decoded = decode(
        fields,
        &[
            Some(br#"{"time":"2026-01-31T00:00:00.5Z","price":12.30,"list":[1,null,3],"pair":{"a":"x"},"day":"1970-01-02","blob":"AAE=","ratio":2}"#),
            Some(br#"{"time":1500,"price":"-0.01","list":null,"pair":{"b":true,"a":"y"},"day":"2026-01-01","blob":"","ratio":-0.5}"#),
            Some(br#"{"time":1,"price":1.234,"list":[],"pair":{"a":"x"},"day":"1970-01-01","blob":"","ratio":0}"#),
            Some(br#"{"time":1,"price":123456789,"list":[],"pair":{"a":"x"},"day":"1970-01-01","blob":"","ratio":0}"#),
            Some(br#"{"time":1,"price":1e2,"list":["x"],"pair":{"a":"x"},"day":"1970-01-01","blob":"","ratio":0}"#),
            Some(br#"{"time":1,"price":1e2,"list":[],"pair":{},"day":"1970-01-01","blob":"","ratio":0}"#),
        ],
    );
    let batch = &decoded.batch;
    assert_eq!(
        batch.column(0).as_primitive::<TimestampMillisecondType>().values(),
        &[1_769_817_600_500, 1500]
    );
    assert_eq!(batch.column(1).as_primitive::<Decimal128Type>().values(), &[1230, -1]);
    let list = batch.column(2).as_list::<i32>();
    assert!(list.is_null(1));
    assert_eq!(
        list.value(0).as_primitive::<Int32Type>().iter().collect::<Vec<_>>(),
        [Some(1), None, Some(3)]
    );
    assert_eq!(batch.column(3).as_struct().column(0).as_string::<i32>().value(1), "y");
    assert_eq!(batch.column(5).as_binary::<i32>().value(0), &[0, 1]);
    let reasons: Vec<&str> = decoded.rejected.iter().map(|it| it.reason.as_str()).collect();
    assert!(reasons[0].contains("more digits behind the point"), "{reasons:?}");
    assert!(reasons[1].contains("out of the range of decimal(10,2)"), "{reasons:?}");
    assert!(reasons[2].contains("item 0: expected int, found a string"), "{reasons:?}");
    assert!(reasons[3].contains("field a is missing"), "{reasons:?}");
}

#[test]
fn record_fields_need_no_value() {
    let header = Fields::from(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("value", DataType::Binary, true),
    ]);
    let item = Arc::new(Field::new("item", DataType::Struct(header), false));
    let fields = vec![
        Field::new("_topic", DataType::Utf8, false),
        Field::new("_partition", DataType::Int32, false),
        Field::new("_timestamp", DataType::Int64, false),
        Field::new("_key", DataType::Binary, true),
        Field::new("_value", DataType::Binary, true),
        Field::new("_headers", DataType::List(item), false),
    ];
    let schema = Arc::new(Schema::new(fields.clone()));
    assert!(InputDecoder::new(Format::Raw, schema).is_ok());
    let decoded = decode(fields, &[None, Some(b"\xff raw")]);
    assert_eq!(decoded.rejected, []);
    let values = decoded.batch.column(4).as_binary::<i32>();
    assert!(values.is_null(0));
    assert_eq!(values.value(1), b"\xff raw");
    assert_eq!(decoded.batch.column(5).as_list::<i32>().value(0).as_struct().len(), 1);
}

#[test]
fn columns_that_cannot_be_filled_are_refused_at_the_start() {
    let refused = |format, field: Field| {
        let made = InputDecoder::new(format, Arc::new(Schema::new(vec![field])));
        made.err().expect("it is refused").message
    };
    assert!(
        refused(Format::Raw, Field::new("id", DataType::Utf8, false)).contains("format is \"raw\"")
    );
    assert!(
        refused(Format::Json, Field::new("_ofset", DataType::Int64, false))
            .contains("no field of a record")
    );
    assert!(
        refused(Format::Json, Field::new("_offset", DataType::Utf8, false))
            .contains("_offset long")
    );
    assert!(
        refused(Format::Json, Field::new("_value", DataType::Binary, false)).contains("nullable")
    );
}

/// Values that attack the parser: each is a row or a rejection with a reason, and the host goes on.
#[test]
fn hostile_values_are_rows_or_rejections() {
    let nested =
        |open: &str, close: &str| format!("{}{}", open.repeat(1_000_000), close.repeat(1_000_000));
    let levels = |count: usize| format!("{}{}", "[".repeat(count), "]".repeat(count));
    let deep = nested("[", "]");
    let deep_objects = nested("{\"a\":", "").trim_end().to_owned() + "1" + &"}".repeat(1_000_000);
    let long = "x".repeat(10 << 20);
    let cases: Vec<(String, Option<&str>)> = vec![
        (deep.clone(), Some("deeper than 128")),
        (format!("{{\"id\":\"a\",\"amount\":{deep}}}"), Some("deeper than 128")),
        (
            format!("{{\"id\":\"a\",\"amount\":1,\"x\":{}}}", "[".repeat(1_000_000)),
            Some("deeper than 128"),
        ),
        (format!("{{\"id\":{deep_objects},\"amount\":1}}"), Some("deeper than 128")),
        (format!("{{\"id\":\"a\",\"x\":{},\"amount\":1}}", levels(127)), None),
        (format!("{{\"id\":\"a\",\"x\":{},\"amount\":1}}", levels(128)), Some("(byte 141)")),
        // Brackets in strings, and side by side, are no depth.
        (format!("{{\"id\":\"\\\"{}\",\"amount\":1}}", "[".repeat(1000)), None),
        (format!("{{\"id\":\"a\\\\\",\"x\":[{}[]],\"amount\":1}}", "[],".repeat(1000)), None),
        (format!("{{\"id\":\"{long}\",\"amount\":1}}"), None),
        (format!("{{\"{long}\":1,\"id\":\"a\",\"amount\":1}}"), None),
        (r#"{"id":"a","amount":1e400}"#.into(), Some("")),
        (r#"{"id":"a","amount":-0}"#.into(), Some("expected long")),
        (r#"{"id":"a","amount":01}"#.into(), Some("not JSON")),
        (r#"{"id":"a","amount":1.0}"#.into(), Some("expected long")),
        (r#"{"id":"a","amount":1e2}"#.into(), Some("expected long")),
        (r#"{"id":"a","amount":-9223372036854775808}"#.into(), None),
        (r#"{"id":"a","amount":-9223372036854775809}"#.into(), Some("long")),
        (r#"{"id":"\ud800","amount":1}"#.into(), Some("not JSON")),
        (r#"{"id":"\ud83d\ude00","amount":1}"#.into(), None),
        ("{\"id\":\"a\u{1}\",\"amount\":1}".into(), Some("not JSON")),
        (r#"{"\u0069d":"a","amount":1}"#.into(), None),
        (r#"{"id":"a","amount":1,}"#.into(), Some("not JSON")),
        (r#"{"id":"a","amount":1,"x":[1,}"#.into(), Some("not JSON")),
        (r#"{"id":"a","amount":1,"x":nul}"#.into(), Some("not JSON")),
        (r#"{"id":"a","amount":NaN}"#.into(), Some("not JSON")),
        ("\u{feff}{\"id\":\"a\",\"amount\":1}".into(), Some("not JSON")),
        ("null".into(), Some("not JSON")),
    ];
    for (value, expected) in cases {
        let shown: String = value.chars().take(60).collect();
        let decoded = decode(payment(), &[Some(value.as_bytes())]);
        assert_eq!(decoded.batch.num_rows() + decoded.rejected.len(), 1, "{shown}");
        match (expected, decoded.rejected.first()) {
            (None, None) => {}
            (Some(expected), Some(rejected)) => {
                assert!(rejected.reason.contains(expected), "{shown}: {}", rejected.reason);
                assert!(
                    rejected.reason.len() < 1000,
                    "{shown}: a reason of {}",
                    rejected.reason.len()
                );
            }
            (expected, found) => panic!("{shown}: expected {expected:?}, found {found:?}"),
        }
    }
}

/// A decoder goes on after a rejection as if the record had not been there, in nested columns too.
#[test]
fn a_rejection_leaves_no_half_row() {
    let pair = Fields::from(vec![
        Field::new("a", DataType::Utf8, false),
        Field::new("b", DataType::Int32, true),
    ]);
    let fields = || {
        vec![
            Field::new("first", DataType::Int64, false),
            Field::new_list("list", Field::new("item", DataType::Struct(pair.clone()), true), true),
            Field::new("pair", DataType::Struct(pair.clone()), true),
            Field::new("last", DataType::Utf8, false),
        ]
    };
    let good: [&[u8]; 3] = [
        br#"{"first":1,"list":[{"a":"x"},null],"pair":{"a":"y","b":2},"last":"z"}"#,
        br#"{"first":2,"pair":null,"last":""}"#,
        br#"{"first":3,"list":[],"last":"w"}"#,
    ];
    let bad: [&[u8]; 4] = [
        br#"{"first":9,"list":[{"a":"x"}],"pair":{"a":"y"},"last":5}"#,
        br#"{"first":9,"list":[{"a":"x"},{"b":1}],"last":"z"}"#,
        br#"{"first":9,"list":[{"a":"x"}],"pair":{"a":"y","b":2147483648},"last":"z"}"#,
        br#"{"first":9,"list":[{"a":"x"}],"pair":{"a":"y"}"#,
    ];
    let alone = decode(fields(), &good.map(Some));
    assert_eq!(alone.rejected, []);
    let mixed: Vec<Option<&[u8]>> = bad
        .iter()
        .zip(good.iter().cycle())
        .flat_map(|(bad, good)| [Some(*bad), Some(*good)])
        .take(6)
        .chain([Some(bad[3])])
        .collect();
    let mixed = decode(fields(), &mixed);
    assert_eq!(mixed.rejected.len(), 4);
    assert_eq!(mixed.batch, alone.batch);
}

/// Of several sources each record is decoded by its own, which it names.
#[test]
fn each_source_decodes_its_own_topics() {
    let fields = vec![
        Field::new("_source", DataType::Utf8, false),
        Field::new("_value", DataType::Binary, true),
    ];
    let with_column = [fields.clone(), vec![Field::new("id", DataType::Utf8, true)]].concat();
    let member = |name: &str, format, fields| SourceDecoder {
        name: name.to_owned(),
        topics: vec![format!("{name}-topic")],
        decoder: Arc::new(
            InputDecoder::new(format, Arc::new(Schema::new(fields))).unwrap().of_source(name),
        ),
    };
    let several = SeveralDecoders::new(vec![
        member("orders", Format::Json, with_column),
        member("rates", Format::Raw, fields),
    ]);
    assert_eq!(several.name(), "orders (orders-topic): json-1; rates (rates-topic): raw-1");
    for (source, columns) in [("orders", 3), ("rates", 2)] {
        let partition = TopicPartition::new(&format!("{source}-topic"), 0);
        let mut records = Records::new(partition.clone(), Offset(0));
        records.push(Offset(0), EventTime(1), None, Some(br#"{"id":"a"}"#));
        let decoded = several.decoder_of(&partition).decode(&records).unwrap();
        assert_eq!(decoded.batch.num_columns(), columns);
        assert_eq!(decoded.batch.column(0).as_string::<i32>().value(0), source);
    }
}
