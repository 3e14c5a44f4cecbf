//! Which partition a producer puts a record in, by its key.

use clap::ValueEnum;

/// As Kafka's clients name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Partitioner {
    /// Kafka's own client, and librdkafka's `murmur2` and `murmur2_random`
    Murmur2,
    /// librdkafka's `consistent` and `consistent_random`, which it has unless told otherwise
    Crc32,
}

impl Partitioner {
    pub(crate) fn partition_of(self, key: &[u8], partitions: u32) -> u32 {
        match self {
            Partitioner::Murmur2 => (murmur2(key) & 0x7fff_ffff) % partitions,
            // ISO 3309, as zlib has it.
            Partitioner::Crc32 => crc32fast::hash(key) % partitions,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Partitioner::Murmur2 => "murmur2",
            Partitioner::Crc32 => "crc32",
        }
    }
}

/// org.apache.kafka.common.utils.Utils.murmur2.
fn murmur2(bytes: &[u8]) -> u32 {
    const FACTOR: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(FACTOR);
        word ^= word >> 24;
        hash = hash.wrapping_mul(FACTOR) ^ word.wrapping_mul(FACTOR);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(FACTOR);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(FACTOR);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From UtilsTest of Kafka's client.
    #[test]
    fn murmur2_is_that_of_kafka() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn crc32_is_that_of_librdkafka() {
        // The check value of the polynomial.
        let of = |partitions| Partitioner::Crc32.partition_of(b"123456789", partitions);
        assert_eq!(of(u32::MAX), 0xcbf4_3926);
        assert_eq!(of(1000), 0xcbf4_3926 % 1000);
    }
}
