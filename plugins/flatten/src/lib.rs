//! `flatten`: takes structs apart, and makes a row of each item of a list.

use floe_sdk::dynamic::{Column, DynamicOperator, Out, Row, Schema, Shape, Type, Value};
use floe_sdk::{Config, Result, bail};

struct Flatten {
    /// The list whose items become rows.
    each: Option<usize>,
    keep_empty: bool,
    separator: String,
    /// For each column of the output, where its value stands.
    paths: Vec<Path>,
}

struct Path {
    column: usize,
    members: Vec<usize>,
}

impl DynamicOperator for Flatten {
    fn open(config: Config, upstream: Option<&Schema>) -> Result<(Self, Shape)> {
        let input = Schema::known(upstream)?;
        let each = config.get::<String>("each")?.map(|it| input.index(&it)).transpose()?;
        let separator = config.get::<String>("separator")?.unwrap_or_else(|| "_".to_owned());
        let keep_empty = config.get::<bool>("keep-empty")?.unwrap_or(false);
        let mut flatten = Flatten { each, keep_empty, separator, paths: Vec::new() };
        let mut output = Schema::default();
        for (index, column) in input.columns.iter().enumerate() {
            let mut column = column.clone();
            if each == Some(index) {
                let Type::List(item) = column.ty else {
                    bail!(
                        "config.each must be a list, and {:?} is {}",
                        column.name,
                        column.ty.name()
                    );
                };
                let nullable = item.nullable || keep_empty;
                column = Column { name: column.name, nullable, ty: item.ty };
            }
            flatten.take_apart(
                &mut Path { column: index, members: Vec::new() },
                column,
                &mut output,
            );
        }
        Ok((flatten, Shape::new(input.clone(), output.checked()?)))
    }

    fn process(&mut self, row: Row<'_>, out: &mut Out) -> Result<()> {
        let Some(each) = self.each else { return self.emit(row, Value::Null, out) };
        match row.get(each) {
            Value::List(list) if !list.is_empty() => {
                list.items().try_for_each(|item| self.emit(row, item, out))
            }
            _ if self.keep_empty => self.emit(row, Value::Null, out),
            _ => Ok(()),
        }
    }
}

impl Flatten {
    /// The columns that a column becomes: its members', where it is a struct.
    fn take_apart(&mut self, path: &mut Path, column: Column, output: &mut Schema) {
        let Type::Struct(inner) = column.ty else {
            self.paths.push(Path { column: path.column, members: path.members.clone() });
            output.columns.push(column);
            return;
        };
        for (index, member) in inner.columns.into_iter().enumerate() {
            let name = format!("{}{}{}", column.name, self.separator, member.name);
            let nullable = member.nullable || column.nullable;
            path.members.push(index);
            self.take_apart(path, Column { name, ty: member.ty, nullable }, output);
            path.members.pop();
        }
    }

    fn emit<'v>(&self, row: Row<'v>, item: Value<'v>, out: &mut Out) -> Result<()> {
        out.emit(self.paths.iter().map(|path| {
            let is_item = self.each == Some(path.column);
            let mut value = if is_item { item } else { row.get(path.column) };
            for member in &path.members {
                let Value::Struct(inner) = value else { return Value::Null };
                value = inner.get(*member);
            }
            value
        }))
    }
}

floe_sdk::dynamic_operator!(Flatten, name = "flatten", state_version = 1);
