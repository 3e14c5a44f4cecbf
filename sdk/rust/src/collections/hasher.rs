//! A hasher of one multiplication for each eight bytes.

use std::hash::{BuildHasherDefault, Hasher};

/// Makes [`FastHasher`]s.
pub type BuildFastHasher = BuildHasherDefault<FastHasher>;

/// A fast hasher for short keys, the same on every machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct FastHasher(u64);

/// 2^64 divided by the golden ratio, odd: its multiples spread evenly.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The second multiplier of MurmurHash3's finalizer.
const MIX: u64 = 0xc4ce_b9fe_1a85_ec53;

impl FastHasher {
    #[inline]
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(SPREAD);
    }
}

impl Hasher for FastHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let len = bytes.len();
        if let (Some(_), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            let mut rest = &bytes[..len - 1];
            while let Some((word, behind)) = rest.split_first_chunk::<8>() {
                self.add(u64::from_le_bytes(*word));
                rest = behind;
            }
            // The last eight bytes, some of which were in the word before.
            self.add(u64::from_le_bytes(*last));
        } else if let (Some(first), Some(last)) =
            (bytes.first_chunk::<4>(), bytes.last_chunk::<4>())
        {
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            self.add(u64::from(first) | u64::from(last) << 32);
        } else if len > 0 {
            let (first, middle, last) = (bytes[0], bytes[len / 2], bytes[len - 1]);
            self.add(u64::from(first) | u64::from(middle) << 8 | u64::from(last) << 16);
        }
        self.add(len as u64);
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.add(u64::from(number));
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.add(u64::from(number));
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.add(number);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.add(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        // Tables take the top bits and the low bits; both must depend on every byte.
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(MIX);
        mixed ^ (mixed >> 29)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(bytes: &[u8]) -> u64 {
        let mut hasher = FastHasher::default();
        hasher.write(bytes);
        hasher.finish()
    }

    #[test]
    fn ids_spread_over_low_and_top_bits() {
        let mut low = vec![0u32; 1 << 12];
        let mut top = vec![0u32; 1 << 7];
        for id in 0..1 << 16 {
            let hash = hash(format!("txn-{id:010}").as_bytes());
            low[(hash & 0xfff) as usize] += 1;
            top[(hash >> 57) as usize] += 1;
        }
        // Expected 16 and 512; six standard deviations are 24 and 136.
        assert!(low.iter().all(|it| *it < 40), "{:?}", low.iter().max());
        assert!(top.iter().all(|it| (376..648).contains(it)));
    }

    #[test]
    fn every_byte_and_the_length_count() {
        for len in 1..40 {
            let text = vec![b'a'; len];
            for at in 0..len {
                let mut other = text.clone();
                other[at] = b'b';
                assert_ne!(hash(&text), hash(&other), "byte {at} of {len}");
            }
            assert_ne!(hash(&text), hash(&text[1..]));
        }
    }
}
