//! Pages that several memories have alike, such as what the data segments of a module put into each of its
//! tasks: stored once, in a part that all of these memories name.
//!
//! A part tells pages by their numbers, so it may stand in any memory that has these contents at these
//! numbers. Invariant: a memory names a shared part only if every page of it is its own newest content; so a
//! shared part hides nothing that is newer, and each memory's part of it is live as a whole at first.

use std::collections::BTreeMap;

use bytes::Bytes;
use floe_core::image::{PAGE_BYTES, PageRun};

use crate::part::PART_PAGES_MAX;
use crate::state_hash::{PageHash, ZERO_PAGE_HASH};

/// What changed in one memory: of which task, by its place among all, and of which operator.
pub(crate) struct ChangedMemory {
    pub(crate) task: usize,
    pub(crate) index: usize,
    pub(crate) pieces: Vec<ChangedPiece>,
}

/// The changed pages of one piece, which is a part at the most.
pub(crate) struct ChangedPiece {
    pub(crate) runs: Vec<PageRun>,
    pub(crate) pages: Vec<ChangedPage>,
}

pub(crate) struct ChangedPage {
    pub(crate) number: u32,
    pub(crate) hash: PageHash,
    /// Where its content is: the run, and the page's place in it.
    pub(crate) run: usize,
    pub(crate) index: usize,
    /// It stands in a part of several memories.
    pub(crate) shared: bool,
}

impl ChangedPiece {
    pub(crate) fn content(&self, page: &ChangedPage) -> &[u8] {
        &self.runs[page.run].content[page.index * PAGE_BYTES..][..PAGE_BYTES]
    }
}

/// A page of one of the memories: memory, piece, page.
#[derive(Clone, Copy)]
struct Place(u32, u32, u32);

/// Pages for one part of several memories, in the order of their numbers.
pub(crate) struct SharedPages {
    /// In order, two at least.
    pub(crate) memories: Vec<usize>,
    /// Where they are in the first of the memories.
    places: Vec<Place>,
}

impl SharedPages {
    pub(crate) fn contents(
        &self,
        memories: &[ChangedMemory],
    ) -> impl Iterator<Item = (u32, Bytes)> {
        self.places.iter().map(|at| {
            let page = page(memories, *at);
            let run = &memories[at.0 as usize].pieces[at.1 as usize].runs[page.run];
            let begin = page.index * PAGE_BYTES;
            (page.number, run.content.slice(begin..begin + PAGE_BYTES))
        })
    }

    pub(crate) fn hashes(
        &self,
        memories: &[ChangedMemory],
    ) -> impl Iterator<Item = (u32, PageHash)> {
        self.places.iter().map(|at| {
            let page = page(memories, *at);
            (page.number, page.hash)
        })
    }
}

fn page(memories: &[ChangedMemory], at: Place) -> &ChangedPage {
    &memories[at.0 as usize].pieces[at.1 as usize].pages[at.2 as usize]
}

/// Finds and marks the pages that several memories have alike. Each part has the pages of exactly the same
/// memories; zeros cost nothing, and stay with each memory's own.
pub(crate) fn share(memories: &mut [ChangedMemory]) -> Vec<SharedPages> {
    if memories.len() < 2 {
        return Vec::new();
    }
    let mut all: Vec<(u32, u64, Place)> = Vec::new();
    for (memory, of_memory) in memories.iter().enumerate() {
        for (piece, of_piece) in of_memory.pieces.iter().enumerate() {
            for (index, page) in of_piece.pages.iter().enumerate() {
                if page.hash != *ZERO_PAGE_HASH {
                    let begin = page.hash.first_chunk().expect("a hash is longer");
                    let place = Place(memory as u32, piece as u32, index as u32);
                    all.push((page.number, u64::from_le_bytes(*begin), place));
                }
            }
        }
    }
    all.sort_unstable_by_key(|(number, begin, place)| (*number, *begin, place.0));

    let mut by_memories: BTreeMap<Vec<usize>, Vec<Place>> = BTreeMap::new();
    let mut found = Vec::new();
    // The hash decides: what only begins alike is not alike.
    let alike = |a: &(u32, u64, Place), b: &(u32, u64, Place)| {
        (a.0, a.1) == (b.0, b.1) && page(memories, a.2).hash == page(memories, b.2).hash
    };
    for same in all.chunk_by(alike).filter(|it| it.len() > 1) {
        let of: Vec<usize> = same.iter().map(|it| it.2.0 as usize).collect();
        by_memories.entry(of).or_default().push(same[0].2);
        found.extend(same.iter().map(|it| it.2));
    }
    for Place(memory, piece, index) in found {
        memories[memory as usize].pieces[piece as usize].pages[index as usize].shared = true;
    }
    let parts = by_memories.into_iter().flat_map(|(memories, places)| {
        let parts = places.chunks(PART_PAGES_MAX).map(<[Place]>::to_vec).collect::<Vec<_>>();
        parts.into_iter().map(move |places| SharedPages { memories: memories.clone(), places })
    });
    parts.collect()
}
