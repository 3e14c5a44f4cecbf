//! What the commands share that run a checkpoint again: replay, verify-determinism, bundle, trace, bisect.

pub(crate) mod folder;
pub(crate) mod subject;
pub(crate) mod input;
pub(crate) mod run;
pub(crate) mod kept_rows;
pub(crate) mod last_rows;
pub(crate) mod rows_differ;
pub(crate) mod report;
pub(crate) mod redact;
pub(crate) mod condition;
pub(crate) mod state;
pub(crate) mod symbols;
pub(crate) mod verifier;

use floe_core::{Result, TopicPartition};
use floe_replay::{Plan, TaskReplay};

use subject::Subject;

/// One for each task of the plan, as its first checkpoint left it.
pub(crate) fn tasks_of(subject: &Subject, plan: &Plan) -> Result<Vec<TaskReplay>> {
    plan.all_tasks().iter().map(|task| task_of(subject, plan, task)).collect()
}

pub(crate) fn task_of(subject: &Subject, plan: &Plan, task: &TopicPartition) -> Result<TaskReplay> {
    let mut replay = TaskReplay::new(
        &plan.pipeline,
        task,
        plan.tasks.get(task),
        &subject.links,
        &subject.graph,
        &*subject.decoder,
        plan.of_task(task),
    )?;
    replay.altered = subject.is_redacted();
    Ok(replay)
}
