//! What an expression will be, before there is a row: mistakes are found when the pipeline starts.

use floe_sdk::dynamic::{Schema, Type, Unit};
use floe_sdk::{Error, Result};

use crate::parse::{Function, Node, Operation};

/// What values a column or an expression has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The literal `null`: it goes with anything.
    Null,
    Bool,
    Int,
    Decimal,
    Float,
    Text,
    Bytes,
    Time,
    Other,
}

impl Kind {
    pub(crate) fn of(ty: &Type) -> Kind {
        match ty {
            Type::Boolean => Kind::Bool,
            Type::F32 | Type::F64 => Kind::Float,
            Type::Text => Kind::Text,
            Type::Bytes | Type::Fixed(_) => Kind::Bytes,
            Type::Date | Type::Timestamp(..) => Kind::Time,
            Type::Decimal(..) => Kind::Decimal,
            Type::Time | Type::List(_) | Type::Struct(_) => Kind::Other,
            integer => {
                debug_assert!(integer.is_integer());
                Kind::Int
            }
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Kind::Int | Kind::Decimal | Kind::Float | Kind::Null)
    }

    /// For messages.
    fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Int => "a whole number",
            Kind::Decimal => "a decimal number",
            Kind::Float => "a floating number",
            Kind::Text => "a text",
            Kind::Bytes => "bytes",
            Kind::Time => "a time",
            Kind::Other => "a list, a struct or a time of day",
        }
    }

    fn compares_with(self, other: Kind) -> bool {
        let null = self == Kind::Null || other == Kind::Null;
        null || (self == other && self != Kind::Other) || (self.is_number() && other.is_number())
    }
}

/// The type that an expression's column gets when none is said; and may it be null?
pub(crate) fn type_of(node: &Node, schema: &Schema) -> Result<(Type, bool)> {
    if let Node::Column(path) = node {
        let (ty, nullable) = column(path, schema);
        return Ok((ty.clone(), nullable));
    }
    let ty = match kind_of(node, schema)? {
        Kind::Bool => Type::Boolean,
        Kind::Int => Type::I64,
        Kind::Decimal => Type::Decimal(38, scale_of(node, schema)),
        Kind::Float => Type::F64,
        Kind::Text => Type::Text,
        Kind::Bytes => Type::Bytes,
        Kind::Time => Type::Timestamp(Unit::Micros, Some("UTC".to_owned())),
        Kind::Null | Kind::Other => {
            return Err(Error::new("a type must be said behind it, such as \": long\""));
        }
    };
    Ok((ty, is_nullable(node, schema)))
}

/// A column, or a member of a struct; the path was made of this schema.
pub(crate) fn column<'s>(path: &[usize], schema: &'s Schema) -> (&'s Type, bool) {
    let (mut ty, mut nullable) = (&schema.columns[path[0]].ty, schema.columns[path[0]].nullable);
    for step in &path[1..] {
        if let Type::Struct(inner) = ty {
            nullable |= inner.columns[*step].nullable;
            ty = &inner.columns[*step].ty;
        }
    }
    (ty, nullable)
}

fn scale_of(node: &Node, schema: &Schema) -> u8 {
    match node {
        Node::Column(path) => match column(path, schema).0 {
            Type::Decimal(_, scale) => *scale,
            _ => 0,
        },
        Node::Decimal(_, scale) => *scale,
        Node::Binary(Operation::Multiply, a, b) => {
            (scale_of(a, schema) + scale_of(b, schema)).min(38)
        }
        Node::Binary(_, a, b) => scale_of(a, schema).max(scale_of(b, schema)),
        Node::Negate(it) => scale_of(it, schema),
        Node::Call(_, arguments) => {
            arguments.iter().map(|it| scale_of(it, schema)).max().unwrap_or(0)
        }
        _ => 0,
    }
}

fn is_nullable(node: &Node, schema: &Schema) -> bool {
    match node {
        Node::Null => true,
        Node::Bool(_)
        | Node::Int(_)
        | Node::Decimal(..)
        | Node::Float(_)
        | Node::Text(_)
        | Node::Time(_)
        | Node::IsNull(..) => false,
        Node::Column(path) => column(path, schema).1,
        Node::Not(it) | Node::Negate(it) | Node::Like(it, _) => is_nullable(it, schema),
        Node::In(it, items) => {
            is_nullable(it, schema) || items.iter().any(|it| is_nullable(it, schema))
        }
        Node::Binary(_, a, b) => is_nullable(a, schema) || is_nullable(b, schema),
        Node::Call(Function::Coalesce, arguments) => {
            arguments.iter().all(|it| is_nullable(it, schema))
        }
        Node::Call(_, arguments) => arguments.iter().any(|it| is_nullable(it, schema)),
    }
}

pub(crate) fn kind_of(node: &Node, schema: &Schema) -> Result<Kind> {
    Ok(match node {
        Node::Null => Kind::Null,
        Node::Bool(_) | Node::IsNull(..) => Kind::Bool,
        Node::Int(_) => Kind::Int,
        Node::Decimal(..) => Kind::Decimal,
        Node::Float(_) => Kind::Float,
        Node::Text(_) => Kind::Text,
        Node::Time(_) => Kind::Time,
        Node::Column(path) => Kind::of(column(path, schema).0),
        Node::Not(it) => expect(it, schema, "not", Kind::Bool)?,
        Node::Negate(it) => number("-", kind_of(it, schema)?)?,
        Node::Like(it, _) => {
            expect(it, schema, "like", Kind::Text)?;
            Kind::Bool
        }
        Node::In(it, items) => {
            let kind = kind_of(it, schema)?;
            items.iter().try_for_each(|it| comparable("in", kind, kind_of(it, schema)?))?;
            Kind::Bool
        }
        Node::Binary(operation, a, b) => {
            let (a, b) = (kind_of(a, schema)?, kind_of(b, schema)?);
            binary(*operation, a, b)?
        }
        Node::Call(function, arguments) => call(*function, arguments, schema)?,
    })
}

fn binary(operation: Operation, a: Kind, b: Kind) -> Result<Kind> {
    let sign = operation.sign();
    match operation {
        Operation::And | Operation::Or => {
            for kind in [a, b] {
                if !matches!(kind, Kind::Bool | Kind::Null) {
                    return Err(wrong(sign, "true or false", kind));
                }
            }
            Ok(Kind::Bool)
        }
        Operation::Equal
        | Operation::NotEqual
        | Operation::Less
        | Operation::LessOrEqual
        | Operation::Greater
        | Operation::GreaterOrEqual => comparable(sign, a, b).map(|()| Kind::Bool),
        Operation::Add
        | Operation::Subtract
        | Operation::Multiply
        | Operation::Divide
        | Operation::Remainder => {
            number(sign, a)?;
            number(sign, b)?;
            Ok(match (a, b) {
                (Kind::Float, _) | (_, Kind::Float) => Kind::Float,
                (Kind::Decimal, _) | (_, Kind::Decimal) if operation == Operation::Divide => {
                    Kind::Float
                }
                (Kind::Decimal, _) | (_, Kind::Decimal) => Kind::Decimal,
                _ => Kind::Int,
            })
        }
    }
}

fn call(function: Function, arguments: &[Node], schema: &Schema) -> Result<Kind> {
    let name = function.name();
    let kinds = arguments.iter().map(|it| kind_of(it, schema)).collect::<Result<Vec<_>>>()?;
    let text = |index: usize| match kinds[index] {
        Kind::Text | Kind::Null => Ok(()),
        other => Err(wrong(name, "a text", other)),
    };
    match function {
        Function::Lower | Function::Upper | Function::Trim => text(0).map(|()| Kind::Text),
        Function::Length => text(0).map(|()| Kind::Int),
        Function::StartsWith | Function::EndsWith | Function::Contains => {
            text(0)?;
            text(1).map(|()| Kind::Bool)
        }
        Function::Concat => {
            (0..kinds.len()).try_for_each(text)?;
            Ok(Kind::Text)
        }
        Function::Abs => number(name, kinds[0]),
        Function::Coalesce => {
            let first = kinds.iter().copied().find(|it| *it != Kind::Null).unwrap_or(Kind::Null);
            match kinds.iter().find(|it| **it != first && **it != Kind::Null) {
                None => Ok(first),
                Some(other) => Err(wrong(name, first.name(), *other)),
            }
        }
    }
}

fn expect(node: &Node, schema: &Schema, sign: &str, wanted: Kind) -> Result<Kind> {
    match kind_of(node, schema)? {
        kind if kind == wanted || kind == Kind::Null => Ok(wanted),
        other => Err(wrong(sign, wanted.name(), other)),
    }
}

fn number(sign: &str, kind: Kind) -> Result<Kind> {
    if kind.is_number() { Ok(kind) } else { Err(wrong(sign, "a number", kind)) }
}

fn comparable(sign: &str, a: Kind, b: Kind) -> Result<()> {
    match a.compares_with(b) {
        true => Ok(()),
        false => Err(Error::new(format!("{sign} compares {} with {}", a.name(), b.name()))),
    }
}

fn wrong(sign: &str, wanted: &str, found: Kind) -> Error {
    Error::new(format!("{sign} takes {wanted}, and here is {}", found.name()))
}
