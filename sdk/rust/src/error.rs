//! Why a row is not taken.

use std::borrow::Cow;
use std::fmt;

/// The result of an operator's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a row is rejected, in words. Any `std::error::Error` becomes one with `?`.
pub struct Error(Box<Cow<'static, str>>);

impl Error {
    /// An error with this text.
    #[cold]
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Error(Box::new(text.into()))
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl<E: std::error::Error> From<E> for Error {
    #[cold]
    fn from(error: E) -> Self {
        Error::new(error.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Rejects this record: `bail!("unknown currency {currency}")`.
#[macro_export]
macro_rules! bail {
    ($($text:tt)+) => {
        return ::core::result::Result::Err($crate::Error::new(::std::format!($($text)+)))
    };
}

/// Rejects this record unless the condition holds: `ensure!(amount >= 0, "negative amount {amount}")`.
#[macro_export]
macro_rules! ensure {
    ($condition:expr $(,)?) => {
        $crate::ensure!($condition, "{}", ::core::stringify!($condition))
    };
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            $crate::bail!($($text)+);
        }
    };
}
