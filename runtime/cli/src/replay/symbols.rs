//! The first byte that differs between two states, named as the module's author knows it.

use floe_core::image::OperatorImage;
use floe_core::manifest::OperatorIdentity;
use floe_operator::Symbols;
use floe_pipeline::config::PipelineSpec;
use floe_replay::compare::StateDiff;

/// Says what stands there in these images, where the module is at hand and tells: a static variable, stack or heap.
pub(crate) fn name_symbols(
    spec: &PipelineSpec,
    made_by: &[OperatorIdentity],
    images: &[(String, OperatorImage)],
    diffs: &mut [StateDiff],
) {
    for diff in diffs {
        let Some(page) = &mut diff.first_page else { continue };
        let made = made_by.iter().zip(&spec.operators).find(|it| it.0.name == diff.operator);
        let module = made.and_then(|(made, operator)| {
            let bytes = std::fs::read(&operator.module).ok()?;
            (floe_checkpoint::module_hash(&bytes) == made.module_hash).then_some(bytes)
        });
        let image = images.iter().find(|it| it.0 == diff.operator);
        let Some((module, (_, image))) = module.zip(image) else { continue };
        let place = Symbols::of(&module).place(page.address, &image.memory);
        page.symbol = place.map(|it| it.to_string());
    }
}
