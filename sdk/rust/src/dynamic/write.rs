//! Rows that go out, by columns whose types are known when the pipeline starts.

use crate::abi::Exported;
use crate::column::bits::{Bits, clear_to_zero};
use crate::column::boolean::BooleanColumn;
use crate::column::primitive::PrimitiveColumn;
use crate::column::text::{BytesColumn, end_offset};
use crate::dynamic::schema::{Column as Declared, Schema, Type};
use crate::dynamic::value::Value;
use crate::error::{Error, Result};
use crate::row::Column;

/// Where rows go out. They are kept as columns and handed over once a batch.
pub struct Out {
    outputs: Vec<Rows>,
}

/// Rows are handed over in the middle of a batch beyond this.
const WAITING_BYTES_MAX: usize = 8 << 20;

impl Out {
    pub(crate) fn new(outputs: &[(String, Schema)]) -> Self {
        Out { outputs: outputs.iter().map(|(_, schema)| Rows::new(schema)).collect() }
    }

    /// Emits a row on the first output: one value for each of its columns.
    pub fn emit<'v>(&mut self, row: impl IntoIterator<Item = Value<'v>>) -> Result<()> {
        self.emit_to(0, row)
    }

    /// Emits a row on an output.
    pub fn emit_to<'v>(
        &mut self,
        output: usize,
        row: impl IntoIterator<Item = Value<'v>>,
    ) -> Result<()> {
        self.outputs[output].push(row)
    }

    /// How many rows wait in each output.
    pub(crate) fn rows(&self, before: &mut Vec<usize>) {
        before.clear();
        before.extend(self.outputs.iter().map(|it| it.rows));
    }

    #[cold]
    pub(crate) fn take_back_to(&mut self, before: &[usize]) {
        self.outputs.iter_mut().zip(before).for_each(|(it, rows)| it.truncate(*rows));
    }

    pub(crate) fn is_large(&self) -> bool {
        self.outputs.iter().any(|it| it.bytes() > WAITING_BYTES_MAX)
    }

    /// Hands out what waits: `take` gets the output's number and its rows.
    pub(crate) fn hand_over(&mut self, mut take: impl FnMut(usize, &mut Exported<'_>)) {
        for (index, rows) in self.outputs.iter_mut().enumerate().filter(|(_, it)| it.rows > 0) {
            take(index, &mut rows.export());
            rows.clear();
        }
    }
}

pub(crate) struct Rows {
    columns: Vec<Builder>,
    names: Vec<String>,
    rows: usize,
}

impl Rows {
    pub(crate) fn new(schema: &Schema) -> Self {
        Rows {
            columns: schema.columns.iter().map(Builder::new).collect(),
            names: schema.columns.iter().map(|it| it.name.clone()).collect(),
            rows: 0,
        }
    }

    pub(crate) fn push<'v>(&mut self, row: impl IntoIterator<Item = Value<'v>>) -> Result<()> {
        let mut values = row.into_iter();
        for index in 0..self.columns.len() {
            let pushed = match values.next() {
                Some(value) => self.columns[index].push(value),
                None => Err("has no value"),
            };
            if let Err(wrong) = pushed {
                self.truncate(self.rows);
                return Err(Error::new(format!("column {:?} {wrong}", self.names[index])));
            }
        }
        self.rows += 1;
        match values.next() {
            None => Ok(()),
            Some(_) => Err(Error::new("a row has more values than columns")),
        }
    }

    fn truncate(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|it| it.truncate(rows));
        self.rows = rows;
    }

    fn bytes(&self) -> usize {
        self.columns.iter().map(Builder::bytes).sum()
    }

    fn clear(&mut self) {
        self.columns.iter_mut().for_each(Builder::clear);
        self.rows = 0;
    }

    pub(crate) fn export(&self) -> Exported<'_> {
        let root = Exported::new(self.rows);
        self.columns.iter().fold(root, |root, it| root.child(it.export()))
    }
}

/// A column under construction.
struct Builder {
    nullable: bool,
    validity: Bits,
    cells: Cells,
}

enum Cells {
    Bool(BooleanColumn),
    I8(PrimitiveColumn<i8>),
    I16(PrimitiveColumn<i16>),
    I32(PrimitiveColumn<i32>),
    I64(PrimitiveColumn<i64>),
    U8(PrimitiveColumn<u8>),
    U16(PrimitiveColumn<u16>),
    U32(PrimitiveColumn<u32>),
    U64(PrimitiveColumn<u64>),
    F32(PrimitiveColumn<f32>),
    F64(PrimitiveColumn<f64>),
    Decimal(PrimitiveColumn<i128>, u8),
    Text(BytesColumn),
    Bytes(BytesColumn),
    Fixed { width: usize, rows: usize, bytes: Vec<u8> },
    List { offsets: Vec<i32>, items: Box<Builder> },
    Struct { rows: usize, members: Vec<Builder> },
}

/// Does the same to each kind of column.
macro_rules! each {
    ($cells:expr, $it:ident => $do:expr, $fixed:pat => $do_fixed:expr,
     $list:pat => $do_list:expr, $struct:pat => $do_struct:expr) => {
        match $cells {
            Cells::Bool($it) => $do,
            Cells::I8($it) => $do,
            Cells::I16($it) => $do,
            Cells::I32($it) => $do,
            Cells::I64($it) => $do,
            Cells::U8($it) => $do,
            Cells::U16($it) => $do,
            Cells::U32($it) => $do,
            Cells::U64($it) => $do,
            Cells::F32($it) => $do,
            Cells::F64($it) => $do,
            Cells::Decimal($it, _) => $do,
            Cells::Text($it) | Cells::Bytes($it) => $do,
            $fixed => $do_fixed,
            $list => $do_list,
            $struct => $do_struct,
        }
    };
}

const OUT_OF_RANGE: &str = "is out of its type's range";

impl Builder {
    fn new(column: &Declared) -> Self {
        let cells = match &column.ty {
            Type::Boolean => Cells::Bool(Default::default()),
            Type::I8 => Cells::I8(Default::default()),
            Type::I16 => Cells::I16(Default::default()),
            Type::I32 | Type::Date => Cells::I32(Default::default()),
            Type::I64 | Type::Time | Type::Timestamp(..) => Cells::I64(Default::default()),
            Type::U8 => Cells::U8(Default::default()),
            Type::U16 => Cells::U16(Default::default()),
            Type::U32 => Cells::U32(Default::default()),
            Type::U64 => Cells::U64(Default::default()),
            Type::F32 => Cells::F32(Default::default()),
            Type::F64 => Cells::F64(Default::default()),
            Type::Decimal(precision, _) => Cells::Decimal(Default::default(), *precision),
            Type::Text => Cells::Text(Default::default()),
            Type::Bytes => Cells::Bytes(Default::default()),
            Type::Fixed(width) => Cells::Fixed { width: *width, rows: 0, bytes: Vec::new() },
            Type::List(item) => {
                Cells::List { offsets: vec![0], items: Box::new(Builder::new(item)) }
            }
            Type::Struct(inner) => {
                let members = inner.columns.iter().map(Builder::new).collect();
                Cells::Struct { rows: 0, members }
            }
        };
        Builder { nullable: column.nullable, validity: Bits::default(), cells }
    }

    /// After an error the column may have half a value: the row is taken back.
    fn push(&mut self, value: Value<'_>) -> Result<(), &'static str> {
        let is_null = value == Value::Null;
        if is_null && !self.nullable {
            return Err("must not be null");
        }
        if self.nullable {
            self.validity.push(!is_null);
        }
        if is_null {
            self.push_empty();
            return Ok(());
        }
        match (&mut self.cells, value) {
            (Cells::Bool(column), Value::Bool(it)) => column.push(it),
            (Cells::I8(column), Value::Int(it)) => column.push(narrow(it)?),
            (Cells::I16(column), Value::Int(it)) => column.push(narrow(it)?),
            (Cells::I32(column), Value::Int(it)) => column.push(narrow(it)?),
            (Cells::I64(column), Value::Int(it)) => column.push(it),
            (Cells::U8(column), Value::Int(it)) => column.push(narrow(it)?),
            (Cells::U16(column), Value::Int(it)) => column.push(narrow(it)?),
            (Cells::U32(column), Value::Int(it)) => column.push(narrow(it)?),
            (Cells::U64(column), Value::Int(it)) => column.push(narrow(it)?),
            (Cells::U64(column), Value::UInt(it)) => column.push(it),
            (Cells::I64(column), Value::UInt(it)) => {
                column.push(i64::try_from(it).map_err(|_| OUT_OF_RANGE)?);
            }
            (Cells::F32(column), Value::Float(it)) => column.push(it as f32),
            (Cells::F64(column), Value::Float(it)) => column.push(it),
            (Cells::Decimal(column, precision), Value::Decimal(it)) => {
                if it.unsigned_abs() >= 10u128.pow((*precision).into()) {
                    return Err("has more digits than its type");
                }
                column.push(it);
            }
            (Cells::Text(column), Value::Text(it)) => column.push(it.as_bytes()),
            (Cells::Bytes(column), Value::Bytes(it)) => column.push(it),
            (Cells::Bytes(column), Value::Text(it)) => column.push(it.as_bytes()),
            (Cells::Fixed { width, rows, bytes }, Value::Bytes(it)) => {
                if it.len() != *width {
                    return Err("has another length than its type");
                }
                bytes.extend_from_slice(it);
                *rows += 1;
            }
            (Cells::List { offsets, items }, Value::List(list)) => {
                list.items().try_for_each(|it| items.push(it))?;
                offsets.push(end_offset(items.rows()));
            }
            (Cells::Struct { rows, members }, Value::Struct(values)) => {
                *rows += 1;
                members.iter_mut().zip(values.members()).try_for_each(|(to, it)| to.push(it))?;
            }
            _ => return Err("is of another type"),
        }
        Ok(())
    }

    /// A cell of no meaning, below a null.
    fn push_empty(&mut self) {
        each!(&mut self.cells, it => it.push_empty(),
            Cells::Fixed { width, rows, bytes } => {
                bytes.resize(bytes.len() + *width, 0);
                *rows += 1;
            },
            Cells::List { offsets, items } => offsets.push(end_offset(items.rows())),
            Cells::Struct { rows, members } => {
                *rows += 1;
                for member in members {
                    // Arrow lets a member be null where its struct is, whatever the member says.
                    if member.nullable {
                        member.validity.push(false);
                    }
                    member.push_empty();
                }
            }
        );
    }

    fn rows(&self) -> usize {
        each!(&self.cells, it => it.rows(), Cells::Fixed { rows, .. } => *rows,
            Cells::List { offsets, .. } => offsets.len() - 1, Cells::Struct { rows, .. } => *rows)
    }

    fn truncate(&mut self, rows: usize) {
        if self.nullable {
            self.validity.truncate(rows);
        }
        each!(&mut self.cells, it => it.truncate(rows.min(it.rows())),
            Cells::Fixed { width, rows: have, bytes } => {
                bytes.truncate(rows * *width);
                *have = rows.min(*have);
            },
            Cells::List { offsets, items } => {
                offsets.truncate(rows + 1);
                let end = offsets.last().map_or(0, |it| *it as usize);
                items.truncate(end);
            },
            Cells::Struct { rows: have, members } => {
                members.iter_mut().for_each(|it| it.truncate(rows));
                *have = rows.min(*have);
            }
        );
    }

    fn bytes(&self) -> usize {
        self.validity.as_bytes().len()
            + each!(&self.cells, it => it.bytes(), Cells::Fixed { bytes, .. } => bytes.len(),
                Cells::List { offsets, items } => 4 * offsets.len() + items.bytes(),
                Cells::Struct { members, .. } => members.iter().map(Builder::bytes).sum())
    }

    fn clear(&mut self) {
        self.validity.clear();
        each!(&mut self.cells, it => it.clear(),
            Cells::Fixed { rows, bytes, .. } => {
                clear_to_zero(bytes);
                *rows = 0;
            },
            Cells::List { offsets, items } => {
                clear_to_zero(offsets);
                offsets.push(0);
                items.clear();
            },
            Cells::Struct { rows, members } => {
                *rows = 0;
                members.iter_mut().for_each(Builder::clear);
            }
        );
    }

    fn export(&self) -> Exported<'_> {
        let array = each!(&self.cells, it => it.export(),
            Cells::Fixed { rows, bytes, .. } => Exported::new(*rows).buffer(bytes),
            Cells::List { offsets, items } => {
                Exported::new(offsets.len() - 1).buffer(offsets).child(items.export())
            },
            Cells::Struct { rows, members } => {
                let root = Exported::new(*rows);
                members.iter().fold(root, |root, it| root.child(it.export()))
            }
        );
        match (self.nullable, self.validity.zero_count()) {
            (false, _) | (true, 0) => array,
            (true, nulls) => array.nulls(nulls, self.validity.as_bytes()),
        }
    }
}

fn narrow<T: TryFrom<i64>>(value: i64) -> Result<T, &'static str> {
    T::try_from(value).map_err(|_| OUT_OF_RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::view_exported;
    use crate::dynamic::value::{Row, readers};

    fn schema(types: &[&str]) -> Schema {
        let column = |(index, it): (usize, &&str)| {
            let (ty, nullable) = Type::parse(it).unwrap();
            Declared { name: format!("c{index}"), ty, nullable }
        };
        Schema { columns: types.iter().enumerate().map(column).collect() }
    }

    #[test]
    fn what_is_emitted_reads_as_it_was_and_can_be_emitted_again() {
        let flat = schema(&["long", "string?", "boolean?", "decimal(5,2)", "fixed(2)?", "ulong"]);
        let mut out = Rows::new(&flat);
        let rows = [
            [Value::Int(-1), Value::Text("ü"), Value::Bool(true), Value::Decimal(-12345)],
            [Value::Int(2), Value::Null, Value::Null, Value::Decimal(0)],
        ];
        let rest = [[Value::Bytes(b"ab"), Value::UInt(u64::MAX)], [Value::Null, Value::Int(7)]];
        for (row, rest) in rows.iter().zip(&rest) {
            out.push(row.iter().chain(rest).copied()).unwrap();
        }
        // Each of these is refused by its last value, and leaves nothing behind.
        for wrong in [Value::Int(-1), Value::Null, Value::Text("x")] {
            let row =
                rows[0].iter().chain(&[Value::Bytes(b"zz"), wrong]).copied().collect::<Vec<_>>();
            assert!(out.push(row).is_err(), "{wrong:?}");
        }
        assert_eq!(out.rows, 2);
        let mut exported = out.export();
        let readers = readers(&flat, view_exported(&mut exported));
        assert!(Row::new(&readers, 0).values().eq(rows[0].iter().chain(&rest[0]).copied()));
        let second: Vec<_> = Row::new(&readers, 1).values().collect();
        assert_eq!(second[..5], [rows[1][0], rows[1][1], rows[1][2], rows[1][3], Value::Null]);
        assert_eq!(second[5], Value::UInt(7));
        let mut again = Rows::new(&flat);
        again.push(second.iter().copied()).unwrap();
        assert_eq!(again.rows, 1);
    }

    #[test]
    fn lists_and_structs_go_through_and_are_taken_back() {
        // A list of structs is made of one row, three times, the third taken back.
        let inner = schema(&["long", "string?"]);
        let source =
            Schema { columns: vec![Declared::new("s", Type::Struct(inner.clone())).nullable()] };
        let mut rows = Rows::new(&inner);
        rows.push([Value::Int(5), Value::Null]).unwrap();
        let mut exported = rows.export();
        let members = readers(&inner, view_exported(&mut exported));
        let values: Vec<_> = Row::new(&members, 0).values().collect();
        assert_eq!(values, [Value::Int(5), Value::Null]);
        let mut out = Rows::new(&source);
        out.push([Value::Null]).unwrap();
        out.push([Value::Null]).unwrap();
        out.truncate(1);
        assert_eq!((out.rows, out.columns[0].rows()), (1, 1));
        let mut exported = out.export();
        let read = readers(&source, view_exported(&mut exported));
        assert_eq!(Row::new(&read, 0).get(0), Value::Null);
        assert!(
            matches!(out.push([Value::Int(1)]), Err(error) if error.text().contains("another type"))
        );
        assert_eq!(out.columns[0].rows(), 1);
    }
}
