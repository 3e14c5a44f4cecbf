//! Errors of the ports, grouped by what the caller does next.

use std::fmt;

use crate::epoch::Generation;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller does about it. A new kind is made only when a caller would do something different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try again after a pause: the world is busy or away.
    Retry,
    /// A later generation owns the pipeline: stop, and write nothing more.
    Fenced { by: Option<Generation> },
    /// The user's input (file, module, schema, record) is wrong: stop and say what to change.
    Invalid,
    /// Going on would lose or repeat records: stop, a person decides.
    Refused,
    /// What was stored is not what was written: stop, a person looks.
    Corrupt,
    /// Nobody knows whether it was done: look before repeating it.
    Unknown,
    /// An operator trapped or broke the ABI.
    Operator,
}

/// An error with what happened, where, and what to do, ready for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorKind,
    pub message: String,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into() }
    }

    pub fn retry(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Retry, message)
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Invalid, message)
    }

    pub fn refused(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Refused, message)
    }

    pub fn corrupt(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Corrupt, message)
    }

    pub fn unknown(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Unknown, message)
    }

    pub fn operator(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Operator, message)
    }

    pub fn fenced(by: Option<Generation>, message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Fenced { by }, message)
    }

    /// Says where: `context: message`.
    pub fn context(self, context: impl fmt::Display) -> Self {
        Error { kind: self.kind, message: format!("{context}: {}", self.message) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
