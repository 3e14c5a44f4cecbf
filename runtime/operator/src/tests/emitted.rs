//! Columns of every shape from a guest's memory, as `emit` reads them; and what it must refuse.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray,
    Float64Array, Int8Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    StructArray, Time64MicrosecondArray, TimestampMillisecondArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, Fields, Schema};

use crate::arrow_in::Plan;
use crate::arrow_out::read_batch;
use crate::memory::GuestMemory;

const BASE: u32 = 0x1000;

/// A batch as the host writes it for a guest; the bytes before it are no one's.
fn written(batch: &RecordBatch) -> (Vec<u8>, u32) {
    let plan = Plan::of(batch);
    // What lay in the region before must not shine through.
    let mut memory = vec![0xa5; BASE as usize + plan.bytes as usize];
    let root = plan.write(&mut memory[BASE as usize..], BASE);
    (memory, root)
}

fn read(memory: &[u8], root: u32, batch: &RecordBatch) -> Result<RecordBatch, String> {
    let mut bytes_left = 1 << 20;
    read_batch(GuestMemory(memory), u64::from(root), &batch.schema(), &mut bytes_left)
        .map_err(|it| it.0)
}

fn column(name: &str, array: ArrayRef, nullable: bool) -> RecordBatch {
    let field = Field::new(name, array.data_type().clone(), nullable);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).unwrap()
}

fn lists() -> ListArray {
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let values = Int32Array::from(vec![Some(1), None, Some(3), Some(4)]);
    let nulls = NullBuffer::from(vec![true, false, true, true]);
    ListArray::new(
        item,
        OffsetBuffer::new(vec![0, 2, 2, 4, 4].into()),
        Arc::new(values),
        Some(nulls),
    )
}

/// Members that may not be null, in a struct that may: they are null where it is.
fn masked() -> StructArray {
    let fields = Fields::from(vec![
        Field::new("a", DataType::Int64, false),
        Field::new("b", DataType::Utf8, true),
    ]);
    let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)]));
    let b: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, None, Some("é")]));
    StructArray::new(fields, vec![a, b], Some(NullBuffer::from(vec![true, false, true, true])))
}

fn shapes() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)]))),
        ("byte", Arc::new(Int8Array::from(vec![1, -2, 3, 4]))),
        ("long", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(0), Some(i64::MAX)]))),
        ("double", Arc::new(Float64Array::from(vec![0.5, -0.0, f64::NAN, f64::INFINITY]))),
        ("text", Arc::new(StringArray::from(vec![Some("a"), Some(""), None, Some("日本")]))),
        (
            "blob",
            Arc::new(BinaryArray::from(vec![Some(&b"\xff\x00"[..]), None, Some(b""), Some(b"z")])),
        ),
        (
            "fixed",
            Arc::new(
                FixedSizeBinaryArray::try_from_iter(
                    [[1u8, 2, 3], [4, 5, 6], [7, 8, 9], [0, 0, 0]].iter(),
                )
                .unwrap(),
            ),
        ),
        (
            "decimal",
            Arc::new(
                Decimal128Array::from(vec![Some(-999), None, Some(999), Some(0)])
                    .with_precision_and_scale(3, 1)
                    .unwrap(),
            ),
        ),
        (
            "time",
            Arc::new(Time64MicrosecondArray::from(vec![
                Some(0),
                None,
                Some(86_399_999_999),
                Some(1),
            ])),
        ),
        (
            "instant",
            Arc::new(TimestampMillisecondArray::from(vec![-1, 0, 1, 2]).with_timezone("UTC")),
        ),
        ("list", Arc::new(lists())),
        ("pair", Arc::new(masked())),
    ]
}

#[test]
fn every_shape_crosses_and_comes_back() {
    for (name, array) in shapes() {
        let batch = column(name, array, true);
        // Slices begin at any bit and any offset.
        for (first, rows) in [(0, 4), (1, 3), (2, 1), (3, 1), (0, 1)] {
            let slice = batch.slice(first, rows);
            let (memory, root) = written(&slice);
            let back = read(&memory, root, &slice).unwrap_or_else(|it| panic!("{name}: {it}"));
            assert_eq!(format!("{back:?}"), format!("{slice:?}"), "{name} from {first}");
        }
    }
}

#[test]
fn equal_rows_are_equal_bytes_wherever_they_were_cut_from() {
    let columns = shapes();
    let fields: Vec<Field> =
        columns.iter().map(|(name, it)| Field::new(*name, it.data_type().clone(), true)).collect();
    let arrays: Vec<ArrayRef> = columns.into_iter().map(|(_, it)| it).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let slice = batch.slice(1, 3);
    let copy = read(&written(&slice).0, BASE, &slice).unwrap();
    assert_eq!(written(&slice).0, written(&copy).0);
    // And whatever lay there: every byte of the region is written.
    let (memory, _) = written(&slice);
    let plan = Plan::of(&slice);
    let mut region = vec![0x5a; plan.bytes as usize];
    plan.write(&mut region, BASE);
    assert_eq!(region, &memory[BASE as usize..]);
}

#[test]
fn values_that_a_table_cannot_hold_are_refused() {
    let decimal = |value: i128| -> ArrayRef {
        Arc::new(Decimal128Array::from(vec![value]).with_precision_and_scale(3, 1).unwrap())
    };
    let time = |value: i64| -> ArrayRef { Arc::new(Time64MicrosecondArray::from(vec![value])) };
    let cases = [
        (decimal(1000), "more than 3 digits"),
        (decimal(-1000), "more than 3 digits"),
        (decimal(i128::MIN), "more than 3 digits"),
        (time(-1), "no time"),
        (time(86_400_000_000), "no time"),
    ];
    for (array, expected) in cases {
        let batch = column("v", array, true);
        let (memory, root) = written(&batch);
        let wrong = read(&memory, root, &batch).expect_err(expected);
        assert!(wrong.contains(expected), "{wrong}");
        assert!(wrong.contains("\"v\""), "the column is named: {wrong}");
    }
}

#[test]
fn nulls_are_refused_where_none_may_be() {
    // A member that is null in a row whose struct is there.
    let batch = column("pair", Arc::new(masked()), true);
    let (mut memory, root) = written(&batch);
    let u32_at = |memory: &[u8], at: u32| {
        u32::from_le_bytes(memory[at as usize..at as usize + 4].try_into().unwrap())
    };
    let pair = u32_at(&memory, u32_at(&memory, root + 44));
    let member = u32_at(&memory, u32_at(&memory, pair + 44));
    let validity = u32_at(&memory, u32_at(&memory, member + 40)) as usize;
    assert_eq!(memory[validity], 0b1101);
    memory[validity] = 0b1001;
    memory[member as usize + 8] = 2;
    let wrong = read(&memory, root, &batch).expect_err("row 2 of a");
    assert!(wrong.contains("\"a\"") && wrong.contains("null"), "{wrong}");

    // The same column, declared without nulls.
    let fields = batch
        .schema()
        .fields()
        .iter()
        .map(|it| it.as_ref().clone().with_nullable(false))
        .collect::<Vec<_>>();
    let (memory, root) = written(&batch);
    let strict = Arc::new(Schema::new(fields));
    let wrong = read_batch(GuestMemory(&memory), u64::from(root), &strict, &mut (1 << 20))
        .expect_err("row 1 is null");
    assert!(wrong.0.contains("null"), "{}", wrong.0);
}

/// Every byte of the structures and buffers, altered in two ways: an answer or a violation, never a panic.
#[test]
fn no_altered_byte_harms_the_host() {
    let fields = vec![
        Field::new("text", DataType::Utf8, true),
        Field::new("list", lists().data_type().clone(), true),
        Field::new("pair", masked().data_type().clone(), true),
    ];
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some("a"), Some("bé"), None, Some("")])),
        Arc::new(lists()),
        Arc::new(masked()),
    ];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let (memory, root) = written(&batch);
    let mut refused = 0;
    for at in BASE as usize..memory.len() {
        for flip in [0x80, 0x01, 0xff] {
            let mut altered = memory.clone();
            altered[at] ^= flip;
            match read(&altered, root, &batch) {
                Ok(rows) => drop(format!("{rows:?}")),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn overlapping_buffers_count_each_time() {
    let array: ArrayRef = Arc::new(Int32Array::from(vec![7; 1000]));
    let fields: Vec<Field> =
        (0..8).map(|it| Field::new(format!("c{it}"), DataType::Int32, false)).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![array; 8]).unwrap();
    let (mut memory, root) = written(&batch);
    let u32_at = |memory: &[u8], at: u32| {
        u32::from_le_bytes(memory[at as usize..at as usize + 4].try_into().unwrap())
    };
    // All columns become the first one.
    let children = u32_at(&memory, root + 44);
    let first = u32_at(&memory, children).to_le_bytes();
    for index in 0..8 {
        memory[(children + 4 * index) as usize..][..4].copy_from_slice(&first);
    }
    let whole = 8 * (4000 + 256);
    for (left, fits) in [(whole, true), (whole - 1, false)] {
        let mut bytes_left = left;
        let read =
            read_batch(GuestMemory(&memory), u64::from(root), &batch.schema(), &mut bytes_left);
        assert_eq!(read.is_ok(), fits, "{left} bytes");
        if let Ok(rows) = read {
            assert_eq!(bytes_left, 0);
            assert_eq!(rows.column(7).as_primitive::<Int32Type>().value(999), 7);
        }
    }
}
