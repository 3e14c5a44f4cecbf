//! Names of places in a guest's memory: the static variables that a module's DWARF tells, its stack, and its heap.

mod read;

use std::collections::BTreeMap;
use std::fmt;

use floe_core::image::MemoryImage;

/// What a module says about its memory. It is for people alone: what cannot be read is not there.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// Static variables, and the fields in them, by their address.
    variables: BTreeMap<u64, Variable>,
    /// Where the heap begins.
    heap: Option<u64>,
    /// Where the stack begins, down from which it grows.
    stack: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Variable {
    /// With the fields that lead there: `TOTALS.largest`.
    name: String,
    bytes: Option<u64>,
}

/// What stands at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// So many bytes behind the begin of a static variable or of a field of one.
    Variable { name: String, behind: u64 },
    /// Behind the end of the last variable before it.
    Behind { name: String, behind: u64 },
    /// Calls that ran keep their locals here.
    Stack,
    Heap {
        /// So many bytes behind the heap's begin.
        behind: u64,
        /// The variable whose pointer leads nearest to it, and how far behind that the address is.
        by: Option<(String, i64)>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Variable { name, behind: 0 } => write!(f, "variable {name}"),
            Place::Variable { name, behind } => {
                write!(f, "{behind:#x} behind the begin of variable {name}")
            }
            Place::Behind { name, behind } => {
                write!(f, "{behind:#x} behind the begin of variable {name}, and not in it")
            }
            Place::Stack => write!(f, "the stack"),
            Place::Heap { behind, by: None } => write!(f, "the heap, {behind:#x} behind its begin"),
            Place::Heap { by: Some((name, 0)), .. } => {
                write!(f, "the heap, where variable {name} points")
            }
            Place::Heap { by: Some((name, behind)), .. } => {
                let side = if *behind > 0 { "behind" } else { "before" };
                let distance = behind.unsigned_abs();
                write!(f, "the heap, {distance:#x} {side} where variable {name} points")
            }
        }
    }
}

/// The width of a pointer in a guest.
const POINTER_BYTES: u64 = 4;

impl Symbols {
    /// None for a module without DWARF, and for one whose DWARF cannot be read.
    pub fn of(wasm: &[u8]) -> Symbols {
        read::read(wasm).unwrap_or_default()
    }

    /// What stands at the address in this memory, as far as the module tells.
    pub fn place(&self, address: u64, memory: &MemoryImage) -> Option<Place> {
        let before = self.variables.range(..=address).next_back();
        if let Some((begin, variable)) = before
            && variable.bytes.is_some_and(|bytes| address - begin < bytes)
        {
            let name = variable.name.clone();
            return Some(Place::Variable { name, behind: address - begin });
        }
        if let Some(heap) = self.heap.filter(|it| *it <= address) {
            return Some(Place::Heap {
                behind: address - heap,
                by: self.leads_to(address, memory),
            });
        }
        if self.stack.is_some_and(|it| address < it) && before.is_none() {
            return Some(Place::Stack);
        }
        let (begin, Variable { name, bytes }) = before?;
        let (name, behind) = (name.clone(), address - begin);
        Some(match bytes {
            Some(_) => Place::Behind { name, behind },
            None => Place::Variable { name, behind },
        })
    }

    /// The variable whose words, taken for pointers, come nearest to a place in the heap.
    fn leads_to(&self, address: u64, memory: &MemoryImage) -> Option<(String, i64)> {
        let heap = self.heap?;
        let words = self.variables.iter().flat_map(|(begin, variable)| {
            let count = variable.bytes.unwrap_or(0) / POINTER_BYTES;
            (0..count).map(move |word| (begin + word * POINTER_BYTES, variable))
        });
        let pointers = words.filter_map(|(at, variable)| {
            let leads = u64::from(word(memory, at)?);
            let within = heap <= leads && leads < memory.bytes;
            within.then(|| (address as i64 - leads as i64, variable))
        });
        // Of two that are as near, the one that stands before the address.
        let nearest = pointers.min_by_key(|(behind, _)| (behind.unsigned_abs(), *behind < 0))?;
        Some((nearest.1.name.clone(), nearest.0))
    }
}

/// Zero in a page that no run holds.
fn word(memory: &MemoryImage, at: u64) -> Option<u32> {
    let page_bytes = floe_core::image::PAGE_BYTES as u64;
    for run in &memory.runs {
        let begin = u64::from(run.first_page) * page_bytes;
        let Some(from) = at.checked_sub(begin) else { continue };
        let bytes = run.content.get(from as usize..from as usize + POINTER_BYTES as usize);
        if let Some(bytes) = bytes {
            return Some(u32::from_le_bytes(bytes.try_into().ok()?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols() -> Symbols {
        let variable = |name: &str, bytes| Variable { name: name.into(), bytes };
        Symbols {
            variables: BTreeMap::from([
                (0x1_0000, variable("TOTALS.sum", Some(8))),
                (0x1_0008, variable("TOTALS.largest", Some(4))),
                (0x1_0040, variable("HISTORY", None)),
            ]),
            heap: Some(0x1_1000),
            stack: Some(0x1_0000),
        }
    }

    fn check(address: u64, expected: &str) {
        let mut memory = vec![0; 3 * 65_536];
        // `TOTALS.largest` points into the heap.
        memory[0x1_0008..0x1_000c].copy_from_slice(&0x1_2000u32.to_le_bytes());
        let place = symbols().place(address, &MemoryImage::from(bytes::Bytes::from(memory)));
        assert_eq!(place.unwrap().to_string(), expected);
    }

    #[test]
    fn each_address_has_a_name() {
        check(0x1_0000, "variable TOTALS.sum");
        check(0x1_0003, "0x3 behind the begin of variable TOTALS.sum");
        check(0x1_0010, "0x8 behind the begin of variable TOTALS.largest, and not in it");
        check(0x1_0044, "0x4 behind the begin of variable HISTORY");
        check(0xfff0, "the stack");
        check(0x1_2000, "the heap, where variable TOTALS.largest points");
        check(0x1_2018, "the heap, 0x18 behind where variable TOTALS.largest points");
        check(0x1_1ff0, "the heap, 0x10 before where variable TOTALS.largest points");
        let memory = MemoryImage::from(bytes::Bytes::from(vec![0; 131_072]));
        let place = symbols().place(0x1_1010, &memory).unwrap();
        assert_eq!(place.to_string(), "the heap, 0x10 behind its begin");
        assert_eq!(Symbols::of(b"\0asm\x01\0\0\0").place(7, &memory), None);
    }
}
