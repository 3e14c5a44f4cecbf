//! The header of a record, as the column `_headers` has it.

use crate::Row;

/// A header of the record: `#[row(name = "_headers")] headers: Vec<Header<'a>>`.
#[derive(Row, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name; several headers may have the same.
    pub name: &'a str,
    /// Its value, if it has one.
    pub value: Option<&'a [u8]>,
}
