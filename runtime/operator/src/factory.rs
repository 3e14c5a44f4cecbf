//! Factory: a module with its configuration and limits, ready to make one instance a task.

use std::sync::Arc;

use floe_core::image::OperatorImage;
use floe_core::ports::{ExportedState, Operator, OperatorDescription, OperatorFactory};
use floe_core::{Result, TopicPartition};

use crate::instance::Instance;
use crate::limits::Limits;
use crate::module::Module;

pub struct Factory {
    module: Arc<Module>,
    /// JSON text.
    config: String,
    limits: Limits,
    description: OperatorDescription,
}

impl Factory {
    /// `name` is the operator's in the pipeline; `config` is JSON text.
    pub fn new(name: &str, module: Arc<Module>, config: String, limits: Limits) -> Factory {
        let description = OperatorDescription {
            name: name.to_owned(),
            version: module.version.clone(),
            state_version: module.state_version,
            module_hash: module.hash,
            config_hash: *blake3::hash(config.as_bytes()).as_bytes(),
            input: Arc::clone(&module.input),
            outputs: module.outputs.clone(),
            exports_state: module.exports_state(),
            imports_state: module.imports_state(),
        };
        Factory { module, config, limits, description }
    }
}

impl OperatorFactory for Factory {
    fn describe(&self) -> &OperatorDescription {
        &self.description
    }

    fn open(&self, task: &TopicPartition, seed: u64) -> Result<Box<dyn Operator>> {
        let name = &self.description.name;
        let instance = Instance::open(&self.module, name, &self.limits, &self.config, seed)
            .map_err(|error| error.context(format!("open operator {name} for {task}")))?;
        Ok(Box::new(instance))
    }

    fn restore(&self, task: &TopicPartition, image: &OperatorImage) -> Result<Box<dyn Operator>> {
        let name = &self.description.name;
        let instance = Instance::restore(&self.module, name, &self.limits, image)
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
        let instance = Instance::open(&self.module, name, &self.limits, &self.config, seed)
            .and_then(|it| it.import(std::slice::from_ref(state)))
            .map_err(|error| error.context(format!("import the state of {name} for {task}")))?;
        Ok(Box::new(instance))
    }
}
