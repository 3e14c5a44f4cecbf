//! The columns that rows are made of: each kind appends, exports and reads its Arrow layout.

pub(crate) mod bits;
pub(crate) mod primitive;
pub(crate) mod boolean;
pub(crate) mod text;
mod fixed;
mod list;
mod nullable;
