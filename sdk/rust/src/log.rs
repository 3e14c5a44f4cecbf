//! Lines for the log of the pipeline: `log::info!("{} merchants", count)`.

pub use crate::{__debug as debug, __error as error, __info as info, __warn as warn};

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A person must look.
    Error = 0,
    /// Something is not as it should be.
    Warn = 1,
    /// Worth knowing.
    Info = 2,
    /// For finding mistakes.
    Debug = 3,
}

#[doc(hidden)]
pub fn write(level: Level, text: std::fmt::Arguments<'_>) {
    match text.as_str() {
        Some(text) => crate::world::log(level, text),
        None => crate::world::log(level, &text.to_string()),
    }
}

/// Logs a line that a person must look at.
#[doc(hidden)]
#[macro_export]
macro_rules! __error {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Error, ::core::format_args!($($text)+)) };
}

/// Logs a warning.
#[doc(hidden)]
#[macro_export]
macro_rules! __warn {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Warn, ::core::format_args!($($text)+)) };
}

/// Logs a line.
#[doc(hidden)]
#[macro_export]
macro_rules! __info {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Info, ::core::format_args!($($text)+)) };
}

/// Logs a line for finding mistakes.
#[doc(hidden)]
#[macro_export]
macro_rules! __debug {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Debug, ::core::format_args!($($text)+)) };
}
