//! What is replayed: a pipeline file's checkpoints and source, or a bundle's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use floe_core::graph::Graph;
use floe_core::manifest::{OperatorIdentity, PipelineIdentity};
use floe_core::ports::{DecoderFactory, ObjectStore};
use floe_core::schema::KnownSchemas;
use floe_core::{Error, Result, TopicPartition};
use floe_operator::Engine;
use floe_pipeline::config::{OnError, PipelineSpec};
use floe_replay::{Link, Plan};
use serde::{Deserialize, Serialize};

use super::folder::TemporaryFolder;
use super::input::From;
use crate::show::short_hex;
use crate::{load, made_by, wire};

pub(crate) struct Subject {
    pub(crate) spec: Arc<PipelineSpec>,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) links: Vec<Link>,
    /// Which outputs operators and sinks take.
    pub(crate) graph: Graph,
    pub(crate) decoder: Arc<dyn DecoderFactory>,
    /// What the decoder knows of schemas: as they were kept.
    pub(crate) schemas: Arc<KnownSchemas>,
    /// What of the engine decides results.
    pub(crate) engine: String,
    /// Of a bundle.
    pub(crate) about: Option<About>,
    /// Where a bundle was laid out.
    pub(crate) folder: Option<TemporaryFolder>,
    compiler: Arc<Engine>,
    /// Where modules from the store were laid.
    _modules: Option<TemporaryFolder>,
    /// The operators of which another module runs than the pipeline file names.
    from_store: Vec<String>,
}

impl Subject {
    /// A pipeline file or a bundle, told apart by how the file begins.
    pub(crate) fn open(path: &Path) -> Result<Subject> {
        Subject::open_with(path, Engine::new(Some(wire::module_cache()))?)
    }

    pub(crate) fn open_with(path: &Path, engine: Arc<Engine>) -> Result<Subject> {
        let (file, folder) = match floe_replay::bundle::is_bundle(path)? {
            false => (path.to_owned(), None),
            true => {
                let folder = TemporaryFolder::new()?;
                floe_replay::bundle::unpack(path, folder.path())?;
                (folder.path().join("pipeline.toml"), Some(folder))
            }
        };
        let spec = Arc::new(load::pipeline(&file)?);
        let mut subject = Subject::of(spec, engine)?;
        subject.about = folder.as_ref().map(|it| about(it.path())).transpose()?;
        subject.folder = folder;
        Ok(subject)
    }

    /// A pipeline's own checkpoints.
    pub(crate) fn of(spec: Arc<PipelineSpec>, compiler: Arc<Engine>) -> Result<Subject> {
        let modules = wire::modules_in(&spec, &compiler)?;
        let wire::Decoding { decoder, known: schemas } = wire::decoding(&spec, &modules)?;
        let links = modules
            .chain
            .into_iter()
            .map(|it| Link {
                name: Arc::from(it.name.as_str()),
                dead_letters: it.on_error == OnError::DeadLetter,
                factory: it.factory,
            })
            .collect();
        let store = wire::store_to_read(&spec)?.ok_or_else(|| {
            Error::invalid(format!(
                "pipeline {:?} has no checkpoint in {}",
                spec.id, spec.checkpoint.store
            ))
        })?;
        let (engine, graph) = (modules.engine, modules.graph);
        Ok(Subject {
            spec,
            store,
            links,
            graph,
            decoder,
            schemas,
            engine,
            about: None,
            folder: None,
            compiler,
            _modules: None,
            from_store: Vec::new(),
        })
    }

    /// With the modules that made the epochs, which the store keeps where the pipeline file names others.
    pub(crate) async fn plan_of_any(
        &mut self,
        from: u64,
        to: Option<u64>,
        only: Option<&TopicPartition>,
    ) -> Result<Plan> {
        let plan = floe_replay::plan::load(&*self.store, &self.spec.id, from, to, only).await?;
        self.take_modules_of(&plan.identity).await?;
        self.checked(plan).await
    }

    /// Of epochs that the modules of the pipeline file made.
    pub(crate) async fn plan(
        &self,
        from: u64,
        to: Option<u64>,
        only: Option<&TopicPartition>,
    ) -> Result<Plan> {
        let plan = floe_replay::plan::load(&*self.store, &self.spec.id, from, to, only).await?;
        self.checked(plan).await
    }

    async fn checked(&self, plan: Plan) -> Result<Plan> {
        self.check(&plan)?;
        wire::schemas::recall(&self.store, &self.spec.id, &self.schemas).await?;
        Ok(plan)
    }

    /// Checkpoints from before an upgrade were made by modules that the pipeline file does not name any more, and
    /// that the store keeps.
    pub(crate) async fn take_modules_of(&mut self, made: &PipelineIdentity) -> Result<()> {
        let is_it = |link: &Link, made: &OperatorIdentity| {
            link.factory.describe().module_hash == made.module_hash
        };
        let pairs = || self.links.iter().zip(&made.operators);
        if self.links.len() != made.operators.len() || pairs().all(|(link, it)| is_it(link, it)) {
            return Ok(());
        }
        let others = pairs().filter(|(link, it)| !is_it(link, it));
        let others: Vec<String> = others.map(|(_, it)| it.name.clone()).collect();
        let none = BTreeMap::new();
        let found = made_by::files_made_by(&self.spec, &*self.store, made, &none).await;
        // Which module is not to be had is said by who compares them.
        let Ok((mut spec, folder)) = found else { return Ok(()) };
        for (operator, made) in spec.operators.iter_mut().zip(&made.operators) {
            if let (Some(now), Some(then)) = (&mut operator.keyed, &made.keyed) {
                now.tasks = then.tasks;
            }
        }
        let of = Subject::of(Arc::new(spec), Arc::clone(&self.compiler))?;
        let (about, bundle) = (self.about.take(), self.folder.take());
        *self = Subject { about, folder: bundle, _modules: folder, from_store: others, ..of };
        Ok(())
    }

    /// Where the plan's records can be had.
    pub(crate) fn input<'a>(&'a self, plan: &'a Plan) -> From<'a> {
        From { spec: &self.spec, store: &self.store, plan }
    }

    /// The modules here are those that made a checkpoint.
    pub(crate) fn check_modules(&self, made: &PipelineIdentity) -> Result<()> {
        if made.operators.len() != self.links.len() {
            return Err(Error::invalid(format!(
                "the checkpoint was made by {} operators, and the pipeline file has {}",
                made.operators.len(),
                self.links.len()
            )));
        }
        for (link, made) in self.links.iter().zip(&made.operators) {
            let here = link.factory.describe();
            if here.module_hash != made.module_hash {
                return Err(Error::invalid(format!(
                    "operator {:?} is another module (blake3 {}) than the one that made the checkpoint ({})\n→ the store does not keep that one: put it there again; --operator FILE runs another one on the same input and shows what differs",
                    made.name,
                    short_hex(&here.module_hash),
                    short_hex(&made.module_hash)
                )));
            }
        }
        Ok(())
    }

    fn check(&self, plan: &Plan) -> Result<()> {
        let made = &plan.identity;
        let opened = plan.all_tasks().iter().any(|it| !plan.tasks.contains_key(it));
        self.check_modules(made)?;
        for (link, made) in self.links.iter().zip(&made.operators) {
            let here = link.factory.describe();
            let stack_bytes = |engine: &String| wire::stack_bytes_then(engine, &made.name);
            let stack = stack_bytes(&self.engine)?;
            let then = plan.engines.iter().map(stack_bytes).collect::<Result<Vec<_>>>()?;
            let then = then.into_iter().max().unwrap_or(stack);
            // With more, what fitted fits; what did not is written down.
            if stack < then {
                return Err(Error::invalid(format!(
                    "operator {:?} has limits.stack of {stack} bytes, and had {then} when these epochs were run: a call that fitted then may overflow\n→ limits = {{ stack = \"{then}B\" }} in [[operator]]",
                    made.name,
                )));
            }
            // An image has its configuration inside; only a task that begins needs it from the file.
            if here.config_hash != made.config_hash && opened {
                return Err(Error::invalid(format!(
                    "operator {:?} is configured otherwise than when the checkpoint was made",
                    made.name
                )));
            }
        }
        if made.decoder != self.decoder.name() {
            return Err(Error::invalid(format!(
                "values are decoded by {:?} here, and were by {:?}",
                self.decoder.name(),
                made.decoder
            )));
        }
        Ok(())
    }

    /// What may make a difference and is none by itself, for people.
    pub(crate) fn notes(&self, made: &PipelineIdentity) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.from_store.is_empty() {
            notes.push(format!(
                "the pipeline file names another module for {} than the one that made these epochs; that one is run, which the store keeps",
                self.from_store.join(", ")
            ));
        }
        if made.engine != self.engine {
            notes.push(format!("made by engine {:?}, replayed by {:?}", made.engine, self.engine));
        }
        if made.isa != std::env::consts::ARCH {
            notes.push(format!("made on {}, replayed on {}", made.isa, std::env::consts::ARCH));
        }
        if let Some(about) = self.about.as_ref().filter(|it| !it.redacted.is_empty()) {
            notes.push(format!(
                "the bundle's records are redacted ({}): input, rows and state are not compared",
                about.redacted.join(", ")
            ));
        }
        notes
    }

    /// Records are not those that the run took, so nothing can be compared.
    pub(crate) fn is_redacted(&self) -> bool {
        self.about.as_ref().is_some_and(|it| !it.redacted.is_empty())
    }
}

/// The file in a bundle that says what it is.
pub(crate) const ABOUT: &str = "bundle.json";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) version: u32,
    /// The checkpoint to restore, and the last one behind it.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Fields of records that were made unreadable.
    pub(crate) redacted: Vec<String>,
}

pub(crate) const BUNDLE_VERSION: u32 = 1;

fn about(folder: &Path) -> Result<About> {
    let file = folder.join(ABOUT);
    let wrong = |what: String| Error::invalid(format!("the bundle's {ABOUT}: {what}"));
    let text = std::fs::read_to_string(&file).map_err(|it| wrong(it.to_string()))?;
    let about: About = serde_json::from_str(&text).map_err(|it| wrong(it.to_string()))?;
    match about.version {
        BUNDLE_VERSION => Ok(about),
        other => Err(wrong(format!(
            "its version is {other}, and this program reads version {BUNDLE_VERSION}"
        ))),
    }
}
