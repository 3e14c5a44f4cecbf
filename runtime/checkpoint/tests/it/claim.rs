//! Who may write: races, watching, dead owners, and fenced ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use floe_checkpoint::{
    ClaimRequest, KeptEntry, claim, memory_store, open_store, read_log, read_parts,
};
use floe_core::epoch::{EntryId, Generation, Slot};
use floe_core::ports::{CheckpointLog, LogAnswer, ObjectStore};
use floe_core::{Epoch, ErrorKind};

use crate::support::*;

/// One of several processes: claims, completes a few epochs, and stops when it is fenced.
async fn run_process(store: Arc<dyn ObjectStore>, number: u32) -> Vec<Slot> {
    let mut ours = Vec::new();
    let mut log = match take(&store, number).await {
        Ok(log) => log,
        Err(error) => panic!("{error}"),
    };
    for _ in 0..3 {
        match log.complete(draft(next_epoch(&log))).await {
            Ok((at, _)) => ours.push(at.slot),
            Err(error) => {
                assert!(matches!(error.kind, ErrorKind::Fenced { by: Some(_) }), "{error}");
                let again = log.complete(draft(next_epoch(&log))).await.unwrap_err();
                assert_eq!(again.kind, error.kind, "it stays fenced");
                break;
            }
        }
        if ours.len() == 2 && log.sweep(1, &[]).await.is_err() {
            break;
        }
    }
    ours
}

/// `read_log` checks the order of generations and epochs; here: each slot has one owner, who knows.
async fn check_log(store: &dyn ObjectStore, owned: &[Vec<Slot>]) {
    let reading = read_log(store, PIPELINE).await.unwrap();
    let mut owners = BTreeMap::new();
    for (process, slots) in owned.iter().enumerate() {
        for slot in slots {
            assert_eq!(owners.insert(*slot, process), None, "two owners of {slot}");
        }
    }
    for (slot, entry) in &reading.entries {
        if let KeptEntry::Manifest(manifest) = entry {
            let process = u32::from_le_bytes(manifest.id.0[..4].try_into().unwrap());
            assert_eq!(owners.get(slot), Some(&(process as usize)), "slot {slot}");
        }
    }
    let (_, newest) = reading.newest_manifest().unwrap();
    assert_eq!(read_parts(store, PIPELINE, newest).await.unwrap(), draft(newest.epoch.0).tasks);
}

#[tokio::test]
async fn claimers_race_in_memory_in_any_order() {
    for seed in 0..300 {
        let shared = memory_store();
        let runs = (0..3).map(|it| {
            run_process(YieldingStore::over(shared.clone(), seed * 3 + u64::from(it)), it)
        });
        let owned = futures::future::join_all(runs).await;
        check_log(&*shared, &owned).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claimers_race_over_files() {
    for _ in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().to_str().unwrap().to_owned();
        let runs = (0..3u32).map(|number| {
            let store = open_store(&url, &BTreeMap::new()).unwrap();
            tokio::spawn(run_process(store, number))
        });
        let owned: Vec<_> =
            futures::future::join_all(runs).await.into_iter().map(|it| it.unwrap()).collect();
        check_log(&*open_store(&url, &BTreeMap::new()).unwrap(), &owned).await;
    }
}

#[tokio::test]
async fn a_zombie_is_fenced_and_its_parts_are_harmless() {
    let store = memory_store();
    let mut zombie = take_and_complete(&store, 1, 2).await;
    let view = zombie.view();
    let mut successor = take_and_complete(&store, 2, 1).await;
    assert_eq!((zombie.generation(), successor.generation()), (Generation(1), Generation(2)));

    let error = zombie.complete(draft(3)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fenced { by: Some(Generation(2)) });
    assert_eq!(
        error.message,
        "fenced: generation 2 has owned pipeline \"payments\" since epoch 3; this process is generation 1\n  \
         started by  host-2 pid 4002 at 12:04:31 UTC\n  \
         this process has stopped writing; epochs up to 2 are complete, nothing is lost"
    );
    assert!(zombie.sweep(1, &[]).await.is_err(), "it sweeps nothing either");

    let (of_successor, _) = successor.reading().newest_manifest().unwrap();
    assert_eq!(view.find(&of_successor).await.unwrap(), LogAnswer::FencedBy(Generation(2)));
    let mut foreign = of_successor;
    foreign.id = EntryId([0xee; 16]);
    assert_eq!(successor.view().find(&foreign).await.unwrap(), LogAnswer::Absent);
    assert_eq!(successor.view().find(&of_successor).await.unwrap(), LogAnswer::Known);

    successor.sweep(1, &[]).await.unwrap();
    assert_eq!(successor.reading().first_kept(), of_successor.slot);
    assert_eq!(successor.view().find(&foreign).await.unwrap(), LogAnswer::Absent);
    foreign.slot = Slot(foreign.slot.0 - 1);
    assert_eq!(successor.view().find(&foreign).await.unwrap(), LogAnswer::Known, "it was swept");

    complete(&mut successor, 1).await;
    let third = take(&store, 3).await.unwrap();
    let (newest, manifest) = third.reading().newest_manifest().unwrap();
    assert_eq!(newest.epoch, Epoch(4));
    assert_eq!(third.restore(manifest).await.unwrap(), draft(4).tasks);
}

/// However much was written and swept since: the slot that an old owner wants stays taken for ever.
#[tokio::test]
async fn a_zombie_is_fenced_after_its_slot_was_swept() {
    let store = memory_store();
    // Slot 7, which it wants next, is none that is kept for the search of the end.
    let mut zombie = take_and_complete(&store, 1, 5).await;
    for number in 2..5 {
        let mut log = take_and_complete(&store, number, 20).await;
        log.sweep(2, &[]).await.unwrap();
        assert!(log.reading().first_kept() > Slot(20));
    }
    let error = zombie.complete(draft(6)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fenced { by: Some(Generation(2)) });
}

/// Stopped between reading and claiming, while others wrote on and swept the slot it wants.
#[tokio::test]
async fn a_claimer_that_slept_does_not_claim_in_a_hole() {
    let inner = memory_store();
    let mut old = take_and_complete(&inner, 1, 4).await;
    let stop = Arc::new(StoppingStore {
        inner: inner.clone(),
        reached: tokio::sync::Notify::new(),
        go_on: tokio::sync::Notify::new(),
        stopped: false.into(),
    });
    let sleeper = {
        let store: Arc<dyn ObjectStore> = stop.clone();
        tokio::spawn(async move { take(&store, 2).await })
    };
    stop.reached.notified().await;
    complete(&mut old, 30).await;
    old.sweep(2, &[]).await.unwrap();
    let wanted = "payments/log/00000000000000000006";
    assert_eq!(inner.get(wanted).await.unwrap(), None);
    stop.go_on.notify_one();

    let log = sleeper.await.unwrap().unwrap();
    assert_eq!(log.reading().newest_manifest().unwrap().0.epoch, Epoch(34));
    assert_eq!(log.reading().end(), Slot(37));
    assert_eq!(inner.get(wanted).await.unwrap(), None, "its first claim is gone");
    assert!(matches!(old.complete(draft(35)).await.unwrap_err().kind, ErrorKind::Fenced { .. }));
}

/// Stops before its first put until it is told to go on.
struct StoppingStore {
    inner: Arc<dyn ObjectStore>,
    reached: tokio::sync::Notify,
    go_on: tokio::sync::Notify,
    stopped: std::sync::atomic::AtomicBool,
}

#[async_trait::async_trait]
impl ObjectStore for StoppingStore {
    async fn put_if_absent(
        &self,
        path: &str,
        bytes: bytes::Bytes,
    ) -> floe_core::Result<floe_core::ports::Put> {
        if !self.stopped.swap(true, std::sync::atomic::Ordering::SeqCst) {
            self.reached.notify_one();
            self.go_on.notified().await;
        }
        self.inner.put_if_absent(path, bytes).await
    }

    async fn put(&self, path: &str, bytes: bytes::Bytes) -> floe_core::Result<()> {
        self.inner.put(path, bytes).await
    }

    async fn get(&self, path: &str) -> floe_core::Result<Option<bytes::Bytes>> {
        self.inner.get(path).await
    }

    async fn list(&self, folder: &str) -> floe_core::Result<Vec<floe_core::ports::Listed>> {
        self.inner.list(folder).await
    }

    async fn delete(&self, path: &str) -> floe_core::Result<()> {
        self.inner.delete(path).await
    }
}

fn without_take_over(number: u32) -> ClaimRequest<'static> {
    ClaimRequest { take_over: false, ..request(number) }
}

#[tokio::test]
async fn who_is_taken_from_and_after_what() {
    let dead = |_: u32| false;
    // What the second process is like, and whether it must watch.
    let other_host = || without_take_over(2);
    let same_host_alive = || {
        let mut request = without_take_over(2);
        request.owner.host = owner(1).host;
        request
    };
    let same_host_dead = || ClaimRequest { alive: &dead, ..same_host_alive() };
    let same_host_rebooted = || {
        let mut request = same_host_alive();
        request.owner.boot_id = "later boot".into();
        request
    };
    let told_to = || ClaimRequest { take_over: true, ..other_host() };
    type Case<'a> = (&'a str, &'a dyn Fn() -> ClaimRequest<'a>, bool);
    let cases: [Case<'_>; 5] = [
        ("other host", &other_host, true),
        ("same host, alive", &same_host_alive, true),
        ("same host, dead", &same_host_dead, false),
        ("same host, rebooted", &same_host_rebooted, false),
        ("told to", &told_to, false),
    ];
    for (name, second, watches) in cases {
        for swept in [false, true] {
            let store = memory_store();
            let mut first = take_and_complete(&store, 1, 6).await;
            if swept {
                first.sweep(1, &[]).await.unwrap();
            }
            // A silent owner is taken from, after watching or at once.
            let mut request = second();
            let watch = Duration::from_millis(if watches { 60 } else { 600_000 });
            request.watch = watch;
            let started = std::time::Instant::now();
            let log = claim(store.clone(), PIPELINE, request).await.unwrap();
            assert_eq!(log.generation(), Generation(2), "{name}");
            assert_eq!(started.elapsed() >= watch, watches, "{name}");

            // One that writes is not, if it must be watched.
            let store = memory_store();
            let mut first = take_and_complete(&store, 1, 1).await;
            let mut request = second();
            request.watch = Duration::from_secs(600);
            let writes = async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                first.complete(draft(2)).await
            };
            let (claimed, written) =
                futures::join!(claim(store.clone(), PIPELINE, request), writes);
            if watches {
                let error = claimed.err().unwrap();
                assert_eq!(error.kind, ErrorKind::Refused, "{name}");
                for part in ["generation 1", "host-1", "4001", "epoch 2", "--take-over"] {
                    assert!(error.message.contains(part), "{name}: {error}");
                }
                written.unwrap();
            } else {
                claimed.unwrap();
                let kind = written.unwrap_err().kind;
                assert!(matches!(kind, ErrorKind::Fenced { .. }), "{name}");
            }
        }
    }
}

/// Both find the owner dead. The one that loses the race finds another owner, alive, and leaves it alone.
#[tokio::test]
async fn two_supervisors_do_not_fence_each_other() {
    for seed in 0..50 {
        let shared = memory_store();
        take_and_complete(&shared, 1, 2).await;
        let supervise = async |number: u32| {
            let store = YieldingStore::over(shared.clone(), seed * 2 + u64::from(number));
            let mut request = without_take_over(number);
            request.owner.host = owner(1).host;
            request.alive = &|pid| pid != owner(1).pid;
            request.watch = Duration::from_secs(2);
            let mut log = claim(store, PIPELINE, request).await?;
            complete(&mut log, 20).await;
            Ok::<(), floe_core::Error>(())
        };
        let (one, two) = futures::join!(supervise(2), supervise(3));
        let refused: Vec<_> = [one, two].into_iter().filter_map(|it| it.err()).collect();
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert_eq!(refused[0].kind, ErrorKind::Refused, "{refused:?}");
    }
}

#[tokio::test]
async fn ids_cannot_leave_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("inner/store");
    let store = open_store(root.to_str().unwrap(), &BTreeMap::new()).unwrap();
    for id in ["../x", "a/b", "..", ".", "é ü#1", "a%2Fb", "C:\\x", "/etc", "a\nb"] {
        let log = claim(store.clone(), id, request(1)).await.unwrap();
        assert_eq!(log.generation(), Generation(1), "{id:?} shares its log");
        let again = read_log(&*store, id).await.unwrap();
        assert_eq!(again.end(), Slot(2), "{id:?}");
    }
    assert!(claim(store.clone(), "", request(1)).await.is_err());
    let outside: Vec<_> = std::fs::read_dir(folder.path().join("inner")).unwrap().collect();
    assert_eq!(outside.len(), 1);
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 9);
}
