//! What an operator tells of its state: shown, compared between two checkpoints, and searched for a wrong one.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::lab::check;
use crate::replay::{epochs, floe, json, must};
use crate::scene::{Place, Scene};

fn orders(offsets: std::ops::Range<u64>) -> String {
    let line = |offset: u64| {
        let order = json!({"order_id": format!("o-{offset}"), "item": "tea", "amount_minor": 100, "quantity": 1});
        let line = json!({"partition": 0, "offset": offset, "timestamp": 1_760_000_000_000_u64, "value": order.to_string()});
        format!("{line}\n")
    };
    offsets.map(line).collect()
}

#[test]
fn states_are_shown_compared_and_searched() {
    check("states::states_are_shown", &[], |lab| {
        let mut scene = Scene::new(lab, "states", Place::Local)?;
        let guests = lab.payments.parent().context("the guests stand in a folder")?;
        scene.settings.module = guests.join("floe_example_prices.wasm");
        // The last checkpoint alone ends the epoch of a run.
        scene.settings.interval = "60s";
        scene.settings.keep = 1000;
        scene.write_pipeline()?;
        for end in [10, 20, 30] {
            std::fs::write(scene.recording(), orders(0..end))?;
            scene.run_until_end()?;
        }
        ensure!(epochs(&scene)? == 3, "{} epochs", epochs(&scene)?);

        let told = json(&scene, &["state", "pipeline.toml", "--checkpoint", "2", "--json"])?;
        let tea = &told["states"][0]["state"]["by_item"]["tea"];
        ensure!(*tea == json!({"amount_minor": 2000, "quantity": 20}), "{told}");

        let diff = ["state", "diff", "pipeline.toml"];
        let (code, said) = floe(&scene, &[&diff[..], &["1", "3", "--json"]].concat())?;
        ensure!(code == Some(5), "{code:?} {said}");
        let end = said.rfind(']').context("no JSON")?;
        let changed: Value = serde_json::from_str(&said[..=end]).with_context(|| said.clone())?;
        let changes = changed[0]["changes"].as_array().context("no changes")?;
        let quantity = changes.iter().find(|it| it.to_string().contains("quantity"));
        let quantity = quantity.context("the quantity did not change")?.to_string();
        ensure!(quantity.contains("10") && quantity.contains("30"), "{quantity}");
        must(&scene, 0, &[], &[&diff[..], &["2", "2"]].concat())?;

        let bisect = ["bisect", "pipeline.toml", "--expect-state"];
        must(&scene, 5, &["epoch 3"], &[&bisect[..], &["by_item.tea.quantity < 25"]].concat())?;
        must(&scene, 0, &["holds"], &[&bisect[..], &["by_item.tea.quantity < 31"]].concat())?;
        scene.done();
        Ok(())
    });
}
