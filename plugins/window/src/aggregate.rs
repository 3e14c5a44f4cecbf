//! Aggregates: `sum(amount) as total`.

use std::collections::BTreeSet;

use floe_sdk::dynamic::{Column, OwnedValue, Row, Schema, Type, Value};
use floe_sdk::{Error, Result, bail};

/// What is computed of each group.
pub(crate) struct Aggregates(Vec<Aggregate>);

struct Aggregate {
    function: Function,
    /// `None`: `count()` counts rows.
    column: Option<usize>,
    /// For decimals, their digits behind the point.
    decimal: Option<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Function {
    Count,
    Sum,
    Min,
    Max,
    Avg,
    Distinct,
}

const FUNCTIONS: [(&str, Function); 6] = [
    ("count", Function::Count),
    ("sum", Function::Sum),
    ("min", Function::Min),
    ("max", Function::Max),
    ("avg", Function::Avg),
    ("distinct", Function::Distinct),
];

/// What is known of a group: nothing at first.
#[derive(Clone, Default)]
pub struct Totals {
    cells: Vec<Cell>,
    /// Groups that became this one: sessions are joined.
    groups: usize,
}

#[derive(Clone)]
enum Cell {
    Count(i64),
    /// Nulls are passed over; the sum of none is null.
    Whole {
        sum: i128,
        count: i64,
    },
    Float {
        sum: f64,
        count: i64,
    },
    Least(Option<OwnedValue>),
    Greatest(Option<OwnedValue>),
    Set(BTreeSet<OwnedValue>),
}

impl Totals {
    pub(crate) fn is_empty(&self) -> bool {
        self.groups == 0
    }

    pub(crate) fn groups(&self) -> usize {
        self.groups
    }
}

impl Aggregates {
    /// Reads `FUNCTION(COLUMN) [as NAME]`, and says which columns they make.
    pub(crate) fn read(texts: &[String], input: &Schema) -> Result<(Aggregates, Vec<Column>)> {
        let (mut aggregates, mut columns) = (Vec::new(), Vec::new());
        for text in texts {
            let (aggregate, column) = read(text, input)
                .map_err(|error| Error::new(format!("{error}, in the aggregate {text:?}")))?;
            aggregates.push(aggregate);
            columns.push(column);
        }
        Ok((Aggregates(aggregates), columns))
    }

    pub(crate) fn add(&self, totals: &mut Totals, row: Row<'_>) {
        if totals.is_empty() {
            totals.groups = 1;
            totals.cells = self.0.iter().map(Aggregate::cell).collect();
        }
        for (aggregate, cell) in self.0.iter().zip(&mut totals.cells) {
            let value = aggregate.column.map(|it| row.get(it));
            if value != Some(Value::Null) {
                aggregate.add(cell, value);
            }
        }
    }

    pub(crate) fn values<'t>(&'t self, totals: &'t Totals) -> impl Iterator<Item = Value<'t>> {
        self.0.iter().zip(&totals.cells).map(|(aggregate, cell)| aggregate.value(cell))
    }
}

fn read(text: &str, input: &Schema) -> Result<(Aggregate, Column)> {
    let wrong = || Error::new("an aggregate is FUNCTION(COLUMN) as NAME");
    let (function, rest) = text.split_once('(').ok_or_else(wrong)?;
    let (argument, rest) = rest.split_once(')').ok_or_else(wrong)?;
    let (function, argument) = (function.trim().to_ascii_lowercase(), argument.trim());
    let Some((_, kind)) = FUNCTIONS.iter().find(|(name, _)| *name == function) else {
        let known = FUNCTIONS.map(|(name, _)| name).join(", ");
        bail!("there is no aggregate {function:?}; known are {known}");
    };
    let name = match rest.trim() {
        "" if argument.is_empty() => function.clone(),
        "" => format!("{function}_{argument}"),
        rest => rest.strip_prefix("as ").ok_or_else(wrong)?.trim().to_owned(),
    };
    let column = match argument {
        "" | "*" if *kind == Function::Count => None,
        "" => bail!("{function} takes a column"),
        argument => Some(input.index(argument)?),
    };
    let ty = column.map(|it| &input.columns[it].ty);
    let number = |ty: &Type| {
        ty.is_integer() && *ty != Type::U64
            || matches!(ty, Type::F32 | Type::F64 | Type::Decimal(..))
    };
    let decimal = match ty {
        Some(Type::Decimal(_, scale)) => Some(*scale),
        _ => None,
    };
    let made = match (kind, ty) {
        (Function::Count, _) | (_, None) => Column::new(name, Type::I64),
        (_, Some(ty @ (Type::List(_) | Type::Struct(_)))) => bail!("{function} of {}", ty.name()),
        (Function::Distinct, _) => Column::new(name, Type::I64),
        (Function::Min | Function::Max, Some(ty)) => Column::new(name, ty.clone()).nullable(),
        (Function::Sum | Function::Avg, Some(ty)) if !number(ty) => {
            bail!("{function} of what is no number: {}", ty.name())
        }
        (Function::Avg, _) | (Function::Sum, Some(Type::F32 | Type::F64)) => {
            Column::new(name, Type::F64).nullable()
        }
        (Function::Sum, Some(Type::Decimal(_, scale))) => {
            Column::new(name, Type::Decimal(38, *scale)).nullable()
        }
        (Function::Sum, _) => Column::new(name, Type::I64).nullable(),
    };
    Ok((Aggregate { function: *kind, column, decimal }, made))
}

impl Aggregate {
    fn cell(&self) -> Cell {
        match self.function {
            Function::Count => Cell::Count(0),
            Function::Sum | Function::Avg => Cell::Whole { sum: 0, count: 0 },
            Function::Min => Cell::Least(None),
            Function::Max => Cell::Greatest(None),
            Function::Distinct => Cell::Set(BTreeSet::new()),
        }
    }

    fn add(&self, cell: &mut Cell, value: Option<Value<'_>>) {
        if let (Cell::Whole { sum: 0, count: 0 }, Some(Value::Float(_))) = (&*cell, value) {
            *cell = Cell::Float { sum: 0.0, count: 0 };
        }
        match (cell, value) {
            (Cell::Count(count), _) => *count += 1,
            (Cell::Whole { sum, count }, Some(Value::Int(it))) => {
                *sum = sum.checked_add(it.into()).unwrap_or_else(|| too_large());
                if self.function == Function::Sum && i64::try_from(*sum).is_err() {
                    too_large();
                }
                *count += 1;
            }
            (Cell::Whole { sum, count }, Some(Value::Decimal(it))) => {
                *sum = sum.checked_add(it).unwrap_or_else(|| too_large());
                *count += 1;
            }
            (Cell::Float { sum, count }, Some(Value::Float(it))) => {
                *sum += it;
                *count += 1;
            }
            (Cell::Least(least), Some(it)) => {
                *least = better(least.take(), OwnedValue::of(it), |a, b| a <= b)
            }
            (Cell::Greatest(most), Some(it)) => {
                *most = better(most.take(), OwnedValue::of(it), |a, b| a >= b)
            }
            (Cell::Set(set), Some(it)) => set.extend(OwnedValue::of(it)),
            (_, _) => {
                unreachable!("the column's type was checked when the operator was opened")
            }
        }
    }

    fn value<'t>(&self, cell: &'t Cell) -> Value<'t> {
        match cell {
            Cell::Count(count) => Value::Int(*count),
            Cell::Whole { count: 0, .. } | Cell::Float { count: 0, .. } => Value::Null,
            Cell::Whole { sum, count } => match (self.function, self.decimal) {
                (Function::Avg, decimal) => {
                    let power = 10f64.powi(decimal.unwrap_or(0).into());
                    Value::Float(*sum as f64 / *count as f64 / power)
                }
                (_, Some(_)) => Value::Decimal(*sum),
                // It was held within 64 bits when it was added.
                (_, None) => Value::Int(*sum as i64),
            },
            Cell::Float { sum, count } => match self.function {
                Function::Avg => Value::Float(sum / *count as f64),
                _ => Value::Float(*sum),
            },
            Cell::Least(found) | Cell::Greatest(found) => {
                found.as_ref().map_or(Value::Null, OwnedValue::value)
            }
            Cell::Set(set) => Value::Int(set.len() as i64),
        }
    }
}

impl Totals {
    /// Joins two groups that turned out to be one.
    pub fn merge(&mut self, other: Totals) {
        if self.is_empty() {
            *self = other;
            return;
        }
        self.groups += other.groups;
        for (mine, other) in self.cells.iter_mut().zip(other.cells) {
            mine.merge(other);
        }
    }
}

impl Cell {
    fn merge(&mut self, other: Cell) {
        match (self, other) {
            (Cell::Count(mine), Cell::Count(other)) => *mine += other,
            (Cell::Whole { sum, count }, Cell::Whole { sum: more, count: others }) => {
                *sum = sum.checked_add(more).unwrap_or_else(|| too_large());
                *count += others;
            }
            (Cell::Float { sum, count }, Cell::Float { sum: more, count: others }) => {
                *sum += more;
                *count += others;
            }
            (Cell::Set(mine), Cell::Set(other)) => mine.extend(other),
            (mine @ Cell::Whole { count: 0, .. }, other @ Cell::Float { .. }) => *mine = other,
            (Cell::Float { .. }, Cell::Whole { .. }) => {}
            (Cell::Least(mine), Cell::Least(other)) => {
                *mine = better(mine.take(), other, |a, b| a <= b);
            }
            (Cell::Greatest(mine), Cell::Greatest(other)) => {
                *mine = better(mine.take(), other, |a, b| a >= b);
            }
            (_, _) => unreachable!("both are of one aggregate"),
        }
    }
}

fn better(
    a: Option<OwnedValue>,
    b: Option<OwnedValue>,
    is_better: fn(&OwnedValue, &OwnedValue) -> bool,
) -> Option<OwnedValue> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if is_better(&a, &b) { a } else { b }),
        (a, b) => a.or(b),
    }
}

/// A trap and not a rejection: the host then undoes all that the record changed, in every window.
#[cold]
fn too_large() -> ! {
    panic!("a sum is too large for its column")
}
