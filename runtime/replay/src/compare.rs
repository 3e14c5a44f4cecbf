//! Two states side by side: the first difference, and all of them in numbers.

use floe_core::image::{GlobalValue, MemoryImage, OperatorImage, PAGE_BYTES, ZERO_PAGE};
use serde::Serialize;

/// How one operator's state differs between two images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StateDiff {
    pub operator: String,
    pub memory_bytes: (u64, u64),
    /// Pages of 4 KiB that both have and that differ, and those that only one has and that are not zero.
    pub pages_differing: u64,
    pub bytes_differing: u64,
    pub first_page: Option<PageDiff>,
    pub globals: Vec<GlobalDiff>,
    pub input_region: Option<((u32, u32), (u32, u32))>,
    pub random_differs: bool,
}

/// The first byte that differs, with some around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageDiff {
    pub page: u64,
    pub address: u64,
    /// Hexadecimal, from `address` on.
    pub left: String,
    pub right: String,
    /// What stands there, where somebody knows the module: a static variable, stack or heap.
    pub symbol: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GlobalDiff {
    /// Among the mutable globals.
    pub index: usize,
    pub left: String,
    pub right: String,
}

/// Bytes shown of a difference.
const SHOWN_BYTES: usize = 16;

impl StateDiff {
    pub fn is_empty(&self) -> bool {
        self.memory_bytes.0 == self.memory_bytes.1
            && self.pages_differing == 0
            && self.globals.is_empty()
            && self.input_region.is_none()
            && !self.random_differs
    }
}

/// The pages of two whole images that differ, each with its number.
pub(crate) fn differing<'a>(
    left: &'a MemoryImage,
    right: &'a MemoryImage,
) -> impl Iterator<Item = (u32, &'a [u8], &'a [u8])> {
    let (mut lefts, mut rights) = (left.pages().peekable(), right.pages().peekable());
    std::iter::from_fn(move || {
        loop {
            let page = match (lefts.peek(), rights.peek()) {
                (None, None) => return None,
                (Some(left), None) => left.0,
                (None, Some(right)) => right.0,
                (Some(left), Some(right)) => left.0.min(right.0),
            };
            // A page in no run is zeros.
            let a = lefts.next_if(|it| it.0 == page).map_or(&ZERO_PAGE[..], |it| it.1);
            let b = rights.next_if(|it| it.0 == page).map_or(&ZERO_PAGE[..], |it| it.1);
            if a != b {
                return Some((page, a, b));
            }
        }
    })
}

/// One entry an operator that differs; empty for equal states.
pub fn compare(
    left: &[(String, OperatorImage)],
    right: &[(String, OperatorImage)],
) -> Vec<StateDiff> {
    left.iter()
        .zip(right)
        .map(|((name, left), (_, right))| compare_images(name, left, right))
        .filter(|it| !it.is_empty())
        .collect()
}

fn compare_images(name: &str, left: &OperatorImage, right: &OperatorImage) -> StateDiff {
    let mut diff = StateDiff {
        operator: name.to_owned(),
        memory_bytes: (left.memory.bytes, right.memory.bytes),
        input_region: (left.input_region != right.input_region)
            .then_some((left.input_region, right.input_region)),
        random_differs: left.rng_state != right.rng_state,
        ..StateDiff::default()
    };
    for (page, left, right) in differing(&left.memory, &right.memory) {
        diff.pages_differing += 1;
        diff.bytes_differing += left.iter().zip(right).filter(|(a, b)| a != b).count() as u64;
        if diff.first_page.is_none() {
            let at = left.iter().zip(right).position(|(a, b)| a != b).unwrap_or(0);
            let end = (at + SHOWN_BYTES).min(PAGE_BYTES);
            diff.first_page = Some(PageDiff {
                page: u64::from(page),
                address: u64::from(page) * PAGE_BYTES as u64 + at as u64,
                left: hex(&left[at..end]),
                right: hex(&right[at..end]),
                symbol: None,
            });
        }
    }
    for index in 0..left.globals.len().max(right.globals.len()) {
        let (a, b) = (left.globals.get(index), right.globals.get(index));
        if a != b {
            diff.globals.push(GlobalDiff { index, left: global(a), right: global(b) });
        }
    }
    diff
}

fn global(value: Option<&GlobalValue>) -> String {
    match value {
        None => "–".to_owned(),
        Some(GlobalValue::I32(value)) => value.to_string(),
        Some(GlobalValue::I64(value)) => value.to_string(),
        Some(GlobalValue::F32(bits)) => f32::from_bits(*bits).to_string(),
        Some(GlobalValue::F64(bits)) => f64::from_bits(*bits).to_string(),
        Some(GlobalValue::V128(bits)) => format!("{bits:#034x}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(memory: Vec<u8>, global: i32) -> Vec<(String, OperatorImage)> {
        let image = OperatorImage {
            memory: memory.into(),
            globals: vec![GlobalValue::I32(7), GlobalValue::I32(global)],
            input_region: (0, 0),
            rng_state: [1; 4],
        };
        vec![("totals".to_owned(), image)]
    }

    #[test]
    fn the_first_byte_that_differs_is_named() {
        let left = image(vec![0; 65_536], 1);
        assert_eq!(compare(&left, &left), []);
        let mut memory = vec![0; 131_072];
        memory[8195] = 0xab;
        memory[70_000] = 1;
        let diff = compare(&left, &image(memory, 2)).remove(0);
        assert_eq!((diff.pages_differing, diff.bytes_differing), (2, 2));
        let first = diff.first_page.unwrap();
        assert_eq!((first.page, first.address), (2, 8195));
        assert!(first.right.starts_with("ab00"), "{}", first.right);
        assert_eq!(diff.globals, [GlobalDiff { index: 1, left: "1".into(), right: "2".into() }]);
        assert_eq!(diff.memory_bytes, (65_536, 131_072));
    }
}
