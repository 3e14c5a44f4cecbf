//! Every put's answer lost, in every way: the outcome is the one of the run without a loss.

use std::sync::Arc;
use std::time::Duration;

use floe_checkpoint::{ClaimRequest, LogReading, claim, read_log, read_parts};
use floe_core::ErrorKind;
use floe_core::ports::{CheckpointLog, ObjectStore};

use crate::support::*;

async fn run(store: &Arc<FaultyStore>) -> LogReading {
    let shared: Arc<dyn ObjectStore> = store.clone();
    let mut first = take_and_complete(&shared, 1, 2).await;
    first.sweep(2, &[]).await.unwrap();
    let mut second = take_and_complete(&shared, 2, 2).await;
    second.sweep(2, &[]).await.unwrap();
    let error = first.complete(draft(3)).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Fenced { .. }), "{error}");
    store.land_late_puts();
    let reading = read_log(&*shared, PIPELINE).await.unwrap();
    for (_, manifest) in reading.manifests() {
        let tasks = read_parts(&*shared, PIPELINE, manifest).await.unwrap();
        assert_eq!(tasks, draft(manifest.epoch.0).tasks);
    }
    reading
}

#[tokio::test]
async fn one_lost_answer_changes_nothing() {
    let sound = Arc::new(FaultyStore::default());
    let expected = run(&sound).await;
    let puts = sound.puts();
    assert!(puts >= 10, "{puts}");
    for fault in [Fault::NotApplied, Fault::AppliedButErrored, Fault::AppliedLater] {
        for put in 0..puts {
            let reading = run(&FaultyStore::with_fault(put, fault)).await;
            assert_eq!(reading, expected, "{fault:?} at put {put}");
        }
    }
}

#[tokio::test]
async fn a_loss_without_end_closes_the_log_until_the_next_start() {
    for fault in [Fault::NotApplied, Fault::AppliedLater] {
        let store = Arc::new(FaultyStore::default());
        let shared: Arc<dyn ObjectStore> = store.clone();
        let impatient = ClaimRequest { patience: Duration::ZERO, ..request(1) };
        let mut log = claim(shared.clone(), PIPELINE, impatient).await.unwrap();
        complete(&mut log, 1).await;
        let put_of_manifest = store.puts() + 1;
        store.fail_at(put_of_manifest, fault);
        let error = log.complete(draft(2)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unknown);
        store.heal();
        assert_eq!(log.complete(draft(2)).await.unwrap_err().kind, ErrorKind::Unknown);

        store.land_late_puts();
        let mut next = take(&shared, 2).await.unwrap();
        let landed = fault == Fault::AppliedLater;
        assert_eq!(next_epoch(&next), if landed { 3 } else { 2 });
        complete(&mut next, 1).await;
    }
}

#[tokio::test]
async fn parts_that_cannot_be_written_are_tried_again_by_the_caller() {
    let store = Arc::new(FaultyStore::default());
    let shared: Arc<dyn ObjectStore> = store.clone();
    let mut log = take_and_complete(&shared, 1, 1).await;
    store.fail_from_now_on(Fault::NotApplied);
    let error = log.complete(draft(2)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Retry);
    store.heal();
    complete(&mut log, 1).await;
    assert_eq!(next_epoch(&log), 3);
}

#[tokio::test]
async fn a_dropped_append_closes_the_log() {
    let store = Arc::new(FaultyStore::default());
    let shared: Arc<dyn ObjectStore> = store.clone();
    let mut log = take_and_complete(&shared, 1, 1).await;
    // The parts are written, the manifest is asked for again and again.
    let put_of_manifest = store.puts() + 1;
    (0..100).for_each(|it| store.fail_at(put_of_manifest + it, Fault::NotApplied));
    let append = log.complete(draft(2));
    assert!(tokio::time::timeout(Duration::from_secs(1), append).await.is_err());
    store.heal();
    assert_eq!(log.complete(draft(2)).await.unwrap_err().kind, ErrorKind::Unknown);
}
