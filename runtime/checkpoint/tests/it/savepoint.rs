//! Savepoints: made with and without an owner, kept while the log goes on, given up; and `floe sweep`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use floe_checkpoint::{
    ClaimRequest, OwnedLog, Runs, drop_savepoint, kept_manifests, make_savepoint, read_log,
    read_parts, savepoints, sweep_garbage,
};
use floe_core::Epoch;
use floe_core::committable::{CommittedSnapshot, ManifestRef};
use floe_core::error::ErrorKind;
use floe_core::ports::{CheckpointDraft, CheckpointLog, ObjectStore};

use crate::support::*;

fn stores() -> (Arc<FaultyStore>, Arc<dyn ObjectStore>) {
    let store = Arc::new(FaultyStore::default());
    (store.clone(), store)
}

async fn complete_savepoint(log: &mut OwnedLog) -> ManifestRef {
    let draft = CheckpointDraft { savepoint: true, ..draft(next_epoch(log)) };
    log.complete(draft).await.unwrap().0
}

async fn epochs(store: &dyn ObjectStore) -> Vec<u64> {
    let kept = savepoints(store, PIPELINE).await.unwrap();
    for (_, manifest) in &kept {
        read_parts(store, PIPELINE, manifest).await.unwrap();
    }
    kept.iter().map(|(at, _)| at.epoch.0).collect()
}

fn parts(store: &FaultyStore) -> BTreeSet<String> {
    store.objects().into_keys().filter(|it| it.contains("/parts/")).collect()
}

/// These checkpoints are kept, each can be read, and no object is there that none of them names.
async fn ensure_kept(store: &FaultyStore, shared: &dyn ObjectStore, epochs: &[u64]) {
    let kept = kept_manifests(shared, PIPELINE).await.unwrap();
    let found: Vec<u64> = kept.iter().map(|it| it.0.epoch.0).collect();
    assert_eq!(found, epochs);
    let objects = kept.iter().flat_map(|(_, manifest)| &manifest.objects);
    let named: BTreeSet<String> = objects.map(|it| format!("{PIPELINE}/{}", it.path)).collect();
    assert_eq!(parts(store), named);
}

/// The log behind a savepoint is swept as if there were none, and the savepoint can be read for ever.
#[tokio::test]
async fn a_savepoint_keeps_itself_and_nothing_else() {
    let (store, shared) = stores();
    let mut log = take_and_complete(&shared, 1, 3).await;
    complete_savepoint(&mut log).await;
    for _ in 0..300 {
        complete(&mut log, 1).await;
        log.sweep(2, &[]).await.unwrap();
    }
    ensure_kept(&store, &*shared, &[4, 303, 304]).await;
    let entries = store.objects().keys().filter(|it| it.contains("/log/0")).count();
    assert!(entries < 20, "{entries} entries of the log");
    assert_eq!(epochs(&*shared).await, [4]);
    // Without the hint, and by the next owner, all the same.
    store.set("payments/log/hint", None);
    assert_eq!(epochs(&*shared).await, [4]);
    let mut log = take_and_complete(&shared, 2, 1).await;
    log.sweep(2, &[]).await.unwrap();
    ensure_kept(&store, &*shared, &[4, 304, 305]).await;

    drop_savepoint(&*shared, PIPELINE, Epoch(4)).await.unwrap();
    assert!(epochs(&*shared).await.is_empty());
    assert!(!log.savepoint_asked().await.unwrap());
    log.sweep(2, &[]).await.unwrap();
    ensure_kept(&store, &*shared, &[304, 305]).await;
    let error = drop_savepoint(&*shared, PIPELINE, Epoch(4)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("has no savepoint of epoch 4; it has none"), "{error}");
}

/// Wherever its entry stands: one at a power of two stays, and is garbage no more.
#[tokio::test]
async fn a_savepoint_given_up_is_swept_once() {
    for before in 1..9 {
        let (_, shared) = stores();
        let mut log = take_and_complete(&shared, 1, before).await;
        let at = complete_savepoint(&mut log).await;
        for _ in 0..20 {
            complete(&mut log, 1).await;
            log.sweep(2, &[]).await.unwrap();
        }
        drop_savepoint(&*shared, PIPELINE, at.epoch).await.unwrap();
        let found = sweep_garbage(shared.clone(), PIPELINE, 2, false).await.unwrap();
        assert_eq!(found.checkpoints, 1, "slot {}", at.slot.0);
        let again = sweep_garbage(shared.clone(), PIPELINE, 2, true).await.unwrap();
        assert_eq!((again.checkpoints, again.objects), (0, 0), "slot {}", at.slot.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_process_is_asked_and_answers() {
    let (_, shared) = stores();
    let mut log = take_and_complete(&shared, 1, 3).await;
    assert!(!log.savepoint_asked().await.unwrap());
    let asking = tokio::spawn(make_savepoint(
        shared.clone(),
        PIPELINE,
        0,
        Runs::WithCheckpoints,
        request(9),
    ));
    while !log.savepoint_asked().await.unwrap() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // An ordinary checkpoint is no answer.
    complete(&mut log, 1).await;
    assert!(log.savepoint_asked().await.unwrap());
    let at = complete_savepoint(&mut log).await;
    let (answer, manifest) = asking.await.unwrap().unwrap();
    assert_eq!((answer, manifest.epoch), (at, Epoch(5)));
    assert!(!log.savepoint_asked().await.unwrap());
    complete(&mut log, 1).await;
    assert_eq!(log.generation().0, 1, "nobody was fenced");
    // Nor does the next owner answer once more.
    assert!(!take(&shared, 2).await.unwrap().savepoint_asked().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_writes_and_does_not_answer_is_not_fenced() {
    let (_, shared) = stores();
    let mut log = take_and_complete(&shared, 1, 3).await;
    let asking = tokio::spawn(make_savepoint(
        shared.clone(),
        PIPELINE,
        0,
        Runs::WithCheckpoints,
        request(9),
    ));
    while !asking.is_finished() {
        complete(&mut log, 1).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let error = asking.await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    complete(&mut log, 1).await;
    // What was asked stays asked: the next owner makes it.
    assert!(take(&shared, 2).await.unwrap().savepoint_asked().await.unwrap());
}

/// Its silence says nothing: it is asked, and never fenced.
#[tokio::test(start_paused = true)]
async fn a_batch_that_is_one_epoch_keeps_its_pipeline() {
    let (_, shared) = stores();
    let mut log = take_and_complete(&shared, 1, 3).await;
    let asked = make_savepoint(shared.clone(), PIPELINE, 0, Runs::AsOneEpoch, request(9)).await;
    let error = asked.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert!(log.savepoint_asked().await.unwrap());
    let at = complete_savepoint(&mut log).await;
    assert_eq!((at.epoch, log.generation().0), (Epoch(4), 1));
    assert!(!log.savepoint_asked().await.unwrap());
}

/// Of a stopped pipeline the newest checkpoint is written again, under a claim of its own.
#[tokio::test(start_paused = true)]
async fn a_stopped_pipeline_keeps_its_newest_checkpoint() {
    let (store, shared) = stores();
    let error = make_savepoint(shared.clone(), PIPELINE, 0, Runs::WithCheckpoints, request(8))
        .await
        .unwrap_err();
    assert!(error.message.contains("has no checkpoint yet"), "{error}");

    let log = take_and_complete(&shared, 1, 3).await;
    drop(log);
    let dead = |_: u32| false;
    let request = ClaimRequest {
        owner: floe_checkpoint::OwnerIdentity { pid: 77, ..owner(1) },
        take_over: false,
        alive: &dead,
        ..request(3)
    };
    let begin = tokio::time::Instant::now();
    let (at, manifest) =
        make_savepoint(shared.clone(), PIPELINE, 42, Runs::AsOneEpoch, request).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1), "a dead owner is not waited for");
    assert_eq!((at.epoch, manifest.created_ms, manifest.generation.0), (Epoch(4), 42, 2));
    let sink = &manifest.sinks[0];
    assert!(sink.committable.is_empty());
    assert_eq!(sink.predecessor, Some(manifest.predecessor.unwrap()), "epoch 3 is still committed");
    assert_eq!(read_parts(&*shared, PIPELINE, &manifest).await.unwrap(), draft(3).tasks);

    let mut log = take_and_complete(&shared, 2, 9).await;
    log.sweep(1, &[]).await.unwrap();
    ensure_kept(&store, &*shared, &[4, 13]).await;
    assert_eq!(epochs(&*shared).await, [4]);
}

/// As an owner would, beside the owner: the open attempt of the owner is never touched.
#[tokio::test]
async fn sweeping_beside_an_owner_touches_nothing_of_its_open_attempt() {
    let (store, shared) = stores();
    let mut log = take_and_complete(&shared, 1, 2).await;
    // An attempt at epoch 3 that died behind its parts, and one at epoch 5 that is under way.
    for (path, bytes) in store.objects().iter().filter(|it| it.0.contains("parts/000000000002")) {
        store.set(&path.replace("000000000002", "000000000003"), Some(bytes.clone()));
        store.set(&path.replace("000000000002", "000000000005"), Some(bytes.clone()));
    }
    for _ in 3..=4 {
        let (at, manifest) = {
            let mut draft = draft(next_epoch(&log));
            draft.sinks[0].committed = log.reading().newest_manifest().map(|(manifest, _)| {
                CommittedSnapshot { manifest, snapshot_id: 1, sequence_number: 1 }
            });
            log.complete(draft).await.unwrap()
        };
        assert_eq!(at.epoch, manifest.epoch);
    }
    assert_eq!(parts(&store).iter().filter(|it| it.contains("/000000000003-")).count(), 2);
    let before = store.objects();
    let found = sweep_garbage(shared.clone(), PIPELINE, 1, true).await.unwrap();
    assert_eq!(store.objects(), before, "a dry run changes nothing");
    assert_eq!((found.checkpoints, found.abandoned_objects), (3, 1));
    assert!(found.bytes > 0);
    let under_way = parts(&store).into_iter().find(|it| it.contains("/000000000005-")).unwrap();
    let before = parts(&store).len() as u64;
    sweep_garbage(shared.clone(), PIPELINE, 1, false).await.unwrap();
    assert_eq!(before - parts(&store).len() as u64, found.objects, "as the dry run said");
    let bytes = store.objects().remove(&under_way);
    store.set(&under_way, None);
    ensure_kept(&store, &*shared, &[4]).await;
    store.set(&under_way, bytes);
    let again = sweep_garbage(shared.clone(), PIPELINE, 1, false).await.unwrap();
    assert_eq!((again.checkpoints, again.objects), (0, 0));
    // The owner goes on, and sweeps what it thinks is there.
    complete(&mut log, 3).await;
    log.sweep(2, &[]).await.unwrap();
    assert_eq!(read_log(&*shared, PIPELINE).await.unwrap().newest_manifest().unwrap().0.epoch.0, 7);
    store.set(&under_way, None);
    ensure_kept(&store, &*shared, &[6, 7]).await;
    assert!(sweep_garbage(shared, "another", 1, false).await.unwrap().objects == 0);
}

/// Rows that may not be in the table are kept with their checkpoint, whatever `keep` says.
#[tokio::test]
async fn what_was_not_committed_is_kept() {
    let (store, shared) = stores();
    drop(take_and_complete(&shared, 1, 6).await);
    let found = sweep_garbage(shared.clone(), PIPELINE, 1, false).await.unwrap();
    assert_eq!((found.checkpoints, found.kept_checkpoints), (0, 6));
    ensure_kept(&store, &*shared, &[1, 2, 3, 4, 5, 6]).await;
}

/// Killed after each number of changes, beside a savepoint that is kept, one that is given up, and an
/// abandoned attempt: the savepoint stays readable, and the next sweep ends where an undisturbed one ends.
#[tokio::test]
async fn it_may_be_killed_between_any_two_changes() {
    let mut finished = false;
    let mut changes = 0;
    while !finished {
        let (store, shared) = stores();
        let mut log = take_and_complete(&shared, 1, 2).await;
        let first = complete_savepoint(&mut log).await;
        complete(&mut log, 2).await;
        let second = complete_savepoint(&mut log).await;
        complete(&mut log, 7).await;
        log.sweep(3, &[]).await.unwrap();
        drop_savepoint(&*shared, PIPELINE, first.epoch).await.unwrap();
        let third = complete_savepoint(&mut log).await;
        complete(&mut log, 4).await;
        let torn = store.objects().into_iter().find(|it| it.0.contains("/parts/")).unwrap();
        store.set(&torn.0.replace(&torn.0[15..27], "000000000013"), Some(torn.1));

        store.die_after(changes);
        finished = log.sweep(1, &[]).await.is_ok();
        store.heal();
        assert_eq!(epochs(&*shared).await, [second.epoch.0, third.epoch.0], "{changes}");
        let newest = read_log(&*shared, PIPELINE).await.unwrap();
        assert_eq!(newest.newest_manifest().unwrap().0.epoch, Epoch(18));

        let mut next = take_and_complete(&shared, 2, 1).await;
        next.sweep(1, &[]).await.unwrap();
        assert_eq!(epochs(&*shared).await, [second.epoch.0, third.epoch.0], "{changes}");
        ensure_kept(&store, &*shared, &[second.epoch.0, third.epoch.0, 19]).await;
        changes += 1;
    }
    assert!(changes > 12, "{changes}");
}
