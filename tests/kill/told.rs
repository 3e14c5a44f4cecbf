//! What commands tell of epochs of operators behind a key-by, before and behind an upgrade: each with the modules
//! and the operators' images that made it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::lab::{Lab, check};
use crate::process::{End, PATIENCE};
use crate::replay::{floe, json as told, must};
use crate::scene::{Place, Scene};

const PARTITIONS: u64 = 4;
/// Ordered with quantity 0, which ends the operator.
const SERVICE: u64 = 61;

fn order(number: u64) -> String {
    let amount = if number % 50 == 49 { json!("12,00") } else { json!(600) };
    let quantity = u64::from(number != SERVICE) * (1 + number % 3);
    let order = json!({
        "order_id": format!("o-{number}"), "item": format!("item-{}", number % 7),
        "amount_minor": amount, "quantity": quantity
    });
    let line = json!({
        "partition": number % PARTITIONS, "offset": number / PARTITIONS, "key": "k",
        "timestamp": 1_760_000_000_000_u64 + number, "value": order.to_string()
    });
    format!("{line}\n")
}

fn hand_out(scene: &Scene<'_>, orders: u64) -> Result<()> {
    let text: String = (0..orders).map(order).collect();
    std::fs::write(scene.recording(), text).context("write the recording")
}

fn pipeline(module: &str, operators_before: &str, lines: &str) -> String {
    format!(
        r#"
[pipeline]
id = "told"

[source]
recording = "payments.jsonl"
columns = ["order_id: string", "item: string", "amount_minor: long", "quantity: long"]

{operators_before}

[[operator]]
name = "prices"
module = "{module}"
on-error = "dead-letter"
{lines}

[sink]
iceberg = "shop.prices"
catalog = {{ type = "sql", uri = "sqlite://lake.db", warehouse = "file://./lake" }}

[checkpoint]
interval = "1h"
keep = 1000
store = "file://./checkpoints"

[dead-letters]
iceberg = "shop.letters"
"#
    )
}

const CUT: &str = r#"[[operator]]
name = "cut"
plugin = "project"
config = { columns = ["*"] }
on-error = "dead-letter""#;

fn copy_guests(lab: &Lab, folder: &Path) -> Result<()> {
    for name in ["prices", "prices_fixed"] {
        let guest = lab.payments.with_file_name(format!("floe_example_{name}.wasm"));
        std::fs::copy(guest, folder.join(format!("{name}.wasm")))?;
    }
    Ok(())
}

fn set_pipeline(scene: &Scene<'_>, module: &str) -> Result<()> {
    let text = pipeline(module, CUT, "key-by = [\"item\"]\ntasks = 3");
    std::fs::write(scene.pipeline(), text).context("write the pipeline")
}

#[test]
fn operators_behind_a_key_are_told_by_their_own_images() {
    check("told::operators_behind_a_key", &[], |lab| {
        let scene = Scene::new(lab, "told", Place::Local)?;
        copy_guests(lab, &scene.folder)?;
        set_pipeline(&scene, "prices.wasm")?;
        for orders in [40, 80] {
            hand_out(&scene, orders)?;
            scene.run_until_end()?;
        }
        before_an_upgrade(&scene)?;

        let upgrade = ["upgrade", "pipeline.toml", "--operator", "prices=prices_fixed.wasm"];
        let tried = [&upgrade[..], &["--try", "2"]].concat();
        let words = ["state hashes identical ✓", "1 added", "o-61", "batch from payments/1 @ "];
        must(&scene, 5, &words, &tried)?;
        must(&scene, 0, &[], &[&upgrade[..], &["--apply"]].concat())?;
        set_pipeline(&scene, "prices_fixed.wasm")?;
        hand_out(&scene, 90)?;
        must(&scene, 0, &[], &["run", "pipeline.toml", "--until-end"])?;
        behind_an_upgrade(&scene)?;
        scene.done();
        Ok(())
    });
}

fn before_an_upgrade(scene: &Scene<'_>) -> Result<()> {
    let state = told(scene, &["state", "pipeline.toml", "--operator", "prices", "--json"])?;
    let states = state["states"].as_array().context("no states")?;
    ensure!(states.len() == 3, "{state}");
    let quantity = |it: &Value| -> u64 {
        let items = it["state"]["by_item"].as_object();
        items.into_iter().flatten().filter_map(|it| it.1["quantity"].as_u64()).sum()
    };
    // The service ended the operator, and one order had no number for an amount.
    let expected: u64 = (0..80).filter(|it| *it != SERVICE && *it != 49).map(|it| 1 + it % 3).sum();
    ensure!(states.iter().map(quantity).sum::<u64>() == expected, "{expected} in {state}");

    let traced = ["trace", "pipeline.toml", "--row", "order_id = 'o-17'"];
    let words = ["identical ✓", "records    payments/1 @ 0..9", "by key"];
    must(scene, 0, &words, &traced)?;
    let bisect = ["bisect", "pipeline.toml", "--expect-state"];
    let words = ["holds up to epoch 1, and not in epoch 2", "state  of prices", "quantity"];
    must(scene, 5, &words, &[&bisect[..], &["by_item.item-1.quantity < 20"]].concat())?;
    must(scene, 2, &["no state has"], &[&bisect[..], &["by_itme.tea < 20"]].concat())?;
    let nowhere = [&bisect[..], &["by_item.item-1.quantity < 20", "--from", "7"]].concat();
    must(scene, 2, &["no checkpoint is kept"], &nowhere)?;
    let rows = ["bisect", "pipeline.toml", "--expect", "unit_price_minor != 200"];
    let words =
        ["does not hold in epoch 1, the first", "replay pipeline.toml --checkpoint 0 --to 1"];
    must(scene, 5, &words, &rows)?;

    let other = ["replay", "pipeline.toml", "--checkpoint", "0", "--to", "2"];
    let other = [&other[..], &["--operator-name", "prices", "--operator"]].concat();
    // The other one is given what stopped the one.
    let words = ["batch payments/1 @ ", "no row → ", "o-61", "rows differ"];
    must(scene, 5, &words, &[&other[..], &["prices_fixed.wasm"]].concat())?;
    let again = ["replay", "--checkpoint", "0", "--to", "2", "--operator-name", "prices"];
    let mut process = scene.start(&[&again[..], &["--operator", "prices.wasm"]].concat())?;
    let (end, said) = (process.wait(PATIENCE)?, process.said());
    ensure!(end == End::Code(5), "{end:?} {said}");
    for word in ["stop operator \"prices\" in epoch 2", "divide by zero"] {
        ensure!(said.contains(word), "{word:?} is not in\n{said}");
    }
    Ok(())
}

fn behind_an_upgrade(scene: &Scene<'_>) -> Result<()> {
    let words = ["which the store keeps", "identical ✓"];
    let replay = ["replay", "pipeline.toml", "--checkpoint", "0", "--to", "2"];
    must(scene, 0, &words, &replay)?;
    let old = ["bundle", "pipeline.toml", "--checkpoint", "1", "--to", "2", "-o", "old.floe"];
    must(scene, 0, &[], &old)?;
    must(scene, 0, &["identical ✓"], &["replay", "old.floe"])?;
    // Of the first epoch behind the upgrade, and of one before it.
    for order in ["o-85", "o-17"] {
        let row = format!("order_id = '{order}'");
        must(scene, 0, &["identical ✓"], &["trace", "pipeline.toml", "--row", &row])?;
    }
    let expect = "by_item.item-1.quantity < 25";
    let bisect = ["bisect", "pipeline.toml", "--expect-state", expect];
    must(scene, 5, &["not in epoch 4"], &bisect)?;

    let redact = ["bundle", "pipeline.toml", "--checkpoint", "3", "-o", "red.floe", "--redact"];
    must(scene, 2, &["no record has that field"], &[&redact[..], &["itme"]].concat())?;
    ensure!(!scene.folder.join("red.floe").exists(), "it wrote a bundle that it refused");
    must(scene, 0, &["all keys"], &[&redact[..], &["item"]].concat())?;
    Ok(())
}

/// A letter that was given back is at no new place, and is in the state: going back to the bit would forget it.
#[test]
fn a_letter_given_back_outlives_a_rollback() {
    check("told::a_letter_given_back", &[], |lab| {
        let scene = Scene::new(lab, "told-letter", Place::Local)?;
        copy_guests(lab, &scene.folder)?;
        // Another module by its hash, the same by what it does.
        let mut bytes = std::fs::read(scene.folder.join("prices_fixed.wasm"))?;
        bytes.extend_from_slice(&[0, 2, 1, b'x']);
        std::fs::write(scene.folder.join("again.wasm"), bytes)?;
        let set = |module: &str| std::fs::write(scene.pipeline(), pipeline(module, "", ""));
        set("prices_fixed.wasm")?;
        hand_out(&scene, 50)?;
        must(&scene, 0, &[], &["run", "pipeline.toml", "--until-end"])?;
        let upgrade = ["upgrade", "pipeline.toml", "--operator", "prices=again.wasm", "--apply"];
        must(&scene, 0, &[], &upgrade)?;
        set("again.wasm")?;
        let value = order(48).replace("o-48", "o-49").replace("item-6", "item-new");
        let value: Value = serde_json::from_str(&value)?;
        let mended = json!({ "id": "payments/1@12", "value": value["value"] });
        std::fs::write(scene.folder.join("mended.jsonl"), mended.to_string())?;
        let retry = ["dead-letters", "retry", "pipeline.toml", "--from", "mended.jsonl"];
        must(&scene, 0, &["1 letters given back"], &retry)?;
        must(&scene, 0, &["had been given back before"], &retry)?;
        // A file without a letter is not all of them.
        std::fs::write(scene.folder.join("none.jsonl"), "")?;
        let none = ["dead-letters", "retry", "pipeline.toml", "--from", "none.jsonl"];
        must(&scene, 0, &["nothing to give back"], &none)?;
        must(&scene, 2, &["trpa"], &["dead-letters", "list", "pipeline.toml", "--class", "trpa"])?;
        behind_a_letter(&scene)?;

        let rollback = ["upgrade", "pipeline.toml", "--rollback"];
        must(&scene, 0, &["the old module took the state"], &rollback)?;
        set("prices_fixed.wasm")?;
        must(&scene, 0, &["item-new"], &["state", "pipeline.toml"])?;
        // And back again: nothing ran since the rollback.
        let (code, said) = floe(&scene, &rollback)?;
        ensure!(code == Some(0) && said.contains("to the bit"), "{code:?} {said}");
        set("again.wasm")?;
        must(&scene, 0, &["item-new"], &["state", "pipeline.toml"])?;
        scene.done();
        Ok(())
    });
}

/// Letters are in no topic: what is run again begins behind them.
fn behind_a_letter(scene: &Scene<'_>) -> Result<()> {
    let old = ["upgrade", "pipeline.toml", "--operator", "prices=prices_fixed.wasm", "--try"];
    must(scene, 2, &["there is no epoch to try"], &[&old[..], &["5"]].concat())?;
    must(scene, 2, &["0 is not in"], &[&old[..], &["0"]].concat())?;
    hand_out(scene, 60)?;
    scene.run_until_end()?;
    let words = ["note: 1 epochs are tried", "tried on 1 epochs, 3 → 4", "identical ✓"];
    must(scene, 0, &words, &[&old[..], &["5"]].concat())?;
    must(scene, 0, &["epoch 3 → 4"], &["verify-determinism", "pipeline.toml"])?;
    let words = ["holds from epoch 3 to 4"];
    let expect = ["bisect", "pipeline.toml", "--expect", "unit_price_minor > 0"];
    must(scene, 0, &words, &expect)?;
    // An offset that the epochs are past cuts nothing off, and nothing is left out in silence.
    let replay =
        ["replay", "pipeline.toml", "--checkpoint", "3", "--task", "payments/1", "--until"];
    must(scene, 0, &["run whole to be compared"], &[&replay[..], &["3"]].concat())?;
    must(scene, 0, &["no record is shown"], &[&replay[..], &["3", "--step"]].concat())?;
    Ok(())
}
