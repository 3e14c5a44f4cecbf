//! What an operator emits: rows of one type, or of several outputs, each with a type of its own.

use crate::row::{Column, Field, Row, Value};

/// The outputs of an operator: a row that derives [`Row`], or a tuple of two to four of them.
///
/// The first goes to the next operator or to the sink; the others are named in the pipeline file, by
/// their rows' names.
pub trait Outputs {
    /// The rows of the first output.
    type First: Row;

    /// Where rows wait to be handed over.
    #[doc(hidden)]
    type Columns: Default;

    /// How many rows wait, in each.
    #[doc(hidden)]
    type Mark: Copy;

    #[doc(hidden)]
    fn first(columns: &mut Self::Columns) -> &mut <Self::First as Value>::Column;

    #[doc(hidden)]
    fn mark(columns: &Self::Columns) -> Self::Mark;

    /// In all outputs.
    #[doc(hidden)]
    fn rows(columns: &Self::Columns) -> usize;

    #[doc(hidden)]
    fn take_back_to(columns: &mut Self::Columns, mark: Self::Mark);

    #[doc(hidden)]
    fn bytes(columns: &Self::Columns) -> usize;

    #[doc(hidden)]
    fn hand_over(columns: &mut Self::Columns, host: &mut impl Host);

    /// Names and schemas, in order.
    #[doc(hidden)]
    fn described() -> Vec<(&'static str, Field)>;
}

/// The output number `N` of several, from 0.
pub trait OutputAt<const N: usize>: Outputs {
    /// Its rows.
    type Row: Row;

    #[doc(hidden)]
    fn column(columns: &mut Self::Columns) -> &mut <Self::Row as Value>::Column;
}

/// What takes rows and rejections.
#[doc(hidden)]
pub trait Host {
    /// Takes all rows out of the columns.
    fn emit<R: Row>(&mut self, output: usize, columns: &mut R::Column);
    fn reject(&mut self, row: usize, reason: &str);
}

impl<R: Row> Outputs for R {
    type First = R;
    type Columns = R::Column;
    type Mark = usize;

    #[inline]
    fn first(columns: &mut R::Column) -> &mut R::Column {
        columns
    }
    #[inline]
    fn mark(columns: &R::Column) -> usize {
        columns.rows()
    }
    #[inline]
    fn rows(columns: &R::Column) -> usize {
        columns.rows()
    }
    fn take_back_to(columns: &mut R::Column, mark: usize) {
        columns.truncate(mark);
    }
    fn bytes(columns: &R::Column) -> usize {
        columns.bytes()
    }
    fn hand_over(columns: &mut R::Column, host: &mut impl Host) {
        if columns.rows() > 0 {
            host.emit::<R>(0, columns);
        }
    }
    fn described() -> Vec<(&'static str, Field)> {
        vec![(R::NAME, R::field(""))]
    }
}

impl<R: Row> OutputAt<0> for R {
    type Row = R;

    #[inline]
    fn column(columns: &mut R::Column) -> &mut R::Column {
        columns
    }
}

/// The outputs of a tuple: its size, and for each of its rows the type and the place.
macro_rules! outputs {
    ($count:literal: $($row:ident $index:tt),+) => {
        impl<$($row: Row),+> Outputs for ($($row,)+) {
            type First = A;
            type Columns = ($($row::Column,)+);
            type Mark = [usize; $count];

            #[inline]
            fn first(columns: &mut Self::Columns) -> &mut A::Column {
                &mut columns.0
            }
            #[inline]
            fn mark(columns: &Self::Columns) -> Self::Mark {
                [$(columns.$index.rows()),+]
            }
            #[inline]
            fn rows(columns: &Self::Columns) -> usize {
                0 $(+ columns.$index.rows())+
            }
            fn take_back_to(columns: &mut Self::Columns, mark: Self::Mark) {
                $(columns.$index.truncate(mark[$index]);)+
            }
            fn bytes(columns: &Self::Columns) -> usize {
                0 $(+ columns.$index.bytes())+
            }
            fn hand_over(columns: &mut Self::Columns, host: &mut impl Host) {
                $(if columns.$index.rows() > 0 {
                    host.emit::<$row>($index, &mut columns.$index);
                })+
            }
            fn described() -> Vec<(&'static str, Field)> {
                vec![$(($row::NAME, $row::field(""))),+]
            }
        }
        outputs!(@ ($($row),+) $($row $index),+);
    };
    (@ $all:tt $($row:ident $index:tt),+) => {
        $(outputs!(# $all $row $index);)+
    };
    (# ($($all:ident),+) $at:ident $index:tt) => {
        impl<$($all: Row),+> OutputAt<$index> for ($($all,)+) {
            type Row = $at;

            #[inline]
            fn column(columns: &mut Self::Columns) -> &mut $at::Column {
                &mut columns.$index
            }
        }
    };
}

outputs!(2: A 0, B 1);
outputs!(3: A 0, B 1, C 2);
outputs!(4: A 0, B 1, C 2, D 3);
