//! `partition-by` expressions: `day(ts)`, `bucket(16, merchant_id)`, `truncate(4, name)`, or a column.

use floe_core::{Error, Result};
use iceberg::spec::{Schema, Transform, UnboundPartitionSpec};

pub(super) fn partition_spec(
    expressions: &[String],
    schema: &Schema,
) -> Result<UnboundPartitionSpec> {
    let mut builder = UnboundPartitionSpec::builder().with_spec_id(0);
    for expression in expressions {
        let (transform, column) = parse(expression)?;
        let wrong = |why: String| Error::invalid(format!("partition-by {expression:?}: {why}"));
        let Some(field) = schema.field_by_name(column) else {
            let columns: Vec<&str> =
                schema.as_struct().fields().iter().map(|it| it.name.as_str()).collect();
            return Err(wrong(format!(
                "there is no column {column:?}; there are {}",
                columns.join(", ")
            )));
        };
        transform.result_type(&field.field_type).map_err(|_| {
            wrong(format!(
                "{} does not take a column of type {}",
                name(transform),
                field.field_type
            ))
        })?;
        // A partition field must not have the name of a column unless it is its identity.
        let partition = match transform {
            Transform::Identity => column.to_owned(),
            other => format!("{column}_{}", name(other)),
        };
        builder = builder
            .add_partition_field(field.id, partition, transform)
            .map_err(|error| wrong(error.message().to_owned()))?;
    }
    Ok(builder.build())
}

/// The columns that the expressions are of.
pub(super) fn columns(expressions: &[String]) -> Result<Vec<String>> {
    expressions.iter().map(|it| parse(it).map(|(_, column)| column.to_owned())).collect()
}

fn name(transform: Transform) -> &'static str {
    match transform {
        Transform::Identity => "identity",
        Transform::Bucket(_) => "bucket",
        Transform::Truncate(_) => "trunc",
        Transform::Year => "year",
        Transform::Month => "month",
        Transform::Day => "day",
        Transform::Hour => "hour",
        Transform::Void => "void",
        Transform::Unknown => "unknown",
    }
}

fn parse(expression: &str) -> Result<(Transform, &str)> {
    let wrong = || {
        Error::invalid(format!(
            "partition-by {expression:?} is not understood: write a column, or identity, year, month, day or hour of one as day(ts), or bucket(16, id), truncate(4, name)"
        ))
    };
    let expression = expression.trim();
    let Some((function, rest)) = expression.split_once('(') else {
        return Ok((Transform::Identity, expression));
    };
    let arguments: Vec<&str> =
        rest.strip_suffix(')').ok_or_else(wrong)?.split(',').map(str::trim).collect();
    let number = |text: &str| text.parse::<u32>().ok().filter(|it| *it > 0).ok_or_else(wrong);
    match (function.trim(), &arguments[..]) {
        ("identity", [column]) => Ok((Transform::Identity, column)),
        ("year" | "years", [column]) => Ok((Transform::Year, column)),
        ("month" | "months", [column]) => Ok((Transform::Month, column)),
        ("day" | "days", [column]) => Ok((Transform::Day, column)),
        ("hour" | "hours", [column]) => Ok((Transform::Hour, column)),
        ("bucket", [count, column]) => Ok((Transform::Bucket(number(count)?), column)),
        ("truncate", [width, column]) => Ok((Transform::Truncate(number(width)?), column)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_or_explained() {
        let good = [
            ("merchant", Transform::Identity, "merchant"),
            ("identity(a)", Transform::Identity, "a"),
            ("day(ts)", Transform::Day, "ts"),
            (" bucket( 16 , id ) ", Transform::Bucket(16), "id"),
            ("truncate(4, name)", Transform::Truncate(4), "name"),
        ];
        for (text, transform, column) in good {
            assert_eq!(parse(text).unwrap(), (transform, column), "{text}");
        }
        for text in ["bucket(id)", "bucket(0, id)", "week(ts)", "day(ts", "truncate(x, y)"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
