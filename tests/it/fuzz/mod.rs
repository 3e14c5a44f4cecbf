//! Every decoder against bytes that nobody wrote: mutations of good ones, from a seed. None may panic, hang,
//! or take what it would not write itself.
//!
//! Each target takes a second or so; `FLOE_FUZZ_SECONDS` says how long instead (`cargo xtask fuzz`).

mod mutate;
mod stored;
mod texts;
mod guest;

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use floe_tests::simulation::rng::Rng;

use self::mutate::mutate;

/// Enough that each kind of mutation meets each kind of field.
const INPUTS_MIN: u64 = 2_000;
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs `target` over mutations of the corpus. It says whether it took the input.
fn fuzz(name: &str, corpus: &[Vec<u8>], mut target: impl FnMut(&[u8]) -> bool) {
    assert!(!corpus.is_empty(), "{name}: a corpus");
    for good in corpus {
        assert!(target(good), "{name}: what is good is taken");
    }
    let time = number("FLOE_FUZZ_SECONDS").map(Duration::from_secs);
    let only = number("FLOE_FUZZ_SEED");
    let begin = Instant::now();
    let (mut inputs, mut taken) = (0, 0);
    let first = only.unwrap_or(1);
    loop {
        let seed = first + inputs;
        let mut rng = Rng::new(seed);
        let input = mutate(&mut rng, corpus);
        let began = Instant::now();
        match std::panic::catch_unwind(AssertUnwindSafe(|| target(&input))) {
            Ok(took) => taken += u64::from(took),
            Err(_) => panic!("{name}: it panicked\n{}", again(name, seed, &input)),
        }
        let took = began.elapsed();
        assert!(took < INPUT_TIME_MAX, "{name}: it took {took:?}\n{}", again(name, seed, &input));
        inputs += 1;
        let goes_on = match time {
            _ if only.is_some() => false,
            Some(time) => begin.elapsed() < time,
            None => inputs < INPUTS_MIN,
        };
        if !goes_on {
            break;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{name}: {inputs} inputs in {seconds:.1} s, {taken} of them taken");
}

fn again(name: &str, seed: u64, input: &[u8]) -> String {
    format!(
        "the input: {}\nagain with:  FLOE_FUZZ_SEED={seed} cargo test --release -p floe-tests --test it fuzz::{name} -- --nocapture",
        input.escape_ascii()
    )
}
