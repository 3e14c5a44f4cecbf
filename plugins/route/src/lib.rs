//! `route`: says of each row where it belongs, in a column.

use floe_plugin_expression::Expression;
use floe_sdk::dynamic::{Column, DynamicOperator, Out, Row, Schema, Shape, Type, Value};
use floe_sdk::{Config, Error, Result};

struct Route {
    routes: Vec<(Expression, String)>,
    otherwise: Otherwise,
}

/// What becomes of rows that no route takes.
enum Otherwise {
    Named(String),
    Drop,
    Reject,
}

impl DynamicOperator for Route {
    fn open(config: Config, upstream: Option<&Schema>) -> Result<(Self, Shape)> {
        let input = Schema::known(upstream)?;
        let mut routes = Vec::new();
        for route in config.require::<Vec<Config>>("routes")? {
            let condition = Expression::condition(&route.require::<String>("where")?, input)?;
            routes.push((condition, route.require("name")?));
        }
        let otherwise = match config.get::<String>("otherwise")?.as_deref() {
            None | Some("reject") => Otherwise::Reject,
            Some("drop") => Otherwise::Drop,
            Some(name) => Otherwise::Named(name.to_owned()),
        };
        let column = config.get::<String>("column")?.unwrap_or_else(|| "route".to_owned());
        let mut output = input.clone();
        output.columns.push(Column::new(column, Type::Text));
        Ok((Route { routes, otherwise }, Shape::new(input.clone(), output.checked()?)))
    }

    fn process(&mut self, row: Row<'_>, out: &mut Out) -> Result<()> {
        let mut name = None;
        for (condition, route) in &self.routes {
            if condition.holds(row)? {
                name = Some(route.as_str());
                break;
            }
        }
        let name = match (name, &self.otherwise) {
            (Some(name), _) => name,
            (None, Otherwise::Named(name)) => name,
            (None, Otherwise::Drop) => return Ok(()),
            (None, Otherwise::Reject) => return Err(Error::new("no route takes it")),
        };
        out.emit(row.values().chain([Value::Text(name)]))
    }
}

floe_sdk::dynamic_operator!(Route, name = "route", state_version = 1);
