//! Expressions over one row, as text in and text out.

use floe_sdk::dynamic::{
    Column, DynamicOperator, DynamicTester, Out, OwnedValue, Row, Schema, Shape, Type, Value,
};
use floe_sdk::{Config, Result};

use super::Expression;

/// Emits one expression as text.
struct Show(Expression);

impl DynamicOperator for Show {
    fn open(config: Config, upstream: Option<&Schema>) -> Result<(Self, Shape)> {
        let input = Schema::known(upstream)?;
        let text = format!("({}) as shown: string?", config.require::<String>("show")?);
        let (expression, column) = Expression::selected(&text, input)?;
        let output = Schema { columns: vec![column] };
        Ok((Show(expression), Shape::new(input.clone(), output)))
    }

    fn process(&mut self, row: Row<'_>, out: &mut Out) -> Result<()> {
        out.emit([self.0.value(row, &Type::Text, &mut String::new())?])
    }
}

fn schema() -> Schema {
    let columns = [
        ("n", "long"),
        ("missing", "long?"),
        ("price", "decimal(9,2)"),
        ("ratio", "double"),
        ("name", "string"),
        ("ts", "timestamp"),
        ("ok", "boolean"),
        ("big", "ulong"),
        ("raw", "binary"),
    ];
    let column = |(name, text): &(&str, &str)| {
        let (ty, nullable) = Type::parse(text).unwrap();
        Column { name: (*name).to_owned(), ty, nullable }
    };
    Schema { columns: columns.iter().map(column).collect() }
}

fn show(expression: &str) -> String {
    let config = format!("{{\"show\": {expression:?}}}");
    let mut tester = match DynamicTester::<Show>::open(&config, Some(&schema())) {
        Ok(tester) => tester,
        Err(error) => return format!("refused: {error}"),
    };
    let row = [
        Value::Int(7),
        Value::Null,
        Value::Decimal(12_34),
        Value::Float(0.5),
        Value::Text("Zürich"),
        Value::Int(1_769_839_200_000),
        Value::Bool(true),
        Value::UInt(u64::MAX),
        Value::Bytes(&[0xff, 1]),
    ];
    let mut done = tester.process(&[&row]).unwrap();
    match (done.rows.pop(), done.rejected.pop()) {
        (Some((_, values)), None) => match &values[0] {
            OwnedValue::Text(text) => text.to_string(),
            OwnedValue::Null => "null".to_owned(),
            other => format!("{other:?}"),
        },
        (None, Some((_, reason))) => format!("rejected: {reason}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn expressions_have_their_value() {
    for (expression, value) in [
        ("1 + 2 * 3 - 4", "3"),
        ("(1 + 2) * -n", "-21"),
        ("n / 2", "3"),
        ("n / 2.0", "3.5"),
        ("n % 4", "3"),
        ("price * 2", "24.68"),
        ("price * price", "152.2756"),
        ("price + 0.005", "12.345"),
        ("-price", "-12.34"),
        ("ratio + n", "7.5"),
        ("big", "18446744073709551615"),
        ("big > 9223372036854775807", "true"),
        ("n = 7.0 and price > 12", "true"),
        ("price < 12.341", "true"),
        ("ratio = 0.5", "true"),
        ("n between 7 and 8", "true"),
        ("n not between 7 and 8", "false"),
        ("name = 'Zürich'", "true"),
        ("name like 'Z%ich'", "true"),
        ("name like 'Z_rich'", "true"),
        ("name like '_rich'", "false"),
        ("name not like '%x%'", "true"),
        ("name in ('a', 'Zürich')", "true"),
        ("n not in (1, 2)", "true"),
        ("missing = 1", "null"),
        ("missing is null and missing is not null", "false"),
        ("missing > 1 or ok", "true"),
        ("missing > 1 and not ok", "false"),
        ("missing > 1 and ok", "null"),
        ("not missing > 1", "null"),
        ("n in (1, null)", "null"),
        ("n in (7, null)", "true"),
        ("coalesce(missing, n)", "7"),
        ("length(name)", "6"),
        ("upper(name)", "ZÜRICH"),
        ("concat(lower(name), '-', trim('  x '))", "zürich-x"),
        ("starts_with(name, 'Zü')", "true"),
        ("ends_with(name, 'x')", "false"),
        ("contains(name, 'ri')", "true"),
        ("abs(-n)", "7"),
        ("ts", "2026-01-31T06:00:00Z"),
        ("ts >= timestamp '2026-01-31T06:00:00Z'", "true"),
        ("ts < date '2026-02-01'", "true"),
        ("raw", "ff01"),
        ("\"n\" = 7", "true"),
        ("'it''s'", "it's"),
        ("n / 0", "rejected: a division by zero"),
        ("big * big * big", "rejected: a number is too large"),
    ] {
        assert_eq!(show(expression), value, "{expression}");
    }
}

#[test]
fn mistakes_are_found_before_a_row_comes() {
    for (expression, part) in [
        ("amount > 1", "there is no column \"amount\"; known here: n, missing"),
        ("n > 'x'", "> compares a whole number with a text"),
        ("name + 1", "+ takes a number, and here is a text"),
        ("n and ok", "and takes true or false, and here is a whole number"),
        ("n like 'x'", "like takes a text"),
        ("lower(n)", "lower takes a text"),
        ("sqrt(n)", "there is no function \"sqrt\""),
        ("lower(name, name)", "lower takes 1 values"),
        ("n >", "a value is missing"),
        ("n) n", "something stands behind its end"),
        ("n n", "\")\" is missing"),
        ("name = 'x", "a quote is not closed"),
        ("n ; n", "';' has no meaning"),
        ("n.x = 1", "is asked of what is no struct"),
        ("ts > timestamp 'soon'", "is no time"),
    ] {
        let said = show(expression);
        assert!(said.starts_with("refused: ") && said.contains(part), "{expression}: {said}");
    }
    let deep = "(".repeat(1000) + "1" + &")".repeat(1000);
    assert!(show(&deep).contains("nested too deep"));
    assert!(show(&("not ".repeat(1000) + "ok")).contains("nested too deep"));
    assert!(show(&("- ".repeat(1000) + "1")).contains("nested too deep"));
}
