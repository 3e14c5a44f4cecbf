//! Memory that grows, memory over the limit, and loops without end.

use super::{Case, case};
use crate::lab::{Lab, Shown, Step, ensure, one};
use crate::rows::{Row, big_at};

pub(super) const CASES: &[Case] = &[
    case(&["limits", "A21"], "memory grows and is restored", grows),
    case(&["limits"], "memory over the limit ends the call", too_much),
    case(&["limits"], "a loop without end ends by fuel", spins),
];

const MIB: i64 = 1 << 20;

fn grows(lab: &Lab) -> Shown<()> {
    let step = || Step::Rows(0, vec![Row::new("grow").big(3 * MIB)]);
    let ran = lab.run(&[step(), Step::Rows(0, vec![Row::new("echo").sample(0)]), step()])?;
    let kept = big_at(one(&ran.staged[2])?, 0);
    ensure(kept == Some(6 * MIB), || format!("it kept {kept:?} bytes"))?;
    let bytes = ran.image.memory.bytes as i64;
    ensure(bytes > 6 * MIB, || format!("its memory has {bytes} bytes: 6 MiB are not kept"))
}

fn too_much(lab: &Lab) -> Shown<()> {
    let lab = Lab::new(&lab.module_arc()).limits(|it| it.memory_bytes = 48 << 20);
    let mut operator = lab.open()?;
    for index in 0..40 {
        let rows = vec![Row::new("grow").big(4 * MIB)];
        if let Err(message) = lab.call(&mut *operator, index, &Step::Rows(0, rows)) {
            // The guest says so or traps: the machine must not be what it blames.
            return ensure(!message.contains("the machine"), || message);
        }
    }
    Err("it grew by 160 MiB under a limit of 48".to_owned())
}

fn spins(lab: &Lab) -> Shown<()> {
    let lab = Lab::new(&lab.module_arc()).limits(|it| it.fuel_per_batch = 100_000_000);
    let message = lab.failure(&[Row::new("spin")])?;
    ensure(message.contains("fuel"), || format!("it fails with {message:?}"))
}
