//! Factory: a module with its configuration and limits, ready to make one instance a task.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use floe_core::image::{Capture, OperatorImage};
use floe_core::ports::{ExportedState, Operator, OperatorDescription, OperatorFactory};
use floe_core::{Result, TopicPartition};
use wasmtime::InstancePre;

use crate::host::Host;
use crate::instance::{Instance, Setup, describe_configured};
use crate::limits::{Limits, Metering};
use crate::module::Module;
use crate::schema::lay_out;

#[derive(Clone)]
pub struct Factory {
    module: Arc<Module>,
    limits: Limits,
    setup: Arc<Setup>,
    description: OperatorDescription,
}

impl Factory {
    /// `name` is the operator's in the pipeline; `config` is JSON text. For a module that says its columns
    /// by itself.
    pub fn new(name: &str, module: Arc<Module>, config: String, limits: Limits) -> Factory {
        assert!(!module.configurable, "A27: its columns are not known");
        let config_hash = *blake3::hash(config.as_bytes()).as_bytes();
        let (input, outputs) = (Arc::clone(&module.input), module.outputs.clone());
        Factory::with(name, module, config, None, limits, config_hash, input, outputs)
    }

    /// For any module. `upstream` is what comes before it: it decides the columns of a module that is
    /// configurable (A27), so it is a part of such an operator's configuration.
    pub fn configured(
        name: &str,
        module: Arc<Module>,
        config: String,
        upstream: Option<SchemaRef>,
        limits: Limits,
    ) -> Result<Factory> {
        if !module.configurable {
            return Ok(Factory::new(name, module, config, limits));
        }
        let said = module.code.decided(|pre| {
            describe_configured(&module, pre, name, &limits, &config, upstream.as_deref())
        })?;
        let mut hash = blake3::Hasher::new();
        hash.update(config.as_bytes());
        hash.update(&upstream.as_deref().map(|it| lay_out(it, 0)).unwrap_or_default());
        let hash = *hash.finalize().as_bytes();
        Ok(Factory::with(name, module, config, upstream, limits, hash, said.input, said.outputs))
    }

    #[expect(clippy::too_many_arguments, reason = "private, and each is named where it is called")]
    fn with(
        name: &str,
        module: Arc<Module>,
        config: String,
        upstream: Option<SchemaRef>,
        mut limits: Limits,
        config_hash: [u8; 32],
        input: SchemaRef,
        outputs: Vec<(String, SchemaRef)>,
    ) -> Factory {
        // It is the compile's.
        limits.stack_bytes = module.code.stack_bytes() as u64;
        let (exports_state, imports_state) = (module.exports_state(), module.imports_state());
        let description = OperatorDescription {
            name: name.to_owned(),
            version: module.version.clone(),
            state_version: module.state_version,
            module_hash: module.hash,
            config_hash,
            input,
            outputs,
            exports_state,
            imports_state,
        };
        let outputs = description.outputs.iter().map(|(_, schema)| Arc::clone(schema)).collect();
        let setup = Arc::new(Setup { config, upstream, outputs });
        Factory { module, limits, setup, description }
    }

    /// `None`: fuel is counted.
    fn polled(&self) -> Option<&InstancePre<Host>> {
        self.module.code.polled().filter(|_| self.limits.metering == Metering::Time)
    }

    /// An instance that ran guest code before its first record. What fails in that is decided with fuel
    /// counted, and goes on with polls from there.
    fn begun(&self, begin: impl Fn(&InstancePre<Host>) -> Result<Instance>) -> Result<Instance> {
        let Some(polled) = self.polled() else { return begin(&self.module.code.counted()?) };
        if let Ok(instance) = begin(polled) {
            return Ok(instance);
        }
        let image = begin(&self.module.code.counted()?)?.capture(Capture::Whole)?;
        let mut instance = self.restored(polled, &image)?;
        instance.forget_captures();
        Ok(instance)
    }

    fn opened(&self, pre: &InstancePre<Host>, seed: u64) -> Result<Instance> {
        let name = &self.description.name;
        Instance::open(&self.module, pre, name, &self.limits, &self.setup, seed)
    }

    fn restored(&self, pre: &InstancePre<Host>, image: &OperatorImage) -> Result<Instance> {
        let name = &self.description.name;
        Instance::restore(&self.module, pre, name, &self.limits, &self.setup, image)
    }
}

impl OperatorFactory for Factory {
    fn describe(&self) -> &OperatorDescription {
        &self.description
    }

    fn open(&self, task: &TopicPartition, seed: u64) -> Result<Box<dyn Operator>> {
        let name = &self.description.name;
        let instance = self
            .begun(|pre| self.opened(pre, seed))
            .map_err(|error| error.context(format!("open operator {name} for {task}")))?;
        Ok(Box::new(instance))
    }

    fn restore(&self, task: &TopicPartition, image: &OperatorImage) -> Result<Box<dyn Operator>> {
        let name = &self.description.name;
        let counted;
        let pre = match self.polled() {
            Some(polled) => polled,
            None => {
                counted = self.module.code.counted()?;
                &counted
            }
        };
        let instance = self
            .restored(pre, image)
            .map_err(|error| error.context(format!("restore operator {name} for {task}")))?;
        Ok(Box::new(instance))
    }

    fn import(
        &self,
        task: &TopicPartition,
        seed: u64,
        state: &ExportedState,
    ) -> Result<Box<dyn Operator>> {
        let name = &self.description.name;
        let instance = self
            .begun(|pre| self.opened(pre, seed)?.import(std::slice::from_ref(state)))
            .map_err(|error| error.context(format!("import the state of {name} for {task}")))?;
        Ok(Box::new(instance))
    }

    fn counted(&self) -> Option<Arc<dyn OperatorFactory>> {
        self.polled()?;
        let limits = Limits { metering: Metering::Fuel, ..self.limits.clone() };
        Some(Arc::new(Factory { limits, ..self.clone() }))
    }
}
