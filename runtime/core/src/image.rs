//! OperatorImage: the whole of one operator instance at a quiescent point, or what changed in it.

use bytes::Bytes;

/// 4 KiB by format, whatever the machine's own page size is.
pub const PAGE_BYTES: usize = 4096;

pub static ZERO_PAGE: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// Memory, globals and tables of one instance, and what the host keeps for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorImage {
    pub memory: MemoryImage,
    /// The mutable globals in the module's index order.
    pub globals: Vec<GlobalValue>,
    /// Where the host places input: pointer and capacity, (0, 0) before the first batch. Its bytes
    /// are zero in `memory`.
    pub input_region: (u32, u32),
    pub rng_state: [u64; 4],
}

/// What a capture takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// Every page. What changed stays known as changed: for an image that no checkpoint will hold.
    Whole,
    /// The pages written since the capture of changes before it, or since the restore. The first of a
    /// fresh instance is whole. The caller promises that it becomes part of the next checkpoint, or that
    /// the instance is never captured again: a page is forgotten as changed here.
    Changes,
}

/// A linear memory, or the pages of it that changed.
#[derive(Clone, Debug)]
pub struct MemoryImage {
    /// The memory's length: a multiple of 64 KiB, WebAssembly's page.
    pub bytes: u64,
    /// Pages in no run are zeros; else they are as in this instance's image before.
    pub whole: bool,
    /// In order, without overlap. A run may be zeros.
    pub runs: Vec<PageRun>,
}

/// Pages that follow each other.
#[derive(Clone, Debug)]
pub struct PageRun {
    pub first_page: u32,
    /// A whole number of pages.
    pub content: Bytes,
}

impl PageRun {
    pub fn page_count(&self) -> u32 {
        (self.content.len() / PAGE_BYTES) as u32
    }
}

impl MemoryImage {
    /// The pages of all runs with their numbers.
    pub fn pages(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.runs
            .iter()
            .flat_map(|run| (run.first_page..).zip(run.content.chunks_exact(PAGE_BYTES)))
    }

    /// Bytes that the runs hold.
    pub fn held_bytes(&self) -> u64 {
        self.runs.iter().map(|it| it.content.len() as u64).sum()
    }

    /// The memory as it is, of a whole image.
    pub fn to_vec(&self) -> Vec<u8> {
        assert!(self.whole, "changes alone are no memory");
        let mut memory = vec![0; self.bytes as usize];
        for run in &self.runs {
            let start = run.first_page as usize * PAGE_BYTES;
            memory[start..start + run.content.len()].copy_from_slice(&run.content);
        }
        memory
    }

    /// Pages that say something: zeros of a whole image do not.
    fn telling(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.pages().filter(|(_, page)| !self.whole || *page != ZERO_PAGE)
    }
}

/// A whole memory; its zero pages are left out.
impl From<Bytes> for MemoryImage {
    fn from(memory: Bytes) -> MemoryImage {
        let mut runs: Vec<PageRun> = Vec::new();
        let mut start = None;
        let page_count = memory.len() / PAGE_BYTES;
        for index in 0..=page_count {
            let page = memory.get(index * PAGE_BYTES..(index + 1) * PAGE_BYTES);
            match (page.is_some_and(|it| *it != ZERO_PAGE), start) {
                (true, None) => start = Some(index),
                (false, Some(first)) => {
                    let content = memory.slice(first * PAGE_BYTES..index * PAGE_BYTES);
                    runs.push(PageRun { first_page: first as u32, content });
                    start = None;
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
        MemoryImage { bytes: memory.len() as u64, whole: true, runs }
    }
}

impl From<Vec<u8>> for MemoryImage {
    fn from(memory: Vec<u8>) -> MemoryImage {
        Bytes::from(memory).into()
    }
}

/// By what they say, however their pages are cut into runs.
impl PartialEq for MemoryImage {
    fn eq(&self, other: &MemoryImage) -> bool {
        self.bytes == other.bytes && self.whole == other.whole && self.telling().eq(other.telling())
    }
}

impl Eq for MemoryImage {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobalValue {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_comes_back_without_its_zero_pages() {
        let mut memory = vec![0u8; 16 * PAGE_BYTES];
        for page in [0, 3, 4, 15] {
            memory[page * PAGE_BYTES + 7] = page as u8 + 1;
        }
        let image = MemoryImage::from(memory.clone());
        let runs: Vec<_> = image.runs.iter().map(|it| (it.first_page, it.page_count())).collect();
        assert_eq!(runs, [(0, 1), (3, 2), (15, 1)]);
        assert_eq!(image.to_vec(), memory);
    }

    #[test]
    fn images_are_equal_by_what_they_say() {
        let mut memory = vec![0u8; 16 * PAGE_BYTES];
        memory[3 * PAGE_BYTES..5 * PAGE_BYTES].fill(1);
        let image = MemoryImage::from(memory.clone());
        let content = Bytes::from(memory);
        let mut other = image.clone();
        other.runs = vec![PageRun { first_page: 0, content }];
        assert_eq!(image, other);
        // Zeros among changes say that a page became zeros.
        let changes = |it: &MemoryImage| MemoryImage { whole: false, ..it.clone() };
        assert_ne!(changes(&image), changes(&other));
        assert_ne!(changes(&image), image);
        other.runs[0].first_page = 1;
        assert_ne!(image, other);
    }
}
