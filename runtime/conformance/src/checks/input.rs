//! The input region: it grows, moves and is forgotten (A8, A10, A11, A13, A14).

use super::types::echoes;
use super::{Case, case};
use crate::lab::{Lab, Shown, Step, emitted, ensure};
use crate::rows::{Row, big_at, text_at};

pub(super) const CASES: &[Case] = &[
    case(&["A8"], "_offset is the record's", offsets),
    case(&["A14"], "65,536 rows", |lab| echoes(lab, vec![Row::new("echo").text("t"); 65_536])),
    case(&["A10", "A21"], "batches that grow and shrink", sizes),
    case(&["A13", "A21"], "what is kept of a row outlives its batch", kept),
];

fn offsets(lab: &Lab) -> Shown<()> {
    let step = |first| Step::Rows(first, vec![Row::new("echo").sample(0); 3]);
    let ran = lab.run(&[step(0), step(1_i64 << 40)])?;
    let rows = emitted(&ran.staged[1], 0);
    let expected = lab.batch(1 << 40, &vec![Row::new("echo").sample(0); 3]);
    ensure(rows[0].column(1) == expected.column(1), || {
        format!("_offset is {:?}", rows[0].column(1))
    })
}

/// Each batch of another size than the last; state of the same instance in all.
fn sizes(lab: &Lab) -> Shown<()> {
    let sizes = [1, 3000, 2, 20_000, 1, 60_000, 10];
    let rows = |count: usize| (0..count).map(|it| Row::new("keep").text(format!("k{}", it % 10)));
    let steps: Vec<Step> = sizes.iter().map(|it| Step::Rows(0, rows(*it).collect())).collect();
    let ran = lab.run(&steps)?;
    let total: i64 = sizes.iter().map(|it| (*it as i64 + 9) / 10).sum();
    let last = ran.staged.last().map(|it| emitted(it, 0)).unwrap_or_default();
    let count = big_at(last[0], 0);
    ensure(count == Some(total), || format!("k0 was counted {count:?} times, not {total}"))
}

fn kept(lab: &Lab) -> Shown<()> {
    let keys: Vec<String> = (0..50).map(|it| format!("key-{it}-{}", "é".repeat(it))).collect();
    let keep = keys.iter().map(|it| Row::new("keep").text(it.clone())).collect();
    // Other bytes in the region, and then a region elsewhere.
    let noise = |rows, bytes| vec![Row::new("echo").text("#".repeat(bytes)); rows];
    let steps = [
        Step::Rows(0, keep),
        Step::Rows(0, noise(40, 200)),
        Step::Rows(0, noise(10, 100_000)),
        Step::Rows(0, vec![Row::new("keys")]),
    ];
    let ran = lab.run(&steps)?;
    let found = text_at(emitted(&ran.staged[3], 0)[0], 0).unwrap_or_default();
    let mut found: Vec<&str> = found.split(',').collect();
    let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    found.sort_unstable();
    keys.sort_unstable();
    ensure(found == keys, || format!("of 50 keys it kept {found:?}"))
}
