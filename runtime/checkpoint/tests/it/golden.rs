//! The stored bytes of each version (`testdata/v*`, whole stores) are read, and those of the newest version
//! are written, as they were.
//!
//! `FLOE_BLESS=1` writes the newest anew: only together with a new version and a reader for the old one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use floe_checkpoint::{open_store, read_log, read_parts};
use floe_core::epoch::Slot;
use floe_core::journal::{MergeStep, RowsMark, Step};
use floe_core::log_entry::LogEntry;
use floe_core::manifest::KeyedIdentity;
use floe_core::ports::{CheckpointDraft, CheckpointLog};
use floe_core::{EventTime, TopicPartition};

use crate::support::*;

fn golden(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/v{version}"))
}

/// The owner before wrote epochs 1 and 2, this one epoch 3, and swept.
async fn write_golden(folder: &Path, version: u32) {
    let store = open_store(folder.to_str().unwrap(), &BTreeMap::new()).unwrap();
    take_and_complete(&store, 1, 2).await;
    let mut log = take(&store, 2).await.unwrap();
    log.complete(expected(version)).await.unwrap();
    log.sweep(1, &[]).await.unwrap();
}

/// Epoch 3. Since version 3 an operator may have inputs and a key, and its tasks merge; since version 4 the journal
/// tells rows by marks, of which those of version 4 are passed over. Since version 5 memories may share parts; since
/// version 6 rows may be in flight.
fn expected(version: u32) -> CheckpointDraft {
    let mut draft = draft(3);
    if version >= 3 {
        draft.identity.operators[0].inputs = vec!["parse.rows".into()];
        draft.identity.operators[0].keyed = Some(KeyedIdentity {
            columns: vec!["merchant_id".into()],
            tasks: 1,
            partitioner: "floe-hash-1".into(),
        });
        let keyed = &mut draft.tasks[1];
        keyed.task = TopicPartition::of_stage("totals", 0);
        let merge = MergeStep {
            from: 0,
            rows: 9,
            rows_hash: 0xfedc_ba98_7654_3210,
            virtual_time: EventTime(1_760_000_000_000),
        };
        keyed.journal.steps = vec![
            Step::Merge(merge),
            Step::MergeSkip { from: 1 },
            Step::Watermark(EventTime(1_759_999_995_000)),
        ];
    }
    if version >= 5 {
        draft.tasks[0].journal.steps.insert(1, Step::Rows(RowsMark(0xabcd)));
        draft.tasks[1].journal.steps.insert(1, Step::Rows(RowsMark(1)));
    }
    if version >= 6 {
        draft.tasks[1].in_flight = in_flight();
    }
    draft
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for inner in ["log", "parts"] {
        for file in std::fs::read_dir(folder.join(PIPELINE).join(inner)).unwrap() {
            let file = file.unwrap();
            let name = format!("{inner}/{}", file.file_name().to_str().unwrap());
            files.insert(name, std::fs::read(file.path()).unwrap());
        }
    }
    files
}

async fn check(version: u32) {
    let store = open_store(golden(version).to_str().unwrap(), &BTreeMap::new()).unwrap();
    let reading = read_log(&*store, PIPELINE).await.unwrap();
    let (at, manifest) = reading.newest_manifest().unwrap();
    assert_eq!((at.slot, at.epoch.0), (Slot(5), 3));
    let mut expected = expected(version);
    assert_eq!(manifest.identity, expected.identity);
    assert_eq!(manifest.sinks, std::mem::take(&mut expected.sinks));
    assert_eq!(read_parts(&*store, PIPELINE, manifest).await.unwrap(), expected.tasks);
    let (_, claim) = reading.newest_claim().unwrap();
    assert_eq!((claim.host.as_str(), claim.pid), ("host-2", 4002));
}

#[tokio::test]
async fn version_1_is_read() {
    check(1).await;
}

/// A program of this version goes on where one of version 1 stopped, from changes alone.
#[tokio::test]
async fn version_1_is_built_upon() {
    let copy = tempfile::tempdir().unwrap();
    for (name, bytes) in files(&golden(1)) {
        let file = copy.path().join(PIPELINE).join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }
    let store = open_store(copy.path().to_str().unwrap(), &BTreeMap::new()).unwrap();
    let mut log = take(&store, 3).await.unwrap();
    let newest = log.manifests().pop().unwrap().1;
    log.restore(&newest).await.unwrap();
    let mut changed = draft(4);
    changed.tasks = draft(3).tasks;
    for (_, image) in changed.tasks.iter_mut().flat_map(|it| &mut it.operators) {
        image.memory.whole = false;
        image.memory.runs.clear();
    }
    log.complete(changed).await.unwrap();
    let reading = read_log(&*store, PIPELINE).await.unwrap();
    let (_, manifest) = reading.newest_manifest().unwrap();
    assert_eq!(manifest.epoch.0, 4);
    assert_eq!(manifest.objects.len(), 1, "the old object's pages were written anew");
    assert_eq!(read_parts(&*store, PIPELINE, manifest).await.unwrap(), draft(3).tasks);
}

#[tokio::test]
async fn version_2_is_read() {
    check(2).await;
}

#[tokio::test]
async fn version_3_is_read() {
    check(3).await;
}

#[tokio::test]
async fn version_4_is_read() {
    check(4).await;
}

#[tokio::test]
async fn version_5_is_read() {
    check(5).await;
    let store = open_store(golden(5).to_str().unwrap(), &BTreeMap::new()).unwrap();
    let reading = read_log(&*store, PIPELINE).await.unwrap();
    let (_, manifest) = reading.newest_manifest().unwrap();
    let first = |task: usize| manifest.tasks[task].memories[0][0];
    assert_eq!(first(0), first(1), "both tasks name the part that they share");
}

#[tokio::test]
async fn version_6_is_read() {
    if std::env::var_os("FLOE_BLESS").is_some() {
        std::fs::remove_dir_all(golden(6)).ok();
        write_golden(&golden(6), 6).await;
    }
    check(6).await;
}

/// What has nothing in flight is written as version 5 has it.
#[tokio::test]
async fn versions_5_and_6_are_written() {
    for version in [5, 6] {
        check_written(version).await;
    }
}

async fn check_written(version: u32) {
    let fresh = tempfile::tempdir().unwrap();
    write_golden(fresh.path(), version).await;
    let golden_files = files(&golden(version));
    let fresh_files = files(fresh.path());
    assert!(golden_files.keys().eq(fresh_files.keys()), "other names: {:?}", fresh_files.keys());
    for (name, bytes) in &golden_files {
        match name.starts_with("parts/") {
            // Another zstd may compress the pages otherwise; the head before them is ours.
            true => assert!(bytes[..150] == fresh_files[name][..150], "{name}"),
            false if name.ends_with("05") || name.ends_with("02") || name.ends_with("04") => {}
            false => assert!(*bytes == fresh_files[name], "{name}"),
        }
    }

    // A manifest holds hashes of compressed bytes, so the stored ones are encoded again.
    for (name, bytes) in golden_files.iter().filter(|(it, _)| it.starts_with("log/0")) {
        let body = &bytes[..bytes.len() - 32];
        assert!(LogEntry::decode(body).unwrap().encode() == body, "{name}");
    }
}
