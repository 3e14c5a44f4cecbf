//! The second conformance operator, whose columns depend on its configuration: sdk/abi/CONFORMANCE.md.

use floe_sdk::dynamic::{Column, DynamicOperator, Out, Row, Schema, Shape, Type, Value};
use floe_sdk::{Config, Result};

/// Gives each row its number, in a column of the name that is configured.
struct Numbered {
    rows: i64,
}

impl DynamicOperator for Numbered {
    fn open(config: Config, upstream: Option<&Schema>) -> Result<(Self, Shape)> {
        let input = Schema::known(upstream)?;
        let name: String = config.require("number")?;
        let mut output = input.clone();
        output.columns.push(Column::new(name, Type::I64));
        Ok((Numbered { rows: 0 }, Shape::new(input.clone(), output.checked()?)))
    }

    fn process(&mut self, row: Row<'_>, out: &mut Out) -> Result<()> {
        self.rows += 1;
        out.emit(row.values().chain([Value::Int(self.rows)]))
    }
}

floe_sdk::dynamic_operator!(Numbered, name = "numbered", state_version = 7);
