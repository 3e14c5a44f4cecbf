//! Every single crash, before and after each effect, and every pair of crashes, over a small input.

use floe_tests::simulation::Plan;
use floe_tests::simulation::plan::{Crash, Side};

use super::report::check;

const SIDES: [Side; 2] = [Side::Before, Side::After];

fn crashed(crashes: &[Crash]) -> (Plan, String) {
    let plan = Plan { crashes: crashes.to_vec(), ..Plan::calm(7) };
    let names: Vec<String> = crashes
        .iter()
        .map(|it| match it.side {
            Side::Before => format!("{}b", it.effect),
            Side::After => format!("{}a", it.effect),
        })
        .collect();
    (plan, format!("SIM_CRASHES={}", names.join(",")))
}

/// `SIM_CRASHES=12b,40a`.
pub(super) fn plan_of_environment() -> Option<Plan> {
    let text = std::env::var("SIM_CRASHES").ok()?;
    let crash = |it: &str| {
        let (number, side) = it.split_at(it.len() - 1);
        let side = if side == "b" { Side::Before } else { Side::After };
        Crash { effect: number.parse().expect("a number and b or a"), side }
    };
    let crashes: Vec<Crash> = text.split(',').map(crash).collect();
    Some(crashed(&crashes).0)
}

#[test]
fn every_crash_and_every_pair_of_crashes() {
    let (plan, environment) = crashed(&[]);
    let calm = check(&plan, &environment);
    assert!(calm.epochs >= 4, "too few epochs to prove anything: {}", calm.epochs);
    let mut runs = 1;
    let mut fired = 0;
    for effect in 1..=calm.effects {
        for side in SIDES {
            let first = Crash { effect, side };
            let (plan, environment) = crashed(&[first]);
            let single = check(&plan, &environment);
            runs += 1;
            fired += u64::from(single.processes > calm.processes);
            if !calm.changing.contains(&effect) {
                continue;
            }
            for second in single.changing.iter().copied().filter(|it| *it > effect) {
                for side in SIDES {
                    let (plan, environment) = crashed(&[first, Crash { effect: second, side }]);
                    check(&plan, &environment);
                    runs += 1;
                }
            }
        }
    }
    println!("{runs} runs; {fired} of {} single crashes fired", 2 * calm.effects);
    // The last process, which looks whether all is well, isn't crashed: three tenths of all effects.
    assert!(fired * 100 >= calm.effects * 2 * 65, "{fired} single crashes fired");
}
