//! A27: columns that follow from the configuration and from what comes before. Its own operator,
//! `numbered` of sdk/abi/CONFORMANCE.md: each row with its number.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use floe_core::image::Capture;
use floe_core::ports::{Operator, OperatorFactory};
use floe_core::{EventTime, TopicPartition};
use floe_operator::{Factory, Limits, Metering, Module};

use super::made;
use crate::lab::{Shown, TIME_PER_CALL, ensure};
use crate::report::Check;

const A27: &[&str] = &["A27"];

pub(super) fn checks(module: &Arc<Module>) -> Vec<Check> {
    vec![
        made(A27, "its columns are those before it, and the one configured", columns(module)),
        made(A27, "the same configuration gives the same columns", same(module)),
        made(A27, "without columns before it, it says so", nothing_before(module)),
        made(A27, "a configuration that does not fit is refused", refused(module)),
        made(&["A27", "A21"], "restored between all batches, it is what it was", restored(module)),
    ]
}

const CONFIG: &str = r#"{"number":"n"}"#;

fn factory(
    module: &Arc<Module>,
    config: &str,
    before: Option<SchemaRef>,
    metering: Metering,
) -> Shown<Factory> {
    let limits = Limits { metering, time_per_batch: TIME_PER_CALL, ..Limits::default() };
    Factory::configured("conformance", Arc::clone(module), config.to_owned(), before, limits)
        .map_err(|it| it.message)
}

fn before(fields: &[(&str, DataType, bool)]) -> Option<SchemaRef> {
    let fields = fields.iter().map(|(name, kind, null)| Field::new(*name, kind.clone(), *null));
    Some(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

fn text_and_long() -> Option<SchemaRef> {
    before(&[("text", DataType::Utf8, true), ("long", DataType::Int64, false)])
}

fn columns(module: &Arc<Module>) -> Shown<()> {
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let schemas = [
        text_and_long(),
        before(&[("a", DataType::Boolean, true)]),
        before(&[("x", DataType::List(item), true), ("y", DataType::Decimal128(20, 4), false)]),
    ];
    for (schema, name) in schemas.iter().zip(["n", "number", "é"]) {
        let config = format!(r#"{{"number":"{name}"}}"#);
        let factory = factory(module, &config, schema.clone(), Metering::Fuel)?;
        let said = factory.describe();
        let schema = schema.as_ref().expect("each is known");
        ensure(said.input.fields() == schema.fields(), || {
            format!("told {:?}, it takes {:?}", schema.fields(), said.input.fields())
        })?;
        let mut expected: Vec<_> = schema.fields().iter().map(Arc::clone).collect();
        expected.push(Arc::new(Field::new(name, DataType::Int64, false)));
        let found = said.outputs[0].1.fields();
        ensure(found.iter().eq(&expected), || {
            format!("it emits {found:?}, and must emit {expected:?}")
        })?;
    }
    Ok(())
}

fn same(module: &Arc<Module>) -> Shown<()> {
    let made = || factory(module, CONFIG, text_and_long(), Metering::Fuel);
    let (one, other) = (made()?, made()?);
    let (one, other) = (one.describe(), other.describe());
    let is_same = one.config_hash == other.config_hash
        && one.input == other.input
        && one.outputs == other.outputs;
    ensure(is_same, || "it describes itself otherwise".to_owned())
}

fn nothing_before(module: &Arc<Module>) -> Shown<()> {
    match factory(module, CONFIG, None, Metering::Fuel) {
        Ok(_) => Err("it takes columns that nobody told it".to_owned()),
        Err(_) => Ok(()),
    }
}

fn refused(module: &Arc<Module>) -> Shown<()> {
    for config in ["{}", r#"{"number":7}"#, r#"{"number":"n","other":1}"#] {
        let refused = factory(module, config, text_and_long(), Metering::Fuel);
        ensure(refused.is_err(), || format!("the configuration {config} is taken"))?;
    }
    Ok(())
}

fn restored(module: &Arc<Module>) -> Shown<()> {
    let by_fuel = factory(module, CONFIG, text_and_long(), Metering::Fuel)?;
    let by_time = factory(module, CONFIG, text_and_long(), Metering::Time)?;
    let task = TopicPartition::new("conformance", 0);
    let mut straight = by_time.open(&task, 7).map_err(|it| it.message)?;
    let mut other = by_fuel.open(&task, 7).map_err(|it| it.message)?;
    let (mut number, schema) = (0, Arc::clone(&by_fuel.describe().input));
    for (index, rows) in [1_usize, 3000, 2, 65_536, 1].into_iter().enumerate() {
        let image = other.capture(Capture::Whole).map_err(|it| it.message)?;
        let restored = if index % 2 == 0 { &by_time } else { &by_fuel };
        other = restored.restore(&task, &image).map_err(|it| it.message)?;
        let batch = batch(&schema, rows);
        for operator in [&mut straight, &mut other] {
            numbered(&mut **operator, &batch, number)?;
        }
        number += rows as i64;
    }
    let [straight, other] = [straight, other].map(|mut it| it.capture(Capture::Whole));
    let is_same = straight.map_err(|it| it.message)? == other.map_err(|it| it.message)?;
    ensure(is_same, || "restored between all batches, the final state differs".to_owned())
}

fn batch(schema: &SchemaRef, rows: usize) -> RecordBatch {
    let texts = (0..rows).map(|it| (it % 3 > 0).then(|| format!("é{it}")));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(texts.collect::<StringArray>()),
        Arc::new(Int64Array::from_iter_values(0..rows as i64)),
    ];
    RecordBatch::try_new(Arc::clone(schema), columns).expect("the columns are of the schema")
}

/// The batch comes back with numbers behind `number`.
fn numbered(operator: &mut dyn Operator, batch: &RecordBatch, number: i64) -> Shown<()> {
    let staged = operator.process(batch, EventTime(1)).map_err(|it| it.message)?;
    let mut row = 0;
    for (_, rows) in &staged.emitted {
        let count = rows.num_rows();
        let numbers = rows.column(2).as_primitive::<Int64Type>();
        let mut expected = number + row as i64 + 1..;
        let is_same = rows.column(0) == &batch.column(0).slice(row, count)
            && rows.column(1) == &batch.column(1).slice(row, count)
            && numbers.values().iter().all(|it| Some(*it) == expected.next());
        ensure(is_same, || format!("behind {number} rows, others come out than must"))?;
        row += count;
    }
    ensure(row == batch.num_rows(), || format!("{row} of {} rows come out", batch.num_rows()))
}
