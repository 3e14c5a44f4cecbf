//! Instance to image, between two calls; and pages back into a memory.

use bytes::Bytes;
use floe_core::Result;
use floe_core::image::{
    Capture, GlobalValue, MemoryImage, OperatorImage, PAGE_BYTES, PageRun, ZERO_PAGE,
};
use wasmtime::Val;

use super::Instance;
use crate::dirty::Pages;

impl Instance {
    pub(super) fn capture_image(&mut self, what: Capture) -> Result<OperatorImage> {
        assert!(!self.trapped, "A23: the instance trapped before");
        self.zero_region();
        let memory = self.memory.data(&self.store);
        let changed = match what {
            Capture::Changes => self.written.take(memory),
            Capture::Whole => None,
        };
        let region = pages_within(self.region);
        let runs = match &changed {
            Some(changed) => {
                let (zeros, others) = split(changed, &region);
                let mut runs = self.engine.staging.copy(memory, &others);
                runs.extend(zeros.iter().flat_map(zero_runs));
                runs.sort_unstable_by_key(|it| it.first_page);
                runs
            }
            None => {
                let (_, populated) = split(&self.written.populated(memory), &region);
                self.engine.staging.copy(memory, &not_zeros(memory, &populated))
            }
        };
        let bytes = memory.len() as u64;
        let memory = MemoryImage { bytes, whole: changed.is_none(), runs };
        let globals = self
            .globals
            .iter()
            .map(|it| match it.get(&mut self.store) {
                Val::I32(value) => GlobalValue::I32(value),
                Val::I64(value) => GlobalValue::I64(value),
                Val::F32(bits) => GlobalValue::F32(bits),
                Val::F64(bits) => GlobalValue::F64(bits),
                Val::V128(bits) => GlobalValue::V128(bits.as_u128()),
                _ => unreachable!("mutable reference globals are refused at load"),
            })
            .collect();
        Ok(OperatorImage {
            memory,
            globals,
            input_region: self.region,
            rng_state: self.store.data().rng.state(),
        })
    }

    /// A13: what lies in the region is no state. Pages of zeros are left alone: to write them would make
    /// them dirty, and cost memory.
    fn zero_region(&mut self) {
        let (pointer, capacity) = self.region;
        let memory = self.memory.data_mut(&mut self.store);
        let region = &mut memory[pointer as usize..(pointer + capacity) as usize];
        for piece in region.chunks_mut(PAGE_BYTES) {
            if *piece != ZERO_PAGE[..piece.len()] {
                piece.fill(0);
            }
        }
        self.region_used = 0;
    }
}

/// The pages that lie in the input region as a whole: they are zeros at every capture.
fn pages_within((pointer, capacity): (u32, u32)) -> Pages {
    let (begin, end) = (pointer as usize, pointer as usize + capacity as usize);
    let first = begin.div_ceil(PAGE_BYTES);
    first..(end / PAGE_BYTES).max(first)
}

/// What of the pages is in `within`, and what is not.
fn split(pages: &[Pages], within: &Pages) -> (Vec<Pages>, Vec<Pages>) {
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for run in pages {
        let (from, to) =
            (within.start.clamp(run.start, run.end), within.end.clamp(run.start, run.end));
        inside.push(from..to);
        outside.extend([run.start..from, to..run.end]);
    }
    inside.retain(|it| !it.is_empty());
    outside.retain(|it| !it.is_empty());
    (inside, outside)
}

fn zero_runs(pages: &Pages) -> impl Iterator<Item = PageRun> + use<> {
    static ZEROS: [u8; 16 * PAGE_BYTES] = [0; 16 * PAGE_BYTES];
    let end = pages.end;
    pages.clone().step_by(16).map(move |first| PageRun {
        first_page: first as u32,
        content: Bytes::from_static(&ZEROS[..(end - first).min(16) * PAGE_BYTES]),
    })
}

fn not_zeros(memory: &[u8], pages: &[Pages]) -> Vec<Pages> {
    let mut runs: Vec<Pages> = Vec::new();
    for number in pages.iter().flat_map(Clone::clone) {
        if memory[number * PAGE_BYTES..(number + 1) * PAGE_BYTES] == ZERO_PAGE {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == number => run.end += 1,
            _ => runs.push(number..number + 1),
        }
    }
    runs
}

/// Every page. Only those in `touched` can be other than zeros so far: data segments put bytes there. What is
/// zeros already is left alone, so that it costs no memory.
pub(super) fn write_memory(memory: &mut [u8], touched: &[Pages], image: &MemoryImage) {
    assert!(image.whole, "changes alone are no memory");
    let mut next = 0;
    for run in &image.runs {
        let start = run.first_page as usize;
        write_zeros(memory, touched, next..start);
        next = start + run.page_count() as usize;
        memory[start * PAGE_BYTES..next * PAGE_BYTES].copy_from_slice(&run.content);
    }
    let end = memory.len() / PAGE_BYTES;
    write_zeros(memory, touched, next..end);
}

fn write_zeros(memory: &mut [u8], touched: &[Pages], pages: Pages) {
    let begin = touched.partition_point(|it| it.end <= pages.start);
    for run in touched[begin..].iter().take_while(|it| it.start < pages.end) {
        let (from, to) = (run.start.max(pages.start), run.end.min(pages.end));
        let pages = memory[from * PAGE_BYTES..to * PAGE_BYTES].chunks_exact_mut(PAGE_BYTES);
        pages.filter(|it| **it != ZERO_PAGE).for_each(|it| it.fill(0));
    }
}
