//! A pipeline file from the disk.

use std::path::Path;

use floe_core::{Error, Result};
use floe_pipeline::config::PipelineSpec;

pub(crate) fn pipeline(path: &Path) -> Result<PipelineSpec> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::invalid(format!("the pipeline file {} cannot be read: {error}", path.display()))
    })?;
    let path = std::path::absolute(path)
        .map_err(|error| Error::invalid(format!("{}: {error}", path.display())))?;
    let shown = shown(&path);
    PipelineSpec::parse(&text, &path, &|name| std::env::var(name).ok()).map_err(|mut error| {
        error.file = shown;
        error.into()
    })
}

/// The environment variables that a pipeline file takes values from, each with its value.
pub(crate) fn environment_of(path: &Path) -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::invalid(format!("the pipeline file {} cannot be read: {error}", path.display()))
    })?;
    let taken = std::cell::RefCell::new(Vec::new());
    let look = |name: &str| {
        let value = std::env::var(name).ok()?;
        taken.borrow_mut().push((name.to_owned(), value.clone()));
        Some(value)
    };
    // What is wrong with the file was said when it was loaded.
    let _ = PipelineSpec::parse(&text, path, &look);
    Ok(taken.into_inner())
}

/// As the person wrote it, if it is below the folder they are in.
fn shown(path: &Path) -> std::path::PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).to_owned()
}
