//! One task's part as bytes: a head with everything small, then the non-zero pages, compressed.

use std::io::{Read, Write};

use bytes::Bytes;
use floe_core::encoding::{DecodeError, Decoder, Encoder};
use floe_core::event_time::EventTime;
use floe_core::image::{OperatorImage, PAGE_BYTES};
use floe_core::journal::Journal;
use floe_core::position::{Offset, TopicPartition};
use floe_core::task::CapturedTask;

use crate::state_hash::{MemoryHasher, StateHasher, decode_globals, encode_globals};

const MAGIC: &[u8; 8] = b"floepart";

/// The version of the bytes below. A change keeps a reader for the old one and adds a golden file.
pub(crate) const PART_VERSION: u32 = 1;

/// WebAssembly's page, of which a memory is a multiple, and the most that 32-bit addresses reach.
const WASM_PAGE_BYTES: u64 = 64 * 1024;
const MEMORY_BYTES_MAX: u64 = 65_536 * WASM_PAGE_BYTES;

/// zstd-1: 1.1 GB/s on memory images (DESIGN §3); more levels cost time that the next epoch waits for.
const ZSTD_LEVEL: i32 = 1;

/// An encoded part and the hash of the state in it.
pub(crate) struct EncodedPart {
    pub(crate) bytes: Vec<u8>,
    pub(crate) state_hash: [u8; 32],
}

/// Encodes. One pass over the memory finds the non-zero pages and hashes them, a second compresses them.
pub(crate) fn encode_part(task: &CapturedTask) -> std::io::Result<EncodedPart> {
    let mut state = StateHasher::new(task.operators.len());
    let mut all_runs = Vec::with_capacity(task.operators.len());
    for (_, image) in &task.operators {
        assert!((image.memory.len() as u64).is_multiple_of(WASM_PAGE_BYTES));
        assert!(image.memory.len() as u64 <= MEMORY_BYTES_MAX);
        let mut memory = MemoryHasher::new();
        let mut runs: Vec<Run> = Vec::new();
        for (index, page) in image.memory.chunks_exact(PAGE_BYTES).enumerate() {
            if memory.page(page) {
                continue;
            }
            match runs.last_mut() {
                Some(run) if run.end() == index => run.page_count += 1,
                _ => runs.push(Run { first_page: index, page_count: 1 }),
            }
        }
        state.operator(image, memory);
        all_runs.push(runs);
    }

    let head = encode_head(task, &all_runs);
    let mut e = Encoder::new();
    e.raw(MAGIC);
    e.u32(PART_VERSION);
    e.bytes(&head);
    let mut pages = zstd::stream::write::Encoder::new(e.finish(), ZSTD_LEVEL)?;
    for ((_, image), runs) in task.operators.iter().zip(&all_runs) {
        for run in runs {
            pages.write_all(&image.memory[run.first_page * PAGE_BYTES..run.end() * PAGE_BYTES])?;
        }
    }
    Ok(EncodedPart { bytes: pages.finish()?, state_hash: state.finish() })
}

/// Pages that follow each other, by their numbers in the memory.
struct Run {
    first_page: usize,
    page_count: usize,
}

impl Run {
    fn end(&self) -> usize {
        self.first_page + self.page_count
    }
}

fn encode_head(task: &CapturedTask, all_runs: &[Vec<Run>]) -> Vec<u8> {
    let mut e = Encoder::new();
    e.string(&task.task.topic);
    e.signed(i64::from(task.task.partition));
    e.signed(task.next_offset.0);
    e.signed(task.virtual_time.0);
    e.signed(task.watermark.0);
    e.varint(task.records);
    task.journal.encode(&mut e);
    e.varint(task.operators.len() as u64);
    for ((name, image), runs) in task.operators.iter().zip(all_runs) {
        e.string(name);
        e.varint(image.memory.len() as u64);
        let mut next = 0;
        e.list(runs, |e, run| {
            e.varint((run.first_page - next) as u64);
            e.varint(run.page_count as u64);
            next = run.end();
        });
        encode_globals(&mut e, &image.globals);
        e.u32(image.input_region.0);
        e.u32(image.input_region.1);
        image.rng_state.iter().for_each(|it| e.u64(*it));
    }
    e.finish()
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
    #[error("its head {0}")]
    Head(#[from] DecodeError),
    #[error("its pages cannot be decompressed: {0}")]
    Pages(#[from] std::io::Error),
    #[error("its version is {0}, and this program reads version {PART_VERSION}")]
    Version(u32),
}

/// Decodes a part, with the state hash of what came out.
pub(crate) fn decode_part(bytes: &[u8]) -> Result<(CapturedTask, [u8; 32]), PartError> {
    let mut d = Decoder::new(bytes);
    if d.raw(MAGIC.len())? != MAGIC {
        d.invalid("does not begin as a part does")?;
    }
    match d.u32()? {
        PART_VERSION => {}
        other => return Err(PartError::Version(other)),
    }
    let (mut task, all_runs) = decode_head(d.bytes()?)?;
    let mut pages = zstd::stream::read::Decoder::new(&bytes[d.at()..])?;
    let mut state = StateHasher::new(task.operators.len());
    for ((_, image), (memory_bytes, runs)) in task.operators.iter_mut().zip(all_runs) {
        let mut memory = vec![0u8; memory_bytes];
        for run in runs {
            pages.read_exact(&mut memory[run.first_page * PAGE_BYTES..run.end() * PAGE_BYTES])?;
        }
        let mut hasher = MemoryHasher::new();
        for page in memory.chunks_exact(PAGE_BYTES) {
            hasher.page(page);
        }
        image.memory = Bytes::from(memory);
        state.operator(image, hasher);
    }
    if pages.read(&mut [0])? != 0 {
        d.invalid("has more pages behind it than it counts")?;
    }
    Ok((task, state.finish()))
}

type MemoryRuns = (usize, Vec<Run>);

/// Everything but the memories, which stay empty.
fn decode_head(bytes: &[u8]) -> Result<(CapturedTask, Vec<MemoryRuns>), DecodeError> {
    let mut d = Decoder::new(bytes);
    let topic = d.string()?;
    let Ok(partition) = i32::try_from(d.signed()?) else {
        return d.invalid("a partition is over 32 bits");
    };
    let mut task = CapturedTask {
        task: TopicPartition::new(&topic, partition),
        next_offset: Offset(d.signed()?),
        virtual_time: EventTime(d.signed()?),
        watermark: EventTime(d.signed()?),
        records: d.varint()?,
        journal: Journal::decode(&mut d)?,
        operators: Vec::new(),
    };
    let mut all_runs = Vec::new();
    task.operators = d.list(|d| {
        let name = d.string()?;
        let memory_bytes = d.varint()?;
        if memory_bytes > MEMORY_BYTES_MAX || !memory_bytes.is_multiple_of(WASM_PAGE_BYTES) {
            return d.invalid("a memory is no whole number of WebAssembly pages");
        }
        let page_count = memory_bytes as usize / PAGE_BYTES;
        all_runs.push((memory_bytes as usize, decode_runs(d, page_count)?));
        let globals = decode_globals(d)?;
        let input_region = (d.u32()?, d.u32()?);
        let rng_state = [d.u64()?, d.u64()?, d.u64()?, d.u64()?];
        Ok((name, OperatorImage { memory: Bytes::new(), globals, input_region, rng_state }))
    })?;
    d.finish()?;
    Ok((task, all_runs))
}

fn decode_runs(d: &mut Decoder<'_>, page_count_max: usize) -> Result<Vec<Run>, DecodeError> {
    let mut next = 0usize;
    d.list(|d| {
        let gap = d.varint()? as usize;
        let page_count = d.varint()? as usize;
        let first_page = next.saturating_add(gap);
        let end = first_page.saturating_add(page_count);
        if page_count == 0 || end > page_count_max {
            return d.invalid("a run of pages is outside of its memory");
        }
        next = end;
        Ok(Run { first_page, page_count })
    })
}
