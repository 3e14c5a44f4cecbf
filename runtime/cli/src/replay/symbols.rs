//! The first byte that differs between two states, named as the module's author knows it.

use floe_core::manifest::OperatorIdentity;
use floe_operator::Symbols;
use floe_pipeline::config::PipelineSpec;
use floe_replay::compare::StateDiff;

/// Says the static variable that begins there or last before it, where the module is at hand and has DWARF.
pub(crate) fn name_symbols(
    spec: &PipelineSpec,
    made_by: &[OperatorIdentity],
    diffs: &mut [StateDiff],
) {
    for diff in diffs {
        let Some(page) = &mut diff.first_page else { continue };
        let made = made_by.iter().zip(&spec.operators).find(|it| it.0.name == diff.operator);
        let module = made.and_then(|(made, operator)| {
            let bytes = std::fs::read(&operator.module).ok()?;
            (floe_checkpoint::module_hash(&bytes) == made.module_hash).then_some(bytes)
        });
        let Some(module) = module else { continue };
        page.symbol =
            Symbols::of(&module).nearest(page.address).map(|(name, behind)| match behind {
                0 => format!("variable {name}"),
                behind => format!("{behind:#x} behind the begin of variable {name}"),
            });
    }
}
