//! The host's functions, natively and for one thread, so that operators are tested without WebAssembly.

use std::cell::RefCell;

use crate::log::Level;

/// What the host would know.
pub(crate) struct World {
    pub(crate) now_ms: i64,
    random: u64,
    pub(crate) lines: Vec<(Level, String)>,
}

thread_local! {
    static WORLD: RefCell<World> = const { RefCell::new(World::new()) };
}

impl World {
    const fn new() -> Self {
        World { now_ms: 0, random: 0, lines: Vec::new() }
    }
}

/// Runs `change` on this thread's world.
pub(crate) fn world<T>(change: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(change)
}

pub(crate) fn reset() {
    world(|it| *it = World::new());
}

pub(crate) fn now() -> i64 {
    world(|it| it.now_ms)
}

/// splitmix64 from a seed of 0: other numbers than the host's, and repeatable like them.
pub(crate) fn random() -> u64 {
    world(|it| {
        it.random = it.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = it.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    })
}

pub(crate) fn log(level: Level, text: &str) {
    world(|it| it.lines.push((level, text.to_owned())));
}
