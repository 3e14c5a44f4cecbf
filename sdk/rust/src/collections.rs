//! Maps and sets for state: the standard ones with a faster hasher, and a set of texts without overhead.

mod hasher;
mod string_set;

pub use hasher::{BuildFastHasher, FastHasher};
pub use string_set::StringSet;

/// The standard map with a hasher that is several times faster on short keys.
///
/// It hashes the same everywhere and at all times, and so is no defence against keys that were chosen to
/// collide. Neither is the standard one inside the sandbox, where no true randomness exists.
pub type HashMap<K, V> = std::collections::HashMap<K, V, BuildFastHasher>;

/// The standard set with the same hasher as [`HashMap`].
pub type HashSet<K> = std::collections::HashSet<K, BuildFastHasher>;
