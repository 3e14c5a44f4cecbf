//! How a Rust type is a column: its Arrow schema, how it is read, and how it is written.
//!
//! `#[derive(Row)]` implements all of this. Nobody needs to write it by hand.

use crate::abi::{ArrayView, Exported};

/// A struct whose fields are columns: `#[derive(Row)]`.
///
/// Fields may be any [`Value`]; `#[row(name = "…")]` names a column differently from its field. Names
/// with a leading `_` are fields of the record: `_topic`, `_partition`, `_offset`, `_timestamp`, `_key`,
/// `_value`, `_headers`. A struct with one lifetime borrows its text from the batch.
pub trait Row: Value {
    /// The name of the struct; for an output row, the output's name.
    const NAME: &'static str;
}

/// A type that a field of a row can have.
///
/// `bool`, `i8` to `i64`, `u8` to `u64`, `f32`, `f64`, `String`, `&str`, `Cow<str>`, `Vec<u8>`, `&[u8]`,
/// `[u8; N]`, the types of [`crate::types`], a struct that derives `Row`, `Vec` of any of them, and
/// `Option` of any of them, which is a column that may be null.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a column",
    note = "columns are bool, i8..i64, u8..u64, f32, f64, String, &str, Vec<u8>, &[u8], [u8; N]",
    note = "or Timestamp, Date, Decimal<P, S>, a struct that derives Row, and Vec<_> and Option<_> of these"
)]
pub trait Value {
    /// The same type with its borrows at `'b`: `&'a str` becomes `&'b str`, `String` stays.
    type Of<'b>: Value<Column = Self::Column>;

    /// Where values wait to be emitted.
    type Column: Column;

    /// A column of the input batch.
    type Reader<'b>;

    /// May the column be null?
    #[doc(hidden)]
    const NULLABLE: bool = false;

    /// The column's schema.
    #[doc(hidden)]
    fn field(name: &str) -> Field;

    /// Appends the value to a column.
    #[doc(hidden)]
    fn append(self, column: &mut Self::Column);

    /// Looks at an array of this type's schema.
    #[doc(hidden)]
    fn reader<'b>(array: ArrayView<'b>) -> Self::Reader<'b>;

    /// Reads a row that is not null (or, for an `Option`, any row).
    #[doc(hidden)]
    fn read<'b>(reader: &Self::Reader<'b>, row: usize) -> Self::Of<'b>;
}

/// Rows of one column, waiting to be emitted.
#[doc(hidden)]
pub trait Column: Default + 'static {
    /// Is a list of it binary? So for `u8` alone.
    const LIST_IS_BINARY: bool = false;

    /// Appends a row of no meaning, below a null.
    fn push_empty(&mut self);

    fn rows(&self) -> usize;

    /// Takes the last rows back.
    fn truncate(&mut self, rows: usize);

    /// The size of what waits.
    fn bytes(&self) -> usize;

    /// Forgets the rows, keeps the allocation and writes zeros over it: a page of zeros costs a
    /// checkpoint nothing, and what was emitted is no state.
    fn clear(&mut self);

    /// The rows as an array of the Arrow C Data Interface that borrows them.
    fn export(&self) -> Exported<'_>;
}

/// The Arrow schema of a column: name, format of the C Data Interface, children.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub format: String,
    pub nullable: bool,
    pub children: Vec<Field>,
}

impl Field {
    #[doc(hidden)]
    pub fn new(name: &str, format: impl Into<String>, children: Vec<Field>) -> Self {
        Field { name: name.to_owned(), format: format.into(), nullable: false, children }
    }
}
