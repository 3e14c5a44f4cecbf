//! State is memory and globals: captured and restored it goes on to the bit (A21, A23).

use floe_core::image::Capture;

use super::{Case, case};
use crate::lab::{Lab, Shown, Step, emitted, ensure, one};
use crate::rows::{Row, big_at, text_at};

pub(super) const CASES: &[Case] = &[
    case(&["A21"], "200 batches of state, restored between all", long_life),
    case(&["A21"], "a map's own order survives a restore", order),
    case(&["A23"], "after a trap it goes on from the image before", trap),
];

fn long_life(lab: &Lab) -> Shown<()> {
    let rows = |batch: usize| {
        (0..20).map(move |it| Row::new("keep").text(format!("user-{}", (batch * 7 + it * it) % 97)))
    };
    let steps: Vec<Step> = (0..200)
        .map(|it| match it % 10 {
            9 => Step::Watermark(it as i64),
            8 => Step::Rows(0, (0..5).map(|it| Row::new("echo").sample(it)).collect()),
            _ => Step::Rows(20 * it as i64, rows(it).collect()),
        })
        .collect();
    lab.run(&steps).map(|_| ())
}

fn order(lab: &Lab) -> Shown<()> {
    let keep = (0..30).map(|it| Row::new("keep").text(format!("k{it}"))).collect();
    let keys = || Step::Rows(0, vec![Row::new("keys")]);
    let ran = lab.run(&[Step::Rows(0, keep), keys(), keys(), keys()])?;
    let found = text_at(one(&ran.staged[3])?, 0).unwrap_or_default();
    ensure(found.split(',').count() == 30, || format!("the keys are {found:?}"))
}

fn trap(lab: &Lab) -> Shown<()> {
    let keep = |key: &str| Step::Rows(0, vec![Row::new("keep").text(key); 5]);
    let expected = lab.run(&[keep("a"), keep("b")])?;
    for command in ["panic", "fail"] {
        let mut operator = lab.open()?;
        lab.call(&mut *operator, 0, &keep("a"))?;
        let before = operator.capture(Capture::Whole).map_err(|it| it.message)?;
        let bad = vec![Row::new("keep").text("b"), Row::new(command).text("x")];
        if lab.call(&mut *operator, 1, &Step::Rows(0, bad)).is_ok() {
            return Err(format!("{command} succeeds"));
        }
        let mut operator = lab.restore(&before)?;
        let staged = lab.call(&mut *operator, 1, &keep("b"))?;
        let after = operator.capture(Capture::Whole).map_err(|it| it.message)?;
        ensure(after == expected.image, || format!("after {command} the state differs"))?;
        let count = big_at(emitted(&staged, 0)[0], 4);
        ensure(count == Some(5), || format!("after {command} b was counted {count:?} times"))?;
    }
    Ok(())
}
