//! A pipeline file from the disk.

use std::path::Path;

use floe_core::{Error, Result};
use floe_pipeline::config::{ConfigError, PipelineSpec, error_at};

use crate::plugin;

pub(crate) fn pipeline(path: &Path) -> Result<PipelineSpec> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::invalid(format!("the pipeline file {} cannot be read: {error}", path.display()))
    })?;
    let path = std::path::absolute(path)
        .map_err(|error| Error::invalid(format!("{}: {error}", path.display())))?;
    let shown = shown(&path);
    let mut spec = PipelineSpec::parse(&text, &path, &|name| std::env::var(name).ok())
        .map_err(|error| Error::from(ConfigError { file: shown.clone(), ..error }))?;
    for (index, operator) in spec.operators.iter_mut().enumerate() {
        let Some(name) = &operator.plugin else { continue };
        let wrong = |at: &str, message: String, help: String| {
            let at = format!("operator.{index}.{at}");
            Error::from(error_at(&text, &shown, &at, message, help))
        };
        let plugin = plugin::find(name).map_err(|error| match error {
            plugin::Missing::Unknown { message, help } => wrong("plugin", message, help),
            plugin::Missing::Broken(error) => error,
        })?;
        if let Err(mistake) = plugin.check_config(&operator.config) {
            let help = format!("floe plugin describe {name} shows what it takes");
            return Err(wrong(&format!("config{}", mistake.at), mistake.what, help));
        }
        operator.module = plugin.module;
    }
    Ok(spec)
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
