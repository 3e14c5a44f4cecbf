//! An expression over one row.

use std::borrow::Cow;
use std::cmp::Ordering;

use floe_sdk::dynamic::{Column, Row, Schema, Type, Value};
use floe_sdk::{Error, Result};

use crate::cast::cast;
use crate::kind::{Kind, column, kind_of, type_of};
use crate::parse::{Function, Node, Operation, parse, selected};
use crate::value::{Computed, aligned};

/// An expression that fits the columns it was made for.
#[derive(Debug)]
pub struct Expression {
    node: Node,
    schema: Schema,
}

impl Expression {
    /// An expression that is true or false.
    pub fn condition(text: &str, schema: &Schema) -> Result<Self> {
        let node = parse(text, schema)?;
        match kind_of(&node, schema) {
            Ok(Kind::Bool) => Ok(Expression { node, schema: schema.clone() }),
            Ok(_) => Err(Error::new(format!("{text:?} is neither true nor false"))),
            Err(error) => Err(Error::new(format!("{error}, in the expression {text:?}"))),
        }
    }

    /// `EXPRESSION [as NAME] [: TYPE]`: the expression and the column that it makes.
    pub fn selected(text: &str, schema: &Schema) -> Result<(Self, Column)> {
        let selected = selected(text, schema)?;
        let within = |error: Error| Error::new(format!("{error}, in the expression {text:?}"));
        kind_of(&selected.node, schema).map_err(within)?;
        let (ty, nullable) = match selected.ty {
            Some(said) => said,
            None => type_of(&selected.node, schema).map_err(within)?,
        };
        let name = match (selected.name, &selected.node) {
            (Some(name), _) => name,
            (None, Node::Column(path)) => name_of(path, schema),
            (None, _) => return Err(Error::new(format!("{text:?} needs a name: {text} as name"))),
        };
        let expression = Expression { node: selected.node, schema: schema.clone() };
        Ok((expression, Column { name, ty, nullable }))
    }

    /// Is it true of this row? What is unknown is not.
    pub fn holds(&self, row: Row<'_>) -> Result<bool> {
        Ok(matches!(self.evaluate(row)?, Computed::Bool(true)))
    }

    /// The column that it is, if it computes nothing.
    pub fn plain_column(&self) -> Option<usize> {
        match &self.node {
            Node::Column(path) if path.len() == 1 => Some(path[0]),
            _ => None,
        }
    }

    /// Its value as a column of this type; `texts` keeps what is computed.
    pub fn value<'v>(&'v self, row: Row<'v>, ty: &Type, text: &'v mut String) -> Result<Value<'v>> {
        cast(self.evaluate(row)?, ty, text)
    }

    fn evaluate<'v>(&'v self, row: Row<'v>) -> Result<Computed<'v>> {
        evaluate(&self.node, row, &self.schema)
    }
}

fn name_of(path: &[usize], schema: &Schema) -> String {
    let mut columns = &schema.columns;
    let mut name = String::new();
    for step in path {
        name.clone_from(&columns[*step].name);
        if let Type::Struct(inner) = &columns[*step].ty {
            columns = &inner.columns;
        }
    }
    name
}

fn evaluate<'v>(node: &'v Node, row: Row<'v>, schema: &Schema) -> Result<Computed<'v>> {
    Ok(match node {
        Node::Null => Computed::Null,
        Node::Bool(it) => Computed::Bool(*it),
        Node::Int(it) => Computed::Int(*it),
        Node::Decimal(it, scale) => Computed::Decimal(*it, *scale),
        Node::Float(it) => Computed::Float(*it),
        Node::Text(it) => Computed::Text(Cow::Borrowed(it)),
        Node::Time(it) => Computed::Time(*it),
        Node::Column(path) => {
            let mut value = row.get(path[0]);
            for step in &path[1..] {
                let Value::Struct(inner) = value else { return Ok(Computed::Null) };
                value = inner.get(*step);
            }
            Computed::of(value, column(path, schema).0)
        }
        Node::Not(it) => match evaluate(it, row, schema)? {
            Computed::Bool(it) => Computed::Bool(!it),
            _ => Computed::Null,
        },
        Node::Negate(it) => match evaluate(it, row, schema)? {
            Computed::Int(it) => Computed::Int(it.checked_neg().ok_or_else(too_large)?),
            Computed::Decimal(it, scale) => {
                Computed::Decimal(it.checked_neg().ok_or_else(too_large)?, scale)
            }
            Computed::Float(it) => Computed::Float(-it),
            _ => Computed::Null,
        },
        Node::IsNull(it, is_not) => {
            Computed::Bool((evaluate(it, row, schema)? == Computed::Null) != *is_not)
        }
        Node::In(it, items) => {
            let value = evaluate(it, row, schema)?;
            let mut unknown = value == Computed::Null;
            for item in items {
                match value.compare(&evaluate(item, row, schema)?) {
                    Some(Ordering::Equal) => return Ok(Computed::Bool(true)),
                    Some(Ordering::Less | Ordering::Greater) => {}
                    None => unknown = true,
                }
            }
            if unknown { Computed::Null } else { Computed::Bool(false) }
        }
        Node::Like(it, pattern) => match evaluate(it, row, schema)? {
            Computed::Text(text) => Computed::Bool(like(text.as_bytes(), pattern.as_bytes())),
            _ => Computed::Null,
        },
        Node::Binary(Operation::And, a, b) => both(a, b, row, schema, false)?,
        Node::Binary(Operation::Or, a, b) => both(a, b, row, schema, true)?,
        Node::Binary(operation, a, b) => {
            binary(*operation, evaluate(a, row, schema)?, evaluate(b, row, schema)?)?
        }
        Node::Call(function, arguments) => call(*function, arguments, row, schema)?,
    })
}

/// `and` is settled by a false, `or` by a true, whatever the other side is.
fn both<'v>(
    a: &'v Node,
    b: &'v Node,
    row: Row<'v>,
    schema: &Schema,
    settles: bool,
) -> Result<Computed<'v>> {
    let mut unknown = false;
    for side in [a, b] {
        match evaluate(side, row, schema)? {
            Computed::Bool(it) if it == settles => return Ok(Computed::Bool(settles)),
            Computed::Bool(_) => {}
            _ => unknown = true,
        }
    }
    Ok(if unknown { Computed::Null } else { Computed::Bool(!settles) })
}

fn binary<'v>(operation: Operation, a: Computed<'v>, b: Computed<'v>) -> Result<Computed<'v>> {
    let wanted: &[Ordering] = match operation {
        Operation::Equal => &[Ordering::Equal],
        Operation::NotEqual => &[Ordering::Less, Ordering::Greater],
        Operation::Less => &[Ordering::Less],
        Operation::LessOrEqual => &[Ordering::Less, Ordering::Equal],
        Operation::Greater => &[Ordering::Greater],
        Operation::GreaterOrEqual => &[Ordering::Greater, Ordering::Equal],
        Operation::Or
        | Operation::And
        | Operation::Add
        | Operation::Subtract
        | Operation::Multiply
        | Operation::Divide
        | Operation::Remainder => {
            return arithmetic(operation, &a, &b);
        }
    };
    Ok(a.compare(&b).map_or(Computed::Null, |it| Computed::Bool(wanted.contains(&it))))
}

fn arithmetic<'v>(
    operation: Operation,
    a: &Computed<'v>,
    b: &Computed<'v>,
) -> Result<Computed<'v>> {
    if *a == Computed::Null || *b == Computed::Null {
        return Ok(Computed::Null);
    }
    let fixed = |number: Option<i128>, scale: u8| -> Result<Computed<'v>> {
        let number = number.ok_or_else(too_large)?;
        Ok(if scale == 0 { Computed::Int(number) } else { Computed::Decimal(number, scale) })
    };
    let is_float = matches!(a, Computed::Float(_)) || matches!(b, Computed::Float(_));
    let (Some((x, y, scale)), false) = (aligned(a, b), is_float) else {
        return float(operation, a, b);
    };
    match operation {
        Operation::Add => fixed(x.checked_add(y), scale),
        Operation::Subtract => fixed(x.checked_sub(y), scale),
        Operation::Multiply => {
            let product = x.checked_mul(y).ok_or_else(too_large)?;
            // Both have the same digits behind the point now; those that the two did not have are zeros.
            let (own, digits) = (scale_of(a) + scale_of(b), 2 * scale);
            fixed(crate::value::rescale(product, digits, own), own)
        }
        Operation::Remainder if y == 0 => Err(Error::new("a division by zero")),
        Operation::Remainder => fixed(x.checked_rem(y), scale),
        Operation::Divide if y == 0 => Err(Error::new("a division by zero")),
        Operation::Divide if scale == 0 => fixed(x.checked_div(y), 0),
        _ => float(operation, a, b),
    }
}

fn scale_of(number: &Computed<'_>) -> u8 {
    match number {
        Computed::Decimal(_, scale) => *scale,
        _ => 0,
    }
}

fn float<'v>(operation: Operation, a: &Computed<'_>, b: &Computed<'_>) -> Result<Computed<'v>> {
    let (Some(a), Some(b)) = (a.to_float(), b.to_float()) else {
        return Err(Error::new("a number is missing"));
    };
    Ok(Computed::Float(match operation {
        Operation::Add => a + b,
        Operation::Subtract => a - b,
        Operation::Multiply => a * b,
        Operation::Divide => a / b,
        _ => a % b,
    }))
}

fn call<'v>(
    function: Function,
    arguments: &'v [Node],
    row: Row<'v>,
    schema: &Schema,
) -> Result<Computed<'v>> {
    if function == Function::Coalesce {
        for argument in arguments {
            let value = evaluate(argument, row, schema)?;
            if value != Computed::Null {
                return Ok(value);
            }
        }
        return Ok(Computed::Null);
    }
    let values =
        arguments.iter().map(|it| evaluate(it, row, schema)).collect::<Result<Vec<_>>>()?;
    if values.contains(&Computed::Null) {
        return Ok(Computed::Null);
    }
    let text = |index: usize| match values.get(index) {
        Some(Computed::Text(text)) => text.as_ref(),
        _ => "",
    };
    Ok(match function {
        Function::Lower => Computed::Text(text(0).to_lowercase().into()),
        Function::Upper => Computed::Text(text(0).to_uppercase().into()),
        Function::Trim => Computed::Text(text(0).trim().to_owned().into()),
        Function::Length => Computed::Int(text(0).chars().count() as i128),
        Function::StartsWith => Computed::Bool(text(0).starts_with(text(1))),
        Function::EndsWith => Computed::Bool(text(0).ends_with(text(1))),
        Function::Contains => Computed::Bool(text(0).contains(text(1))),
        Function::Concat => Computed::Text((0..values.len()).map(text).collect::<String>().into()),
        Function::Abs => match &values[0] {
            Computed::Int(it) => Computed::Int(it.checked_abs().ok_or_else(too_large)?),
            Computed::Decimal(it, scale) => {
                Computed::Decimal(it.checked_abs().ok_or_else(too_large)?, *scale)
            }
            Computed::Float(it) => Computed::Float(it.abs()),
            _ => Computed::Null,
        },
        Function::Coalesce => Computed::Null,
    })
}

/// By going back to the last `%` where the rest does not fit: the time is at most the product of both.
fn like(text: &[u8], pattern: &[u8]) -> bool {
    let (mut t, mut p) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        match pattern.get(p) {
            Some(b'%') => {
                back = Some((t, p));
                p += 1;
                continue;
            }
            Some(b'_') if t < text.len() => {
                t += width(text[t]);
                p += 1;
                continue;
            }
            Some(letter) if text.get(t) == Some(letter) => {
                t += 1;
                p += 1;
                continue;
            }
            None if t >= text.len() => return true,
            Some(_) | None => {}
        }
        let Some((from, percent)) = back.filter(|(from, _)| *from < text.len()) else {
            return false;
        };
        (t, p) = (from + width(text[from]), percent + 1);
        back = Some((t, percent));
    }
}

/// Bytes of the character that begins with this one.
fn width(first: u8) -> usize {
    match first {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0.. => 4,
    }
}

#[cold]
fn too_large() -> Error {
    Error::new("a number is too large")
}

#[cfg(test)]
mod tests;
