//! Errors of the Iceberg crate, turned into what the caller does next.

use floe_core::{Error, ErrorKind};

/// An error of a read: nothing was changed, so trying again is harmless.
pub(super) fn read_failed(what: &str, error: &iceberg::Error) -> Error {
    let kind = match error.kind() {
        iceberg::ErrorKind::DataInvalid
        | iceberg::ErrorKind::FeatureUnsupported
        | iceberg::ErrorKind::TableNotFound
        | iceberg::ErrorKind::NamespaceNotFound => ErrorKind::Invalid,
        _ => ErrorKind::Retry,
    };
    Error::new(kind, format!("{what}: {}", describe(error)))
}

/// The message with its causes, in one line and without the crate's backtrace.
pub(super) fn describe(error: &iceberg::Error) -> String {
    let mut text = error.message().to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        let line = cause_text.lines().next().unwrap_or_default();
        if !line.is_empty() && !text.contains(line) {
            text = format!("{text}: {line}");
        }
        source = cause.source();
    }
    text
}
