//! A set of texts that only grows: one arena for the texts, and a table of places in it.

use std::collections::BTreeSet;
use std::hash::Hasher;

use crate::collections::FastHasher;
use crate::copy::copy;

/// A set of texts that only grows, for state with millions of ids.
///
/// A text costs its own bytes, one or two for its length, and 7 to 14 for the table: 2 million ids of
/// 20 bytes are 63 MB. Texts are never moved, so they are no changed pages in later checkpoints.
#[derive(Default)]
pub struct StringSet {
    /// For each slot: 0 when empty, else 0x80 and seven bits of the hash.
    tags: Vec<u8>,
    /// For each slot: where its text begins in the arena.
    places: Vec<u32>,
    arena: Vec<Box<[u8; CHUNK_BYTES]>>,
    /// Where the next text goes.
    end: usize,
    len: usize,
    /// Texts that are too long for a chunk.
    long: BTreeSet<Box<str>>,
}

/// The arena grows by these. No text crosses from one to the next, so a place is a chunk and an index.
const CHUNK_BYTES: usize = 1 << 18;

/// A length takes two bytes at the most.
const SHORT_BYTES_MAX: usize = (1 << 15) - 1;

/// Texts shorter than this have their length in one byte.
const LEN_IN_ONE_BYTE: usize = 0x7f;

const SLOTS_MIN: usize = 64;

impl StringSet {
    /// An empty set.
    pub fn new() -> Self {
        StringSet::default()
    }

    /// Inserts a text; `false` if it was there already.
    #[inline]
    pub fn insert(&mut self, text: &str) -> bool {
        if text.len() > SHORT_BYTES_MAX {
            return self.insert_long(text);
        }
        // At three quarters a probe looks at 8.5 slots when the text is absent, by the formula for
        // linear probing, and on the mean of the load at 3.
        if self.len >= self.tags.len() / 4 * 3 {
            self.grow();
        }
        let hash = hash(text.as_bytes());
        match self.find(hash, text.as_bytes()) {
            Probe::Found => false,
            Probe::Empty(slot) => {
                let place = self.append(text.as_bytes());
                self.tags[slot] = tag(hash);
                self.places[slot] = place;
                self.len += 1;
                true
            }
        }
    }

    /// Is the text in the set?
    pub fn contains(&self, text: &str) -> bool {
        if text.len() > SHORT_BYTES_MAX {
            return self.long.contains(text);
        }
        match self.tags.is_empty() {
            true => false,
            false => matches!(self.find(hash(text.as_bytes()), text.as_bytes()), Probe::Found),
        }
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.len + self.long.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its texts in no particular order: each is in it once.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let short = self.arena.iter().flat_map(|chunk| {
            let mut at = 0;
            std::iter::from_fn(move || {
                if at >= CHUNK_BYTES || chunk[at] == 0 {
                    return None;
                }
                let (start, end) = span(chunk, at);
                at = end;
                Some(std::str::from_utf8(&chunk[start..end]).expect("it went in as a text"))
            })
        });
        short.chain(self.long.iter().map(|it| &**it))
    }

    #[inline]
    fn find(&self, hash: u64, text: &[u8]) -> Probe {
        let (tags, tag) = (self.tags.as_slice(), tag(hash));
        let mask = tags.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let found = tags[slot & mask];
            if found == 0 {
                return Probe::Empty(slot);
            }
            if found == tag && self.text_at(self.places[slot]) == text {
                return Probe::Found;
            }
            slot = (slot + 1) & mask;
        }
    }

    #[inline]
    fn text_at(&self, place: u32) -> &[u8] {
        let chunk = &self.arena[place as usize / CHUNK_BYTES];
        let (start, end) = span(chunk, place as usize % CHUNK_BYTES);
        &chunk[start..end]
    }

    #[inline]
    fn append(&mut self, text: &[u8]) -> u32 {
        let len = text.len();
        let needed = if len < LEN_IN_ONE_BYTE { 1 + len } else { 2 + len };
        if self.arena.len() * CHUNK_BYTES - self.end < needed {
            self.add_chunk();
        }
        let (chunk, at) = (self.end / CHUNK_BYTES, self.end % CHUNK_BYTES);
        let room = &mut self.arena[chunk][at..at + needed];
        if len < LEN_IN_ONE_BYTE {
            room[0] = len as u8 + 1;
        } else {
            room[0] = 0x80 | (len >> 8) as u8;
            room[1] = len as u8;
        }
        copy(&mut room[needed - len..], text);
        let place = self.end as u32;
        self.end += needed;
        place
    }

    #[cold]
    fn add_chunk(&mut self) {
        self.end = self.arena.len() * CHUNK_BYTES;
        assert!(self.end + CHUNK_BYTES <= u32::MAX as usize, "a StringSet holds 4 GiB at the most");
        // Zeroed memory of this size comes fresh from the allocator, and is not built on the stack.
        let chunk = vec![0; CHUNK_BYTES].into_boxed_slice();
        self.arena.push(chunk.try_into().expect("the slice has the length of a chunk"));
    }

    #[cold]
    fn insert_long(&mut self, text: &str) -> bool {
        self.long.insert(text.into())
    }

    /// Doubles the table. Texts are taken as they lie in the arena: in the order of the old table each
    /// would be a cache miss.
    #[cold]
    fn grow(&mut self) {
        let slots = (self.tags.len() * 2).max(SLOTS_MIN);
        let mut tags = vec![0; slots];
        let mut places = vec![0; slots];
        for (chunk, first_place) in self.arena.iter().zip((0..).step_by(CHUNK_BYTES)) {
            let mut at = 0;
            while at < CHUNK_BYTES && chunk[at] != 0 {
                let (start, end) = span(chunk, at);
                let hash = hash(&chunk[start..end]);
                let mut slot = hash as usize & (slots - 1);
                while tags[slot] != 0 {
                    slot = (slot + 1) & (slots - 1);
                }
                tags[slot] = tag(hash);
                places[slot] = first_place + at as u32;
                at = end;
            }
        }
        (self.tags, self.places) = (tags, places);
    }
}

/// Where the text is whose length stands at `at`.
///
/// Its length plus one in a byte below 0x80, or 0x80 with the high byte of its length, and the low byte.
/// A zero stands behind the last text of a chunk.
#[inline]
fn span(chunk: &[u8; CHUNK_BYTES], at: usize) -> (usize, usize) {
    match chunk[at] {
        short @ 0..0x80 => (at + 1, at + usize::from(short)),
        high => {
            let len = usize::from(high & 0x7f) << 8 | usize::from(chunk[at + 1]);
            (at + 2, at + 2 + len)
        }
    }
}

/// A list of its texts, sorted.
#[cfg(feature = "state")]
impl serde::Serialize for StringSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut texts: Vec<&str> = self.iter().collect();
        texts.sort_unstable();
        serializer.collect_seq(texts)
    }
}

#[cfg(feature = "state")]
impl<'de> serde::Deserialize<'de> for StringSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut set = StringSet::new();
        for text in Vec::<String>::deserialize(deserializer)? {
            set.insert(&text);
        }
        Ok(set)
    }
}

enum Probe {
    Found,
    /// Absent; it would go here.
    Empty(usize),
}

#[inline]
fn hash(text: &[u8]) -> u64 {
    let mut hasher = FastHasher::default();
    hasher.write(text);
    hasher.finish()
}

/// Bits that do not choose the slot.
#[inline]
fn tag(hash: u64) -> u8 {
    0x80 | (hash >> 57) as u8
}

impl std::fmt::Debug for StringSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StringSet").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_the_standard_set() {
        let (mut set, mut standard) = (StringSet::new(), std::collections::HashSet::new());
        assert!(!set.contains("txn-1") && set.is_empty());
        let mut seed = 1u64;
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let id = format!("txn-{}", seed >> 46);
            assert_eq!(set.insert(&id), standard.insert(id.clone()));
            assert!(set.contains(&id));
        }
        assert_eq!(set.len(), standard.len());
        assert_eq!(
            set.iter().map(str::to_owned).collect::<std::collections::HashSet<_>>(),
            standard
        );
        assert!((0..1 << 18).all(|it| {
            let id = format!("txn-{it}");
            set.contains(&id) == standard.contains(&id)
        }));
    }

    #[test]
    fn texts_of_every_length_stay_apart() {
        let text = "é".repeat(SHORT_BYTES_MAX);
        let lens = (0..300).chain([SHORT_BYTES_MAX / 2, SHORT_BYTES_MAX / 2 + 1, SHORT_BYTES_MAX]);
        let texts: Vec<&str> = lens.map(|it| &text[..it * 2]).collect();
        let mut set = StringSet::new();
        // Enough rounds of other texts between them to cross several chunks.
        for (round, text) in texts.iter().enumerate() {
            assert!(set.insert(text));
            assert!(set.insert(&format!("{round}{}", "x".repeat(10_000))));
        }
        assert!(set.arena.len() > 10);
        assert!(texts.iter().all(|it| set.contains(it) && !set.insert(it)));
        assert_eq!(set.len(), texts.len() * 2);
        assert_eq!(set.iter().map(str::len).sum::<usize>(), {
            let others: usize = (0..texts.len()).map(|it| 10_000 + it.to_string().len()).sum();
            texts.iter().map(|it| it.len()).sum::<usize>() + others
        });
    }
}
