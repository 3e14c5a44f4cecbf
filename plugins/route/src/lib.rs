//! `route`: says of each row where it belongs, in a column, or by the output that it goes to.

use floe_plugin_expression::Expression;
use floe_sdk::dynamic::{Column, DynamicOperator, Out, Row, Schema, Shape, Type, Value};
use floe_sdk::{Config, Error, Result, bail};

struct Route {
    /// Each condition with the number of its name.
    routes: Vec<(Expression, usize)>,
    /// What becomes of rows that no route takes.
    otherwise: Otherwise,
    /// In the order in which the configuration has them, each once.
    names: Vec<String>,
    by_output: bool,
}

enum Otherwise {
    Named(usize),
    Drop,
    Reject,
}

impl DynamicOperator for Route {
    fn open(config: Config, upstream: Option<&Schema>) -> Result<(Self, Shape)> {
        let input = Schema::known(upstream)?;
        let mut names = Vec::new();
        let mut routes = Vec::new();
        for route in config.require::<Vec<Config>>("routes")? {
            let condition = Expression::condition(&route.require::<String>("where")?, input)?;
            routes.push((condition, number(&mut names, route.require("name")?)));
        }
        let otherwise = match config.get::<String>("otherwise")?.as_deref() {
            None | Some("reject") => Otherwise::Reject,
            Some("drop") => Otherwise::Drop,
            Some(name) => Otherwise::Named(number(&mut names, name.to_owned())),
        };
        let column = config.get::<String>("column")?;
        let by_output = match config.get::<String>("into")?.as_deref() {
            None | Some("column") => false,
            Some("outputs") if column.is_none() => true,
            Some("outputs") => bail!("config.column is for into = \"column\""),
            Some(other) => bail!("config.into must be column or outputs, and is {other:?}"),
        };
        let shape = if by_output {
            let outputs = names.iter().map(|it| (it.clone(), input.clone()));
            Shape { input: input.clone(), outputs: outputs.collect() }
        } else {
            let mut output = input.clone();
            let column = column.unwrap_or_else(|| "route".to_owned());
            output.columns.push(Column::new(column, Type::Text));
            Shape::new(input.clone(), output.checked()?)
        };
        Ok((Route { routes, otherwise, names, by_output }, shape))
    }

    fn process(&mut self, row: Row<'_>, out: &mut Out) -> Result<()> {
        let mut taken = None;
        for (condition, route) in &self.routes {
            if condition.holds(row)? {
                taken = Some(*route);
                break;
            }
        }
        let route = match (taken, &self.otherwise) {
            (Some(route), _) => route,
            (None, Otherwise::Named(route)) => *route,
            (None, Otherwise::Drop) => return Ok(()),
            (None, Otherwise::Reject) => return Err(Error::new("no route takes it")),
        };
        match self.by_output {
            true => out.emit_to(route, row.values()),
            false => out.emit(row.values().chain([Value::Text(&self.names[route])])),
        }
    }
}

/// The number of a name, which may be a new one.
fn number(names: &mut Vec<String>, name: String) -> usize {
    let known = names.iter().position(|it| *it == name);
    known.unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    })
}

floe_sdk::dynamic_operator!(Route, name = "route", state_version = 1);
