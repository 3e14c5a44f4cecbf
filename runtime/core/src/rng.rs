//! The random numbers of an operator: xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64.
//!
//! The generator's whole state is in the checkpoint, so a re-execution draws the same numbers.

/// Spreads each bit over all: what splitmix64 does to its counter.
pub fn mixed(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The generator of one operator of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatorRng {
    state: [u64; 4],
}

impl OperatorRng {
    pub fn from_seed(seed: u64) -> Self {
        let mut mix = seed;
        let mut next = || {
            mix = mix.wrapping_add(0x9E37_79B9_7F4A_7C15);
            mixed(mix)
        };
        OperatorRng { state: [next(), next(), next(), next()] }
    }

    pub fn from_state(state: [u64; 4]) -> Self {
        OperatorRng { state }
    }

    pub fn state(&self) -> [u64; 4] {
        self.state
    }

    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_xoshiro256_starstar() {
        // The first outputs of the reference implementation for the state 1, 2, 3, 4.
        let mut rng = OperatorRng::from_state([1, 2, 3, 4]);
        let drawn: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
        assert_eq!(drawn, [11520, 0, 1509978240, 1215971899390074240]);
    }

    #[test]
    fn a_restored_state_goes_on_where_it_was() {
        let mut rng = OperatorRng::from_seed(42);
        rng.next_u64();
        let mut restored = OperatorRng::from_state(rng.state());
        assert_eq!(rng.next_u64(), restored.next_u64());
    }
}
