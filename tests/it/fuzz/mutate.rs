//! Mutations of good inputs.

use floe_tests::simulation::rng::Rng;

/// Values at which decoders break: limits of widths, of varints, of lengths.
const TELLING: &[u64] = &[
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

const MUTATIONS_MAX: u64 = 6;

pub(super) fn mutate(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let any = |rng: &mut Rng| &corpus[rng.below(corpus.len() as u64) as usize];
    let mut bytes = any(rng).clone();
    for _ in 0..rng.range(1..=MUTATIONS_MAX) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let left = bytes.len() - at;
        let len = rng.below(left.min(64) as u64 + 1) as usize;
        match rng.below(10) {
            0 | 1 if left > 0 => bytes[at] ^= 1 << rng.below(8),
            2 if left > 0 => bytes[at] = rng.pick(TELLING) as u8,
            3 => {
                let value = rng.pick(TELLING).to_le_bytes();
                let width = rng.pick(&[1, 2, 4, 8]).min(left);
                bytes[at..at + width].copy_from_slice(&value[..width]);
            }
            4 => drop(bytes.splice(at..at, varint(rng.pick(TELLING)))),
            5 => drop(bytes.splice(at..at + len, varint(rng.pick(TELLING)))),
            6 => drop(bytes.drain(at..at + len)),
            7 => {
                let part = bytes[at..at + len].to_vec();
                bytes.splice(at..at, part);
            }
            8 => bytes.truncate(at),
            // A piece of another one.
            _ => {
                let other = any(rng);
                let from = rng.below(other.len() as u64 + 1) as usize;
                let until = (from + rng.below(64) as usize).min(other.len());
                bytes.splice(at..at + len, other[from..until].iter().copied());
            }
        }
    }
    bytes
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
