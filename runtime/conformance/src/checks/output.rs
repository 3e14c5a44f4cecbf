//! What goes out: many rows, several outputs, rejections, failures (A3, A14–A18).

use super::{Case, case, not_shown, outputs};
use crate::lab::{Lab, Shown, Step, emitted, ensure, one};
use crate::rows::{Row, text_at};

pub(super) const CASES: &[Case] = &[
    case(&["A14", "A15"], "70,000 rows of one are two batches", many),
    case(&["A15"], "a row without output", none),
    case(&["A5", "A15"], "rows to both outputs", both),
    case(&["A16"], "more output than the limit allows", too_much),
    case(&["A3", "A17"], "a failure has its message", fails),
    case(&["A3"], "a panic ends the call", panics),
    case(&["A18"], "rejected rows, each with its reason", rejects),
    case(&["A18"], "a reason of 100,000 bytes is cut or is a failure", long_reason),
];

fn many(lab: &Lab) -> Shown<()> {
    // One row's fuel is not meant for so many.
    let lab = Lab::new(&lab.module_arc()).limits(|it| it.fuel_per_batch = 50_000_000_000);
    let staged =
        lab.rows(&[Row::new("echo").text("first"), Row::new("many").big(70_000).text("t")])?;
    let sizes: Vec<usize> = emitted(&staged, 0).iter().map(|it| it.num_rows()).collect();
    let total: usize = sizes.iter().sum();
    ensure(total == 70_001, || format!("{total} rows came, in batches of {sizes:?}"))?;
    ensure(sizes.iter().all(|it| *it <= 65_536), || format!("batches of {sizes:?}"))?;
    let first = text_at(emitted(&staged, 0)[0], 0);
    ensure(first.as_deref() == Some("first"), || format!("the first row is {first:?}"))
}

fn none(lab: &Lab) -> Shown<()> {
    let staged = lab.rows(&[Row::new("many").big(0)])?;
    ensure(staged.emitted.is_empty(), || format!("{} batches came", staged.emitted.len()))?;
    let staged = lab.rows(&[Row::new("many").big(0), Row::new("echo").text("x")])?;
    ensure(one(&staged)?.num_rows() == 1, || "one row was to come".to_owned())
}

fn both(lab: &Lab) -> Shown<()> {
    if outputs(lab.module()) < 2 {
        return not_shown("it declares one output");
    }
    let row = |it: usize| match it % 2 {
        0 => Row::new("echo").text(format!("r{it}")),
        _ => Row::new("second").text(format!("r{it}")),
    };
    let staged = lab.rows(&(0..20).map(row).collect::<Vec<_>>())?;
    for output in 0..2 {
        let texts: Vec<_> = emitted(&staged, output)
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).map(|row| text_at(batch, row)))
            .collect();
        let expected: Vec<_> = (0..10).map(|it| Some(format!("r{}", 2 * it + output))).collect();
        ensure(texts == expected, || format!("output {output} has {texts:?}"))?;
    }
    Ok(())
}

fn too_much(lab: &Lab) -> Shown<()> {
    let lab = Lab::new(&lab.module_arc()).limits(|it| it.output_bytes_per_batch = 1 << 20);
    let message = lab.failure(&[Row::new("many").big(2000).text("x".repeat(1000))])?;
    ensure(message.contains("emit"), || format!("it fails with {message:?}"))
}

fn fails(lab: &Lab) -> Shown<()> {
    let rows = [Row::new("echo").sample(0), Row::new("fail").text("it wölks not")];
    let message = lab.failure(&rows)?;
    ensure(message.contains("it wölks not"), || format!("the message is {message:?}"))
}

fn panics(lab: &Lab) -> Shown<()> {
    lab.failure(&[Row::new("panic").text("oh no")]).map(|_| ())
}

fn rejects(lab: &Lab) -> Shown<()> {
    let row = |it: usize| match it % 3 {
        1 => Row::new("reject").text(format!("reason {it} – नहीं")),
        _ => Row::new("echo").text(format!("r{it}")),
    };
    let rows: Vec<Row> = (0..30).map(row).collect();
    let ran = lab.run(&[Step::Rows(0, rows.clone()), Step::Rows(30, rows)])?;
    for staged in &ran.staged {
        let found: Vec<_> = staged.rejected.iter().map(|it| (it.row, it.reason.clone())).collect();
        let expected: Vec<_> =
            (0..10).map(|it| (3 * it + 1, format!("reason {} – नहीं", 3 * it + 1))).collect();
        ensure(found == expected, || format!("rejected were {found:?}"))?;
        let taken = one(staged)?.num_rows();
        ensure(taken == 20, || format!("{taken} rows came, and 20 were taken"))?;
    }
    Ok(())
}

/// Texts have at most 65,536 bytes (A5).
fn long_reason(lab: &Lab) -> Shown<()> {
    let rows = [Row::new("reject").text("ü".repeat(50_000))];
    let mut operator = lab.open()?;
    match lab.call(&mut *operator, 0, &Step::Rows(0, rows.to_vec())) {
        Ok(staged) => {
            let reason = staged.rejected.first().map_or("", |it| it.reason.as_str());
            ensure("ü".repeat(50_000).starts_with(reason) && reason.len() > 1000, || {
                format!("the reason has {} bytes and is another", reason.len())
            })
        }
        Err(message) => ensure(message.contains("65536"), || format!("it fails with {message:?}")),
    }
}
