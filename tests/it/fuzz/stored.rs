//! What is stored: entries of the log, manifests, journals, hints, and parts behind their hashes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use floe_checkpoint::hint::Hint;
use floe_checkpoint::{memory_store, read_parts};
use floe_core::encoding::{Decoder, Encoder};
use floe_core::journal::{BatchStep, Journal, RowsMark, Stand, Step};
use floe_core::log_entry::LogEntry;
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::ObjectStore;
use floe_core::protocol::judge::Marker;
use floe_core::{ErrorKind, EventTime, Offset};

use super::fuzz;

const PIPELINE: &str = "payments";

/// The golden stores of all versions.
fn golden() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/checkpoint/testdata");
    let versions = std::fs::read_dir(folder)
        .expect("the golden stores can be read")
        .map(|it| it.expect("the golden stores can be read").path());
    let mut folders: Vec<PathBuf> = versions.map(|it| it.join(PIPELINE)).collect();
    folders.sort();
    folders
}

/// Entries without the checksum behind them: it would keep every mutation out.
fn entries() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for store in golden() {
        for file in std::fs::read_dir(store.join("log")).expect("the golden stores can be read") {
            let file = file.expect("the golden stores can be read").path();
            if file.file_name().expect("the golden stores can be read") != "hint" {
                let bytes = std::fs::read(file).expect("the golden stores can be read");
                all.push(bytes[..bytes.len() - 32].to_vec());
            }
        }
    }
    all.sort();
    all
}

fn manifests() -> Vec<CheckpointManifest> {
    let decoded = entries()
        .into_iter()
        .map(|it| LogEntry::decode(&it).expect("the golden stores can be read"));
    decoded
        .filter_map(|it| match it {
            LogEntry::Manifest(manifest) => Some(manifest),
            LogEntry::Claim(_) => None,
        })
        .collect()
}

#[test]
fn log_entry() {
    fuzz("stored::log_entry", &entries(), |bytes| match LogEntry::decode(bytes) {
        Ok(entry) => {
            // Whatever is taken is written and read as the same.
            let written = entry.encode();
            assert_eq!(LogEntry::decode(&written).unwrap().encode(), written);
            true
        }
        Err(_) => false,
    });
}

#[test]
fn manifest() {
    let corpus: Vec<Vec<u8>> = manifests().iter().map(CheckpointManifest::encode).collect();
    fuzz("stored::manifest", &corpus, |bytes| match CheckpointManifest::decode(bytes) {
        Ok(manifest) => {
            let written = manifest.encode();
            assert_eq!(CheckpointManifest::decode(&written).unwrap().encode(), written);
            // What people and recovery ask of one.
            let _ = (manifest.position(), manifest.sink("main"));
            true
        }
        Err(_) => false,
    });
}

#[test]
fn journal() {
    let stand = Stand {
        next_offset: Offset(1000),
        virtual_time: EventTime(1_760_000_000_500),
        watermark: EventTime::MIN,
    };
    let journal = |steps: i64| {
        let mut journal = Journal::default();
        for step in 0..steps {
            let time = EventTime(1_760_000_000_000 + step * 7);
            journal.steps.push(match step % 5 {
                0 | 1 => Step::Batch(BatchStep {
                    first: Offset(step * 10),
                    last: Offset(step * 10 + 9),
                    count: 10 - (step % 4) as u32,
                    input_hash: 77 << step,
                    virtual_time: time,
                }),
                2 => Step::Watermark(time),
                3 => Step::Rows(RowsMark(step as u16 * 4099)),
                _ => Step::Skip(Offset(step * 10)),
            });
        }
        let mut e = Encoder::new();
        journal.encode(&stand, &mut e);
        e.finish()
    };
    let corpus = [journal(0), journal(3), journal(40)];
    fuzz("stored::journal", &corpus, |bytes| {
        let mut d = Decoder::new(bytes);
        let Ok(journal) = Journal::decode(&stand, &mut d) else { return false };
        let mut e = Encoder::new();
        journal.encode(&stand, &mut e);
        let written = e.finish();
        assert_eq!(Journal::decode(&stand, &mut Decoder::new(&written)).unwrap(), journal);
        true
    });
}

#[test]
fn hint() {
    let hints = golden().into_iter().map(|it| std::fs::read(it.join("log/hint")).unwrap());
    // Behind its checksum, which is made good again.
    let corpus: Vec<Vec<u8>> = hints.map(|it| it[..it.len() - 32].to_vec()).collect();
    fuzz("stored::hint", &corpus, |bytes| {
        let whole = [bytes, blake3::hash(bytes).as_bytes()].concat();
        let _ = Hint::decode(bytes);
        Hint::decode(&whole).is_some_and(|it| {
            assert_eq!(Hint::decode(&it.encode()).unwrap().first, it.first);
            true
        })
    });
}

/// The marker of a table: text that anybody may write there.
#[test]
fn marker() {
    let id = "0ad7663d15704fc485a2dce161d702f2";
    let text = |predecessor: &str| {
        format!(
            "v1 table={id} branch=main first-epoch=7 manifest=10:7:{id} predecessor={predecessor}"
        )
    };
    let corpus = [text("none").into_bytes(), text(&format!("7:6:{id}")).into_bytes()];
    fuzz("stored::marker", &corpus, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let Some(marker) = Marker::parse(text) else { return false };
        assert_eq!(Marker::parse(&marker.to_string()).unwrap(), marker);
        true
    });
}

/// Objects with parts. Hash and length of the manifest are made good, so that the decoder behind them is met.
#[test]
fn part() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for store in golden() {
        let entry = std::fs::read(store.join("log/00000000000000000005")).unwrap();
        let LogEntry::Manifest(manifest) = LogEntry::decode(&entry[..entry.len() - 32]).unwrap()
        else {
            panic!("a manifest stands there");
        };
        let object = std::fs::read(store.join(&manifest.objects[0].path)).unwrap();
        fuzz("stored::part", &[object], |bytes| {
            let mut manifest = manifest.clone();
            let it = &mut manifest.objects[0];
            (it.len, it.hash) = (bytes.len() as u64, *blake3::hash(bytes).as_bytes());
            let path = format!("{PIPELINE}/{}", it.path);
            let memory: Arc<dyn ObjectStore> = memory_store();
            runtime.block_on(async {
                memory.put(&path, Bytes::copy_from_slice(bytes)).await.unwrap();
                match read_parts(&*memory, PIPELINE, &manifest).await {
                    Ok(_) => true,
                    Err(error) => {
                        assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
                        assert!(error.message.contains(&path), "{error}");
                        false
                    }
                }
            })
        });
    }
}

/// A manifest whose places of parts were changed, over the object as it is.
#[test]
fn places_of_parts() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for store in golden() {
        let entry = std::fs::read(store.join("log/00000000000000000005")).unwrap();
        let LogEntry::Manifest(good) = LogEntry::decode(&entry[..entry.len() - 32]).unwrap() else {
            panic!("a manifest stands there");
        };
        let memory: Arc<dyn ObjectStore> = memory_store();
        for object in &good.objects {
            let bytes = Bytes::from(std::fs::read(store.join(&object.path)).unwrap());
            runtime.block_on(memory.put(&format!("{PIPELINE}/{}", object.path), bytes)).unwrap();
        }
        fuzz("stored::places_of_parts", &[good.encode()], |bytes| {
            let Ok(manifest) = CheckpointManifest::decode(bytes) else { return false };
            match runtime.block_on(read_parts(&*memory, PIPELINE, &manifest)) {
                Ok(_) => true,
                Err(error) => {
                    assert!(
                        matches!(error.kind, ErrorKind::Corrupt | ErrorKind::Invalid),
                        "{error}"
                    );
                    false
                }
            }
        });
    }
}
