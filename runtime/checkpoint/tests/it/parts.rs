//! Parts: what goes in comes out, zero pages cost nothing, many tasks are few objects, files are durable.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use floe_checkpoint::{open_store, read_parts, state_hash, write_parts};
use floe_core::epoch::{EntryId, Generation};
use floe_core::image::OperatorImage;
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::{CheckpointLog, ObjectStore};
use floe_core::task::CapturedTask;
use floe_core::{Epoch, ErrorKind, TopicPartition};

use crate::support::*;

async fn write(store: &Arc<dyn ObjectStore>, tasks: Vec<CapturedTask>) -> CheckpointManifest {
    let id = EntryId([7; 16]);
    let (objects, tasks) = write_parts(store, PIPELINE, Epoch(1), id, tasks).await.unwrap();
    CheckpointManifest {
        id,
        epoch: Epoch(1),
        generation: Generation(1),
        predecessor: None,
        identity: identity(PIPELINE),
        objects,
        tasks,
        sinks: Vec::new(),
        created_ms: 0,
        savepoint: false,
    }
}

fn with_memory(partition: i32, memory: Vec<u8>) -> CapturedTask {
    CapturedTask { operators: vec![("a".into(), image(memory))], ..task(partition, 1) }
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[tokio::test]
async fn a_thousand_small_tasks_are_one_object() {
    let store = floe_checkpoint::memory_store();
    let tasks: Vec<_> = (0..1000).rev().map(|it| task(it, 3)).collect();
    let manifest = write(&store, tasks.clone()).await;
    assert_eq!(manifest.objects.len(), 1);
    assert!(manifest.objects[0].len < 1000 * 1024);
    assert_eq!(read_parts(&*store, PIPELINE, &manifest).await.unwrap(), tasks);
    for (entry, task) in manifest.tasks.iter().zip(&tasks) {
        assert_eq!(entry.state_hash, state_hash(&task.operators));
    }
}

#[tokio::test]
async fn large_tasks_are_several_objects() {
    let store = floe_checkpoint::memory_store();
    let mib = 1024 * 1024;
    let mut tasks: Vec<_> =
        (0..3).map(|it| with_memory(it, noise(40 * mib, 1 + 2 * it as u64))).collect();
    tasks.push(with_memory(3, vec![0; 1024 * mib]));
    tasks.push(with_memory(4, noise(80 * mib, 99)));
    tasks.push(with_memory(5, Vec::new()));
    let manifest = write(&store, tasks.clone()).await;
    assert!((23..=30).contains(&manifest.objects.len()), "{} objects", manifest.objects.len());
    assert!(manifest.objects.iter().all(|it| it.len <= 9 * mib as u64));
    assert!(manifest.tasks[3].memories[0].is_empty(), "an empty GiB costs nothing");
    let read = read_parts(&*store, PIPELINE, &manifest).await.unwrap();
    assert!(read == tasks, "what was read is not what was written");
}

#[tokio::test]
async fn no_task_is_no_object() {
    let store = floe_checkpoint::memory_store();
    let manifest = write(&store, Vec::new()).await;
    assert!(manifest.objects.is_empty());
    assert_eq!(read_parts(&*store, PIPELINE, &manifest).await.unwrap(), []);
}

#[test]
fn the_state_hash_sees_the_state_and_nothing_else() {
    let operators = task(0, 1).operators;
    let hash = state_hash(&operators);
    assert_eq!(hash, state_hash(&task(0, 1).operators));
    let altered = |alter: fn(&mut OperatorImage)| {
        let mut operators = operators.clone();
        alter(&mut operators[0].1);
        state_hash(&operators)
    };
    let others = [
        altered(|it| {
            let mut memory = it.memory.to_vec();
            memory[70_000] ^= 1;
            it.memory = memory.into();
        }),
        altered(|it| it.memory = it.memory.to_vec()[..65_536].to_vec().into()),
        altered(|it| it.globals.swap(0, 1)),
        altered(|it| it.input_region.1 += 1),
        altered(|it| it.rng_state[3] -= 1),
        state_hash(&operators[..1]),
        state_hash(&[]),
    ];
    for (index, other) in others.iter().enumerate() {
        assert_ne!(*other, hash, "case {index}");
        assert_eq!(others.iter().filter(|it| *it == other).count(), 1);
    }
}

#[tokio::test]
async fn a_part_of_another_task_is_refused() {
    let store = floe_checkpoint::memory_store();
    let mut manifest = write(&store, vec![task(0, 1), task(1, 1)]).await;
    manifest.tasks[0].task = TopicPartition::new("payments", 7);
    let error = read_parts(&*store, PIPELINE, &manifest).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
    assert!(error.message.contains(&manifest.objects[0].path), "{error}");
    manifest.tasks[0].task = TopicPartition::new("payments", 0);
    manifest.tasks[0].state_hash[9] ^= 1;
    let error = read_parts(&*store, PIPELINE, &manifest).await.unwrap_err();
    assert!(error.message.contains("the state hash of payments/0 differs"), "{error}");
    manifest.objects[0].path = "parts/../../../etc/passwd".into();
    assert_eq!(
        read_parts(&*store, PIPELINE, &manifest).await.unwrap_err().kind,
        ErrorKind::Corrupt
    );
}

/// Traced: for each object its file is synced before it gets its name, its folder after, and all of the
/// parts before the manifest.
#[test]
fn files_are_durable_in_order() {
    let traceable = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    if !traceable.is_ok_and(|it| it.success()) {
        eprintln!("skipped: strace does not run here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let status = Command::new("strace")
        .args(["-f", "-y", "-e", "trace=fsync,fdatasync,link,linkat", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "parts::write_for_the_trace", "--nocapture"])
        .env("FLOE_TRACE_FOLDER", folder.path().join("store"))
        .output()
        .unwrap();
    assert!(status.status.success(), "{status:?}");
    let trace = std::fs::read_to_string(trace).unwrap();
    let line = |what: &[&str]| {
        trace.lines().position(|line| what.iter().all(|it| line.contains(it))).unwrap_or_else(
            || {
                panic!("no line with {what:?} in\n{trace}");
            },
        )
    };
    let mut before = 0;
    for (folder, name) in [
        ("log", "log/00000000000000000001"),
        ("parts", "parts/000000000001-"),
        ("log", "log/00000000000000000002"),
    ] {
        let content = line(&["sync(", name]);
        let linked = line(&["link", name]);
        let synced = trace
            .lines()
            .enumerate()
            .skip(linked)
            .position(|(_, it)| {
                it.contains("sync(") && it.contains(&format!("/payments/{folder}>"))
            })
            .unwrap_or_else(|| panic!("{folder} is not synced in\n{trace}"));
        assert!(before <= content, "{name} in\n{trace}");
        assert!(content < linked, "{name} in\n{trace}");
        before = linked + synced;
    }
}

/// Run by the test above in a process of its own.
#[tokio::test]
async fn write_for_the_trace() {
    let Some(folder) = std::env::var_os("FLOE_TRACE_FOLDER") else { return };
    let store = open_store(folder.to_str().unwrap(), &BTreeMap::new()).unwrap();
    let log = take_and_complete(&store, 1, 1).await;
    assert_eq!(log.manifests().len(), 1);
}
