//! Parts as bytes: a task's head with everything small, and pages of one memory, compressed.
//!
//! Version 1 had one part a task, with head and whole memories; it is still read.

use std::io::Read;

use bytes::Bytes;
use floe_core::encoding::{DecodeError, Decoder, Encoder};
use floe_core::event_time::EventTime;
use floe_core::image::{MemoryImage, OperatorImage, PAGE_BYTES, ZERO_PAGE};
use floe_core::in_flight::InFlight;
use floe_core::journal::Journal;
use floe_core::position::Offset;
use floe_core::task::CapturedTask;

use crate::compressor::Compressor;
use crate::in_flight;
use crate::state_hash::{decode_globals, encode_globals};

const HEAD_MAGIC: &[u8; 8] = b"floehead";
const PAGES_MAGIC: &[u8; 8] = b"floepage";
const MAGIC_1: &[u8; 8] = b"floepart";

/// The version of the bytes below. A change keeps a reader for the old one and adds a golden file.
const HEAD_VERSION: u32 = 5;
const PAGES_VERSION: u32 = 2;
/// Written where nothing is in flight, so that it is read by those who know of nothing else.
const HEAD_VERSION_4: u32 = 4;
/// Of those before, journals were written in another way, and tell nothing of rows.
const HEAD_VERSIONS: [u32; 4] = [2, 3, HEAD_VERSION_4, HEAD_VERSION];
const PART_VERSION_1: u32 = 1;

/// Pages of one part at the most: 4 MiB, so that a large memory is compressed, read and cleaned piece by
/// piece, and compresses within 1 % of what it would as a whole.
pub(crate) const PART_PAGES_MAX: usize = 1024;

/// WebAssembly's page, of which a memory is a multiple, and the most that 32-bit addresses reach.
pub(crate) const WASM_PAGE_BYTES: u64 = 64 * 1024;
pub(crate) const MEMORY_BYTES_MAX: u64 = 65_536 * WASM_PAGE_BYTES;

/// A page with its number.
pub(crate) struct Page<'a> {
    pub(crate) number: u32,
    pub(crate) content: &'a [u8],
}

/// Encodes pages, which come in the order of their numbers. Zeros are named and not stored.
pub(crate) fn encode_pages(pages: &[Page<'_>], compressor: &mut Compressor) -> std::io::Result<()> {
    assert!(pages.len() <= PART_PAGES_MAX);
    assert!(pages.is_sorted_by(|a, b| a.number < b.number));
    let (zeros, stored): (Vec<_>, Vec<_>) = pages.iter().partition(|it| *it.content == ZERO_PAGE);
    let mut e = Encoder::new();
    e.raw(PAGES_MAGIC);
    e.u32(PAGES_VERSION);
    encode_runs(&mut e, &stored);
    encode_runs(&mut e, &zeros);
    compressor.press(&e.finish(), stored.iter().map(|it| it.content))
}

fn encode_runs(e: &mut Encoder, pages: &[&Page<'_>]) {
    let mut runs: Vec<Run> = Vec::new();
    for page in pages {
        match runs.last_mut() {
            Some(run) if run.end() == page.number as usize => run.page_count += 1,
            _ => runs.push(Run { first_page: page.number as usize, page_count: 1 }),
        }
    }
    let mut next = 0;
    e.list(&runs, |e, run| {
        e.varint((run.first_page - next) as u64);
        e.varint(run.page_count as u64);
        next = run.end();
    });
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

    fn pages(&self) -> impl Iterator<Item = u32> {
        self.first_page as u32..self.end() as u32
    }
}

pub(crate) fn encode_head(task: &CapturedTask) -> std::io::Result<Vec<u8>> {
    let mut e = Encoder::new();
    e.raw(HEAD_MAGIC);
    let version = if task.in_flight.is_empty() { HEAD_VERSION_4 } else { HEAD_VERSION };
    e.u32(version);
    e.string(&task.task.topic);
    e.signed(i64::from(task.task.partition));
    e.signed(task.next_offset.0);
    e.signed(task.virtual_time.0);
    e.signed(task.watermark.0);
    e.varint(task.records);
    task.journal.encode(&task.stand(), &mut e);
    e.list(&task.operators, |e, (name, image)| {
        e.string(name);
        e.varint(image.memory.bytes);
        encode_globals(e, &image.globals);
        e.u32(image.input_region.0);
        e.u32(image.input_region.1);
        image.rng_state.iter().for_each(|it| e.u64(*it));
    });
    if version == HEAD_VERSION {
        in_flight::encode(&mut e, &task.in_flight)?;
    }
    Ok(e.finish())
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
    #[error("its head {0}")]
    Head(#[from] DecodeError),
    #[error("its pages cannot be decompressed: {0}")]
    Pages(#[from] std::io::Error),
    #[error("its version is {0}, and this program reads versions 1 to {HEAD_VERSION}")]
    Version(u32),
}

/// The pages of one part, in the order of their numbers.
#[derive(Default)]
pub(crate) struct DecodedPages {
    pub(crate) numbers: Vec<u32>,
    /// The content of each page that is not zeros.
    pub(crate) stored: Bytes,
    /// For each of `numbers`, its place in `stored`.
    pub(crate) places: Vec<Option<u32>>,
}

impl DecodedPages {
    pub(crate) fn into_pages(self) -> Vec<(u32, Bytes)> {
        let content = |place: Option<u32>| match place {
            Some(place) => {
                self.stored.slice(place as usize * PAGE_BYTES..(place as usize + 1) * PAGE_BYTES)
            }
            None => Bytes::from_static(&ZERO_PAGE),
        };
        self.numbers.into_iter().zip(self.places.into_iter().map(content)).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Page<'_>> {
        self.numbers.iter().zip(&self.places).map(|(number, place)| Page {
            number: *number,
            content: match place {
                Some(place) => &self.stored[*place as usize * PAGE_BYTES..][..PAGE_BYTES],
                None => &ZERO_PAGE,
            },
        })
    }
}

/// A memory of version 1 as one part of it, where its pages lie already.
impl From<MemoryImage> for DecodedPages {
    fn from(memory: MemoryImage) -> DecodedPages {
        let numbers: Vec<u32> = memory.pages().map(|(number, _)| number).collect();
        let places = (0..numbers.len() as u32).map(Some).collect();
        let stored = match memory.runs.as_slice() {
            [run] => run.content.clone(),
            runs => runs.iter().flat_map(|it| it.content.iter().copied()).collect(),
        };
        DecodedPages { numbers, stored, places }
    }
}

/// Decodes a part's pages.
pub(crate) fn decode_pages(bytes: &[u8]) -> Result<DecodedPages, PartError> {
    let page_count = MEMORY_BYTES_MAX as usize / PAGE_BYTES;
    let mut d = Decoder::new(bytes);
    check_begin(&mut d, PAGES_MAGIC, &[PAGES_VERSION])?;
    let stored = decode_runs(&mut d, page_count)?;
    let zeros = decode_runs(&mut d, page_count)?;
    let stored_pages = stored.iter().map(|it| it.page_count).sum::<usize>();
    if stored_pages + zeros.iter().map(|it| it.page_count).sum::<usize>() > PART_PAGES_MAX {
        d.invalid("has more pages than a part may")?;
    }
    let wanted = stored_pages * PAGE_BYTES;
    // In one call, and into memory that nobody cleared before.
    let content = zstd::bulk::decompress(&bytes[d.at()..], wanted)?;
    if content.len() != wanted {
        d.invalid("has fewer pages behind it than it counts")?;
    }
    let mut pages: Vec<(u32, Option<u32>)> =
        stored.iter().flat_map(Run::pages).zip((0..).map(Some)).collect();
    pages.extend(zeros.iter().flat_map(Run::pages).map(|it| (it, None)));
    pages.sort_unstable();
    if pages.windows(2).any(|it| it[0].0 == it[1].0) {
        d.invalid("names a page twice")?;
    }
    let (numbers, places) = pages.into_iter().unzip();
    Ok(DecodedPages { numbers, stored: content.into(), places })
}

/// Its version.
fn check_begin(d: &mut Decoder<'_>, magic: &[u8; 8], versions: &[u32]) -> Result<u32, PartError> {
    if d.raw(magic.len())? != magic {
        d.invalid("does not begin as such a part does")?;
    }
    match d.u32()? {
        found if versions.contains(&found) => Ok(found),
        other => Err(PartError::Version(other)),
    }
}

/// The frame to the end of the part holds these bytes and no more.
fn read_frame(
    d: &mut Decoder<'_>,
    bytes: &[u8],
    targets: &mut [&mut [u8]],
) -> Result<(), PartError> {
    let mut frame = zstd::stream::read::Decoder::new(&bytes[d.at()..])?;
    for target in targets {
        frame.read_exact(target)?;
    }
    if frame.read(&mut [0])? != 0 {
        d.invalid("has more pages behind it than it counts")?;
    }
    Ok(())
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

/// Everything but the memories, of which the length is known and no page.
pub(crate) fn decode_head(bytes: &[u8]) -> Result<CapturedTask, PartError> {
    let mut d = Decoder::new(bytes);
    let version = check_begin(&mut d, HEAD_MAGIC, &HEAD_VERSIONS)?;
    let mut task = decode_task(&mut d, version)?;
    task.operators = d.list(|d| decode_operator(d, |_, _| Ok(())))?;
    if version == HEAD_VERSION {
        task.in_flight = in_flight::decode(&mut d)?;
    }
    d.finish()?;
    Ok(task)
}

/// Whether a part is of version 1.
pub(crate) fn is_version_1(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC_1)
}

/// Decodes a part of version 1: the task with its whole memories.
pub(crate) fn decode_version_1(bytes: &[u8]) -> Result<CapturedTask, PartError> {
    let mut d = Decoder::new(bytes);
    check_begin(&mut d, MAGIC_1, &[PART_VERSION_1])?;
    let mut head = Decoder::new(d.bytes()?);
    let mut task = decode_task(&mut head, PART_VERSION_1)?;
    let mut all_runs = Vec::new();
    task.operators = head.list(|d| {
        decode_operator(d, |d, page_count| {
            all_runs.push(decode_runs(d, page_count)?);
            Ok(())
        })
    })?;
    head.finish()?;
    let mut memories: Vec<Vec<u8>> =
        task.operators.iter().map(|(_, it)| vec![0; it.memory.bytes as usize]).collect();
    let mut targets: Vec<&mut [u8]> = Vec::new();
    for (memory, runs) in memories.iter_mut().zip(&all_runs) {
        let (mut rest, mut at) = (&mut memory[..], 0);
        for run in runs {
            let (_, from) = rest.split_at_mut((run.first_page - at) * PAGE_BYTES);
            let (target, behind) = from.split_at_mut(run.page_count * PAGE_BYTES);
            targets.push(target);
            (rest, at) = (behind, run.end());
        }
    }
    read_frame(&mut d, bytes, &mut targets)?;
    for ((_, image), memory) in task.operators.iter_mut().zip(memories) {
        image.memory = MemoryImage::from(Bytes::from(memory));
    }
    Ok(task)
}

/// `version` is that of the head; one of a part of version 1 is older than all.
fn decode_task(d: &mut Decoder<'_>, version: u32) -> Result<CapturedTask, DecodeError> {
    let mut task = CapturedTask {
        task: in_flight::decode_task(d)?,
        next_offset: Offset(d.signed()?),
        virtual_time: EventTime(d.signed()?),
        watermark: EventTime(d.signed()?),
        records: d.varint()?,
        journal: Journal::default(),
        operators: Vec::new(),
        in_flight: InFlight::default(),
    };
    task.journal = match version {
        HEAD_VERSION_4 | HEAD_VERSION => Journal::decode(&task.stand(), d)?,
        _ => Journal::decode_before_4(d)?,
    };
    Ok(task)
}

/// `runs` reads what version 1 has behind the memory's length.
fn decode_operator(
    d: &mut Decoder<'_>,
    runs: impl FnOnce(&mut Decoder<'_>, usize) -> Result<(), DecodeError>,
) -> Result<(String, OperatorImage), DecodeError> {
    let name = d.string()?;
    let bytes = d.varint()?;
    if bytes > MEMORY_BYTES_MAX || !bytes.is_multiple_of(WASM_PAGE_BYTES) {
        return d.invalid("a memory is no whole number of WebAssembly pages");
    }
    runs(d, bytes as usize / PAGE_BYTES)?;
    let globals = decode_globals(d)?;
    let input_region = (d.u32()?, d.u32()?);
    let rng_state = [d.u64()?, d.u64()?, d.u64()?, d.u64()?];
    let memory = MemoryImage { bytes, whole: true, runs: Vec::new() };
    Ok((name, OperatorImage { memory, globals, input_region, rng_state }))
}
