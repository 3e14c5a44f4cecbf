//! `filter`: keeps the rows for which an expression is true.

use floe_plugin_expression::Expression;
use floe_sdk::dynamic::{DynamicOperator, Out, Row, Schema, Shape};
use floe_sdk::{Config, Result};

struct Filter {
    condition: Expression,
}

impl DynamicOperator for Filter {
    fn open(config: Config, upstream: Option<&Schema>) -> Result<(Self, Shape)> {
        let input = Schema::known(upstream)?;
        let condition = Expression::condition(&config.require::<String>("where")?, input)?;
        Ok((Filter { condition }, Shape::same(input)))
    }

    fn process(&mut self, row: Row<'_>, out: &mut Out) -> Result<()> {
        if self.condition.holds(row)? { out.emit(row.values()) } else { Ok(()) }
    }
}

floe_sdk::dynamic_operator!(Filter, name = "filter", state_version = 1);
