//! `project`: chooses, renames, converts and computes columns.

use floe_plugin_expression::Expression;
use floe_sdk::dynamic::{Column, DynamicOperator, Out, Row, Schema, Shape, Value};
use floe_sdk::{Config, Error, Result};

struct Project {
    columns: Vec<Selected>,
}

struct Selected {
    expression: Expression,
    column: Column,
    /// Where the value goes through as it is.
    as_is: Option<usize>,
}

impl DynamicOperator for Project {
    fn open(config: Config, upstream: Option<&Schema>) -> Result<(Self, Shape)> {
        let input = Schema::known(upstream)?;
        let except: Vec<String> = config.get("except")?.unwrap_or_default();
        input.indices(&except)?;
        let mut columns: Vec<Selected> = Vec::new();
        for text in config.require::<Vec<String>>("columns")? {
            if text.trim() != "*" {
                columns.push(Selected::read(&text, input)?);
                continue;
            }
            for column in input.columns.iter().filter(|it| !except.contains(&it.name)) {
                let quoted = format!("\"{}\"", column.name.replace('"', "\"\""));
                columns.push(Selected::read(&quoted, input)?);
            }
        }
        let output = Schema { columns: columns.iter().map(|it| it.column.clone()).collect() };
        let shape = Shape::new(input.clone(), output.checked()?);
        Ok((Project { columns }, shape))
    }

    fn process(&mut self, row: Row<'_>, out: &mut Out) -> Result<()> {
        let mut texts = vec![String::new(); self.columns.len()];
        let values: Vec<Value<'_>> = self
            .columns
            .iter()
            .zip(&mut texts)
            .map(|(selected, text)| match selected.as_is {
                Some(column) => Ok(row.get(column)),
                None => {
                    selected.expression.value(row, &selected.column.ty, text).map_err(|error| {
                        Error::new(format!("column {:?}: {error}", selected.column.name))
                    })
                }
            })
            .collect::<Result<_>>()?;
        out.emit(values)
    }
}

impl Selected {
    fn read(text: &str, input: &Schema) -> Result<Selected> {
        let (expression, column) = Expression::selected(text, input)?;
        let as_is = expression.plain_column().filter(|it| input.columns[*it].ty == column.ty);
        Ok(Selected { expression, column, as_is })
    }
}

floe_sdk::dynamic_operator!(Project, name = "project", state_version = 1);
