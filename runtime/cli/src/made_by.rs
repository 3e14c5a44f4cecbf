//! The modules that made a checkpoint: from the pipeline file where it still has them, else from the store,
//! where each run keeps what it runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use floe_checkpoint::{keep_module, module_hash, read_module};
use floe_core::manifest::PipelineIdentity;
use floe_core::ports::ObjectStore;
use floe_core::{Error, Result};
use floe_operator::Engine;
use floe_pipeline::config::PipelineSpec;

use crate::replay::folder::TemporaryFolder;
use crate::show::short_hex;
use crate::wire::{self, Module, Modules};

/// Keeps the modules of a run beside its checkpoints. A store that refuses is named; the run needs none of
/// them itself.
pub(crate) async fn keep(store: &dyn ObjectStore, pipeline: &str, chain: &[Module]) {
    for module in chain {
        // The file may have been built anew since it was loaded: then it is another module.
        let kept = match std::fs::read(&module.file) {
            Ok(bytes) if module_hash(&bytes) == module.factory.describe().module_hash => {
                keep_module(store, pipeline, bytes.into()).await
            }
            Ok(_) => Ok(()),
            Err(error) => Err(Error::retry(error.to_string())),
        };
        if let Err(error) = kept {
            tracing::warn!(operator = %module.name, "the module is not kept beside the checkpoints: {error}");
        }
    }
}

/// A chain, and the files of its modules.
pub(crate) struct MadeBy {
    pub(crate) spec: PipelineSpec,
    pub(crate) modules: Modules,
    /// Where modules from the store were laid.
    _folder: Option<TemporaryFolder>,
}

/// The chain that made a checkpoint. `given` names files for operators.
pub(crate) async fn made_by(
    spec: &PipelineSpec,
    store: &dyn ObjectStore,
    identity: &PipelineIdentity,
    given: &BTreeMap<String, PathBuf>,
) -> Result<MadeBy> {
    let (spec, folder) = files_made_by(spec, store, identity, given).await?;
    let for_modules = spec.clone();
    let modules = wire::blocking(move || load(&for_modules)).await?;
    Ok(MadeBy { spec, modules, _folder: folder })
}

/// The pipeline file with the modules that made a checkpoint, and where those from the store were laid.
pub(crate) async fn files_made_by(
    spec: &PipelineSpec,
    store: &dyn ObjectStore,
    identity: &PipelineIdentity,
    given: &BTreeMap<String, PathBuf>,
) -> Result<(PipelineSpec, Option<TemporaryFolder>)> {
    if identity.operators.len() != spec.operators.len() {
        return Err(Error::invalid(format!(
            "the checkpoint was made by {} operators, and the pipeline file has {}",
            identity.operators.len(),
            spec.operators.len()
        )));
    }
    let mut spec = spec.clone();
    let mut folder = None;
    for (index, made) in identity.operators.iter().enumerate() {
        let operator = &mut spec.operators[index];
        operator.name = Some(made.name.clone());
        let is_it =
            |file: &Path| std::fs::read(file).is_ok_and(|it| module_hash(&it) == made.module_hash);
        let named = given.get(&made.name);
        if let Some(file) = named.filter(|it| is_it(it)) {
            operator.module = file.clone();
            continue;
        }
        if named.is_none() && is_it(&operator.module) {
            continue;
        }
        let kept = match named {
            None => read_module(store, &spec.id, &made.module_hash).await?,
            Some(_) => None,
        };
        let Some(bytes) = kept else {
            let file = named.unwrap_or(&operator.module).display();
            return Err(Error::invalid(format!(
                "operator {}: the checkpoint was made by module {}, which is neither {file} nor kept in the store\n→ build it again, and name it: --old {}=MODULE of floe upgrade",
                made.name,
                short_hex(&made.module_hash),
                made.name
            )));
        };
        let at = match &mut folder {
            Some(folder) => folder,
            empty @ None => empty.insert(TemporaryFolder::new()?),
        };
        let file = at.path().join(format!("{index}-{}.wasm", short_hex(&made.module_hash)));
        std::fs::write(&file, bytes).map_err(|error| {
            Error::retry(format!("{} cannot be written: {error}", file.display()))
        })?;
        operator.module = file;
    }
    Ok((spec, folder))
}

pub(crate) fn load(spec: &PipelineSpec) -> Result<Modules> {
    let engine: Arc<Engine> = Engine::new(Some(wire::module_cache()))?;
    wire::modules_in(spec, &engine)
}

/// `NAME=FILE`, of which each name is there once.
pub(crate) fn named_files(given: &[String]) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for text in given {
        let Some((name, file)) = text.split_once('=').filter(|it| !it.0.is_empty()) else {
            return Err(Error::invalid(format!("{text:?} is not NAME=MODULE")));
        };
        if files.insert(name.to_owned(), PathBuf::from(file)).is_some() {
            return Err(Error::invalid(format!("operator {name:?} is named twice")));
        }
    }
    Ok(files)
}
