//! How a row says that its key is gone: a column that is not stored.

use arrow_array::cast::AsArray;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{DataType, Schema, SchemaRef};
use floe_core::{Error, Result};

use super::super::config::UpsertConfig;

/// The column where none is named.
const DEFAULT: &str = "_op";

/// In the letters of Debezium and Flink, and in words; whatever their case.
const UPSERTS: [&str; 12] =
    ["c", "r", "u", "i", "+i", "+u", "create", "read", "insert", "update", "upsert", "false"];
const DELETES: [&str; 4] = ["d", "-d", "delete", "true"];

pub(in super::super) struct Operation {
    name: String,
    index: usize,
}

fn name(rows: &SchemaRef, config: &UpsertConfig) -> Result<Option<String>> {
    match &config.op_column {
        Some(name) if rows.index_of(name).is_err() => Err(Error::invalid(format!(
            "op-column {name:?}: the operator does not emit it\n  → it emits {}",
            rows.fields().iter().map(|it| it.name().as_str()).collect::<Vec<_>>().join(", ")
        ))),
        Some(name) => Ok(Some(name.clone())),
        None => Ok(rows.index_of(DEFAULT).ok().map(|_| DEFAULT.to_owned())),
    }
}

/// What of an operator's rows is stored in the table.
pub(in super::super) fn stored_rows(rows: &SchemaRef, config: &UpsertConfig) -> Result<SchemaRef> {
    let Some(name) = name(rows, config)? else { return Ok(SchemaRef::clone(rows)) };
    let stays = rows.fields().iter().filter(|it| *it.name() != name).cloned();
    Ok(SchemaRef::new(Schema::new(stays.collect::<Vec<_>>())))
}

impl Operation {
    pub(in super::super) fn find(
        rows: &SchemaRef,
        config: &UpsertConfig,
    ) -> Result<Option<Operation>> {
        let Some(name) = name(rows, config)? else { return Ok(None) };
        let (index, field) = rows.column_with_name(&name).expect("it was found by its name");
        match field.data_type() {
            DataType::Boolean | DataType::Utf8 => Ok(Some(Operation { name, index })),
            other => Err(Error::invalid(format!(
                "column {name:?} says whether a row is deleted, and is {other}: a string (\"c\", \"u\", \"d\") or a boolean (true: deleted) is needed"
            ))),
        }
    }

    /// Which rows say that their key is gone. No word is no delete.
    pub(in super::super) fn deleted(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let column = batch.column(self.index);
        if let Some(flags) = column.as_boolean_opt() {
            return Ok(flags.iter().map(|it| Some(it.unwrap_or(false))).collect());
        }
        column
            .as_string::<i32>()
            .iter()
            .map(|word| match word {
                None => Ok(Some(false)),
                Some(word) if is_one_of(word, &DELETES) => Ok(Some(true)),
                Some(word) if is_one_of(word, &UPSERTS) => Ok(Some(false)),
                Some(word) => Err(Error::invalid(format!(
                    "column {:?} says {word:?}, and that is neither an upsert nor a delete\n  → upserts: {}; deletes: {}",
                    self.name,
                    UPSERTS.join(", "),
                    DELETES.join(", ")
                ))),
            })
            .collect()
    }
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|it| word.eq_ignore_ascii_case(it))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::StringArray;
    use arrow_schema::Field;

    use super::*;

    #[test]
    fn words_are_known_or_named() {
        let rows: SchemaRef = Arc::new(Schema::new(vec![Field::new("_op", DataType::Utf8, true)]));
        let config = UpsertConfig { key: vec!["id".into()], op_column: None };
        assert!(stored_rows(&rows, &config).unwrap().fields().is_empty());
        let operation = Operation::find(&rows, &config).unwrap().unwrap();
        let batch = |words: Vec<Option<&str>>| {
            RecordBatch::try_new(Arc::clone(&rows), vec![Arc::new(StringArray::from(words))])
                .unwrap()
        };
        let found = operation.deleted(&batch(vec![None, Some("U"), Some("d"), Some("Delete")]));
        assert_eq!(found.unwrap(), BooleanArray::from(vec![false, false, true, true]));
        let error = operation.deleted(&batch(vec![Some("x")])).unwrap_err();
        assert!(error.message.contains("\"x\""), "{error}");
    }
}
