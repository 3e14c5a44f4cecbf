//! Sweeping: what stays, what goes, and a sweep killed between any two steps.

use std::sync::Arc;

use floe_checkpoint::{read_log, read_parts};
use floe_core::Epoch;
use floe_core::epoch::Slot;
use floe_core::ports::{CheckpointLog, ObjectStore, SweepReport};

use crate::support::*;

fn parts(store: &FaultyStore) -> Vec<String> {
    store.objects().into_keys().filter(|it| it.contains("/parts/")).collect()
}

/// The epochs that wrote them. All build on what the first wrote and nobody changed since.
fn epochs_of_parts(store: &FaultyStore) -> Vec<u64> {
    let epoch = |path: &String| path.split('/').next_back().unwrap()[..12].parse().unwrap();
    parts(store).iter().map(epoch).collect()
}

#[tokio::test]
async fn savepoints_and_pending_manifests_stay() {
    let store = Arc::new(FaultyStore::default());
    let shared: Arc<dyn ObjectStore> = store.clone();
    let mut log = take(&shared, 1).await.unwrap();
    let mut places = Vec::new();
    for epoch in 1..=12 {
        let mut draft = draft(epoch);
        draft.savepoint = epoch == 5;
        places.push(log.complete(draft).await.unwrap().0);
    }
    let report = log.sweep(2, &[places[6]]).await.unwrap();
    assert_eq!(epochs_of_parts(&store), [1, 5, 7, 11, 12]);
    assert_eq!(log.reading().first_kept(), places[6].slot, "a savepoint keeps itself alone");
    assert_eq!(report.objects, 7);
    assert_eq!(log.sweep(2, &[places[6]]).await.unwrap(), SweepReport::default(), "done is done");
    log.sweep(2, &[]).await.unwrap();
    assert_eq!(epochs_of_parts(&store), [1, 5, 11, 12]);
    // Another owner goes on with it.
    let mut log = take_and_complete(&shared, 2, 3).await;
    log.sweep(1, &[]).await.unwrap();
    assert_eq!(
        epochs_of_parts(&store),
        [1, 5, 13, 15],
        "an owner that restored nothing begins with whole images"
    );
    assert_eq!(log.reading().newest_manifest().unwrap().0.epoch, Epoch(15));
}

#[tokio::test]
async fn a_long_run_keeps_little() {
    let store = Arc::new(FaultyStore::default());
    let shared: Arc<dyn ObjectStore> = store.clone();
    let mut log = take(&shared, 1).await.unwrap();
    for _ in 0..1000 {
        complete(&mut log, 1).await;
        log.sweep(10, &[]).await.unwrap();
    }
    assert_eq!(parts(&store).len(), 11, "the base and ten epochs' changes");
    let entries = store.objects().len() - 11 - 1;
    assert!(entries <= 10 + 20, "{entries} entries");
    let reading = read_log(&*shared, PIPELINE).await.unwrap();
    assert_eq!(reading.newest_claim().unwrap().0, Slot(1));
    assert_eq!(reading.entries, log.reading().entries);
}

/// Killed after each number of changes. The next owner restores, goes on, and the next sweep leaves what
/// an undisturbed one leaves.
#[tokio::test]
async fn it_may_be_killed_between_any_two_steps() {
    let mut finished = false;
    let mut changes = 0;
    while !finished {
        let store = Arc::new(FaultyStore::default());
        let shared: Arc<dyn ObjectStore> = store.clone();
        let mut log = take_and_complete(&shared, 1, 9).await;
        log.sweep(4, &[]).await.unwrap();
        complete(&mut log, 6).await;
        store.die_after(changes);
        finished = log.sweep(2, &[]).await.is_ok();
        store.heal();

        let reading = read_log(&*shared, PIPELINE).await.unwrap();
        assert_eq!(reading.end(), Slot(17), "{changes}");
        for (at, manifest) in reading.manifests().rev().take(2) {
            let tasks = read_parts(&*shared, PIPELINE, manifest).await.unwrap();
            assert_eq!(tasks, draft(at.epoch.0).tasks);
        }
        let mut next = take_and_complete(&shared, 2, 1).await;
        next.sweep(2, &[]).await.unwrap();
        assert_eq!(epochs_of_parts(&store), [1, 15, 16], "{changes}");
        let entries = store.objects().into_keys().filter(|it| it.contains("/log/0"));
        let slots: Vec<u64> =
            entries.map(|it| it.split('/').next_back().unwrap().parse().unwrap()).collect();
        // Claims 1 and 17, the kept manifests 16 and 18, and the spine of 16. Of the spine of 7 one entry may
        // be left over.
        let expected: Vec<u64> = slots.iter().copied().filter(|it| *it != 6 || finished).collect();
        assert_eq!(expected, [1, 2, 4, 8, 16, 17, 18], "{changes}");
        assert!(slots.len() <= 8);
        changes += 1;
    }
    assert!(changes > 12, "{changes}");
}
