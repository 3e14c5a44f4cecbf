//! Plugins: ready-made operators in a folder, each a module and a file that says what it is.
//!
//! The folders are those of `FLOE_PLUGINS` (several with ':'), `plugins` beside this program, and
//! `../lib/floe/plugins` from it. Anybody may put plugins there: `NAME.wasm` and `NAME.toml`.

mod schema;

use std::path::{Path, PathBuf};

use floe_core::{Error, Result};
use serde::{Deserialize, Serialize};

pub(crate) use schema::Mistake;

/// A plugin that is here.
pub(crate) struct Plugin {
    pub(crate) about: About,
    pub(crate) module: PathBuf,
}

/// What `NAME.toml` says: `plugin.toml` of the plugin's source.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) abi: u32,
    pub(crate) summary: String,
    /// What it keeps, and what bounds it; "none".
    pub(crate) state: String,
    /// Lines for a pipeline file.
    pub(crate) example: String,
    /// The JSON schema of its configuration.
    pub(crate) config: serde_json::Value,
}

pub(crate) enum Missing {
    Unknown {
        message: String,
        help: String,
    },
    /// It is there, and of no use.
    Broken(Error),
}

impl Plugin {
    /// `config` is JSON text.
    pub(crate) fn check_config(&self, config: &str) -> std::result::Result<(), Mistake> {
        let config: serde_json::Value =
            serde_json::from_str(config).expect("a configuration is made of parsed JSON");
        schema::check(&self.about.config, &config)
    }
}

pub(crate) fn find(name: &str) -> std::result::Result<Plugin, Missing> {
    let folders = folders();
    let is_name = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
    if name.chars().all(is_name) {
        for folder in &folders {
            if folder.join(format!("{name}.wasm")).is_file() {
                return read(folder, name).map_err(Missing::Broken);
            }
        }
    }
    let known: Vec<String> =
        list().unwrap_or_default().into_iter().map(|it| it.about.name).collect();
    let searched: Vec<String> = folders.iter().map(|it| it.display().to_string()).collect();
    let help = if known.is_empty() {
        format!(
            "no plugin is in {}; set FLOE_PLUGINS to their folder (cargo xtask guests makes target/release/plugins)",
            searched.join(", ")
        )
    } else {
        format!("known here: {}", known.join(", "))
    };
    Err(Missing::Unknown { message: format!("there is no plugin {name:?}"), help })
}

/// All plugins by name; of two with one name the first folder's.
pub(crate) fn list() -> Result<Vec<Plugin>> {
    let mut found: Vec<Plugin> = Vec::new();
    for folder in folders() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let (Some(name), Some("wasm")) = (
                path.file_stem().and_then(|it| it.to_str()),
                path.extension().and_then(|it| it.to_str()),
            ) else {
                continue;
            };
            if !found.iter().any(|it| it.about.name == name) {
                found.push(read(&folder, name)?);
            }
        }
    }
    found.sort_by(|a, b| a.about.name.cmp(&b.about.name));
    Ok(found)
}

fn read(folder: &Path, name: &str) -> Result<Plugin> {
    let about = read_about(&folder.join(format!("{name}.toml")))?;
    if about.name != name {
        return Err(Error::invalid(format!(
            "{name}.toml in {} is of plugin {:?}",
            folder.display(),
            about.name
        )));
    }
    Ok(Plugin { about, module: folder.join(format!("{name}.wasm")) })
}

/// Reads a plugin.toml.
pub(crate) fn read_about(path: &Path) -> Result<About> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::invalid(format!("{} cannot be read: {error}", path.display())))?;
    let about: About = toml::from_str(&text)
        .map_err(|error| Error::invalid(format!("{}: {error}", path.display())))?;
    schema::refuse_unknown(&about.config, "config")
        .map_err(|what| Error::invalid(format!("{}: {what}", path.display())))?;
    Ok(about)
}

fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("FLOE_PLUGINS")
        .map(|it| std::env::split_paths(&it).collect())
        .unwrap_or_default();
    if let Some(bin) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        folders.push(bin.join("plugins"));
        if let Some(prefix) = bin.parent() {
            folders.push(prefix.join("lib/floe/plugins"));
        }
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each plugin of the repository: its file is sound, and its example is what it says.
    #[test]
    fn every_plugin_says_what_it_is() {
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
        let mut count = 0;
        for entry in std::fs::read_dir(plugins).unwrap() {
            let folder = entry.unwrap().path();
            if !folder.join("plugin.toml").exists() {
                continue;
            }
            count += 1;
            let about = read_about(&folder.join("plugin.toml")).unwrap();
            assert_eq!(Some(about.name.as_str()), folder.file_name().and_then(|it| it.to_str()));
            let example: toml::Table = toml::from_str(&about.example).unwrap();
            let config = serde_json::to_value(&example["config"]).unwrap();
            schema::check(&about.config, &config)
                .unwrap_or_else(|it| panic!("{}: {}", it.at, it.what));
            for (file, most) in [("src/lib.rs", 200), ("README.md", 60)] {
                let lines = std::fs::read_to_string(folder.join(file)).unwrap().lines().count();
                assert!(lines <= most, "{file} of {} has {lines} lines", about.name);
            }
            let cases = std::fs::read_dir(folder.join("cases")).unwrap().count();
            assert!(cases > 0, "{} has no case", about.name);
        }
        assert!(count >= 3);
    }
}
