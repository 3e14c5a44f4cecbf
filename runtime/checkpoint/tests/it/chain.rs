//! Chains of changes: they add up to the memory, stay short, and never miss a part.

use std::collections::BTreeSet;
use std::sync::Arc;

use floe_checkpoint::{OwnedLog, memory_store, read_log, read_parts, state_hash};
use floe_core::image::{MemoryImage, PAGE_BYTES, PageRun};
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::{CheckpointDraft, CheckpointLog, ObjectStore};
use floe_core::task::CapturedTask;
use floe_core::{Epoch, ErrorKind};

use crate::support::*;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn page(&mut self) -> Vec<u8> {
        (0..PAGE_BYTES).map(|_| self.below(256) as u8).collect()
    }
}

/// A guest's memory, and the pages written since the last capture.
struct Guest {
    memory: Vec<u8>,
    written: BTreeSet<usize>,
}

impl Guest {
    fn new(pages: usize, random: &mut Random) -> Guest {
        let memory = (0..pages).flat_map(|_| random.page()).collect();
        Guest { memory, written: (0..pages).collect() }
    }

    fn write(&mut self, page: usize, content: &[u8]) {
        self.memory[page * PAGE_BYTES..(page + 1) * PAGE_BYTES].copy_from_slice(content);
        self.written.insert(page);
    }

    fn changes(&mut self) -> MemoryImage {
        let content =
            |page: usize| self.memory[page * PAGE_BYTES..(page + 1) * PAGE_BYTES].to_vec().into();
        let written = std::mem::take(&mut self.written);
        let run = |page| PageRun { first_page: page as u32, content: content(page) };
        let runs = written.into_iter().map(run).collect();
        MemoryImage { bytes: self.memory.len() as u64, whole: false, runs }
    }
}

fn with(partition: i32, memory: MemoryImage) -> CapturedTask {
    let image = floe_core::image::OperatorImage { memory, ..image(Vec::new()) };
    CapturedTask { operators: vec![("a".into(), image)], ..task(partition, 1) }
}

async fn complete_tasks(log: &mut OwnedLog, tasks: Vec<CapturedTask>) -> CheckpointManifest {
    let draft = CheckpointDraft { tasks, ..draft(next_epoch(log)) };
    let (_, manifest) = log.complete(draft).await.unwrap();
    (*manifest).clone()
}

fn named_bytes(manifest: &CheckpointManifest) -> u64 {
    manifest.objects.iter().map(|it| it.len).sum()
}

fn own_bytes(manifest: &CheckpointManifest) -> u64 {
    let own = manifest.id.to_string();
    manifest.objects.iter().filter(|it| it.path.contains(&own)).map(|it| it.len).sum()
}

#[tokio::test]
async fn changes_add_up_over_restarts_and_sweeps() {
    let mut random = Random(1);
    let store = memory_store();
    let mut log = take(&store, 1).await.unwrap();
    let mut guests: Vec<Guest> = (0..3).map(|it| Guest::new(16 << it, &mut random)).collect();
    for epoch in 0..120 {
        for guest in &mut guests {
            for _ in 0..random.below(5) {
                let page = random.below(guest.memory.len() / PAGE_BYTES);
                let content = match random.below(3) {
                    0 => vec![0; PAGE_BYTES],
                    // Written, and as it was.
                    1 => guest.memory[page * PAGE_BYTES..(page + 1) * PAGE_BYTES].to_vec(),
                    _ => random.page(),
                };
                guest.write(page, &content);
            }
            if random.below(12) == 0 {
                guest.memory.resize(guest.memory.len() + 65_536, 0);
            }
        }
        let whole = epoch == 0 || random.below(10) == 0;
        let images = guests.iter_mut().map(|it| match whole {
            true => {
                it.written.clear();
                MemoryImage::from(it.memory.clone())
            }
            false => it.changes(),
        });
        let tasks = (0..).zip(images).map(|(partition, it)| with(partition, it)).collect();
        let manifest = complete_tasks(&mut log, tasks).await;
        if random.below(4) == 0 {
            log.sweep(2, &[]).await.unwrap();
        }

        let read = read_parts(&*store, PIPELINE, &manifest).await.unwrap();
        for ((task, guest), entry) in read.iter().zip(&guests).zip(&manifest.tasks) {
            assert!(task.operators[0].1.memory.to_vec() == guest.memory, "epoch {epoch}");
            assert_eq!(state_hash(&task.operators), entry.state_hash, "epoch {epoch}");
        }
        let image: usize = guests.iter().map(|it| it.memory.len()).sum();
        assert!(named_bytes(&manifest) <= 2 * image as u64 + 128 * 1024, "epoch {epoch}");
        if random.below(10) == 0 {
            log = take(&store, 2 + epoch).await.unwrap();
            let newest = log.manifests().pop().unwrap().1;
            log.restore(&newest).await.unwrap();
        }
    }
}

/// The same pages again and again: what they replace is let go of, and the rest is never touched.
#[tokio::test]
async fn a_hot_page_costs_itself() {
    let mut random = Random(2);
    let store = memory_store();
    let mut log = take(&store, 1).await.unwrap();
    let mut guest = Guest::new(1024, &mut random);
    let first = complete_tasks(&mut log, vec![with(0, guest.memory.clone().into())]).await;
    guest.written.clear();
    for _ in 0..100 {
        for page in [3, 4, 900] {
            guest.write(page, &random.page());
        }
        let manifest = complete_tasks(&mut log, vec![with(0, guest.changes())]).await;
        assert_eq!(manifest.objects.len(), 2);
        assert_eq!(manifest.objects[0], first.objects[0]);
        assert!(own_bytes(&manifest) < 3 * 4096 + 1024, "{}", own_bytes(&manifest));
    }
}

/// Other pages each time: a restore never reads more than twice the image, and what that costs is bounded.
#[tokio::test]
async fn scattered_pages_stay_within_twice_the_image() {
    let mut random = Random(3);
    let store = memory_store();
    let mut log = take(&store, 1).await.unwrap();
    let pages = 2048;
    let mut guest = Guest::new(pages, &mut random);
    let whole = complete_tasks(&mut log, vec![with(0, guest.memory.clone().into())]).await;
    guest.written.clear();
    let (mut dirty, mut written, mut objects_most) = (0, 0, 0);
    for _ in 0..120 {
        for _ in 0..pages / 20 {
            guest.write(random.below(pages), &random.page());
        }
        dirty += guest.written.len() * PAGE_BYTES;
        let manifest = complete_tasks(&mut log, vec![with(0, guest.changes())]).await;
        log.sweep(2, &[]).await.unwrap();
        written += own_bytes(&manifest);
        assert!(named_bytes(&manifest) <= 2 * named_bytes(&whole) + 70_000);
        objects_most = objects_most.max(manifest.objects.len());
    }
    let amplification = written as f64 / dirty as f64;
    assert!(amplification < 1.5, "{amplification}");
    assert!(objects_most <= 34, "{objects_most} objects");
    let newest = log.manifests().pop().unwrap().1;
    let read = read_parts(&*store, PIPELINE, &newest).await.unwrap();
    assert!(read[0].operators[0].1.memory.to_vec() == guest.memory);
}

#[tokio::test]
async fn a_thousand_tasks_are_few_objects_an_epoch() {
    let mut random = Random(4);
    let store = memory_store();
    let mut log = take(&store, 1).await.unwrap();
    let mut guests: Vec<Guest> = (0..1000).map(|_| Guest::new(16, &mut random)).collect();
    let tasks = |images: Vec<MemoryImage>| {
        (0..).zip(images).map(|(partition, it)| with(partition, it)).collect::<Vec<_>>()
    };
    let whole = guests.iter().map(|it| it.memory.clone().into()).collect();
    let mut manifest = complete_tasks(&mut log, tasks(whole)).await;
    for _ in 0..5 {
        let own = manifest.id.to_string();
        let count = manifest.objects.iter().filter(|it| it.path.contains(&own)).count();
        assert!((1..=20).contains(&count), "{count} objects");
        for guest in &mut guests {
            guest.written.clear();
            guest.write(random.below(16), &random.page());
        }
        let changes = guests.iter_mut().map(Guest::changes).collect();
        manifest = complete_tasks(&mut log, tasks(changes)).await;
    }
    let read = read_parts(&*store, PIPELINE, &manifest).await.unwrap();
    assert!(
        read.iter().zip(&guests).all(|(task, it)| task.operators[0].1.memory.to_vec() == it.memory)
    );
}

/// A page is forgotten as changed when it is captured. So after a checkpoint that failed, or was left out,
/// changes are refused: only a whole image, or a restore, goes on.
#[tokio::test]
async fn changes_that_would_leave_something_out_are_refused() {
    let store = Arc::new(FaultyStore::default());
    let shared: Arc<dyn ObjectStore> = store.clone();
    let mut random = Random(5);
    let mut log = take(&shared, 1).await.unwrap();
    let mut guest = Guest::new(16, &mut random);
    let changes = |guest: &mut Guest, epoch: u64| CheckpointDraft {
        tasks: vec![with(0, guest.changes())],
        ..draft(epoch)
    };
    let error = log.complete(changes(&mut guest, 1)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "there is nothing they could be changes of");
    assert!(error.message.contains("do not follow the checkpoint before epoch 1"), "{error}");

    complete_tasks(&mut log, vec![with(0, guest.memory.clone().into())]).await;
    let error = log.complete(changes(&mut guest, 3)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "epoch 2 was left out");

    complete_tasks(&mut log, vec![with(0, guest.memory.clone().into())]).await;
    store.fail_from_now_on(Fault::NotApplied);
    guest.write(3, &random.page());
    assert_eq!(log.complete(changes(&mut guest, 3)).await.unwrap_err().kind, ErrorKind::Retry);
    store.heal();
    guest.write(4, &random.page());
    let error = log.complete(changes(&mut guest, 3)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "page 3 is in no checkpoint");

    // What the run does: it goes back to the checkpoint, restored afresh.
    let newest = log.manifests().pop().unwrap().1;
    assert_eq!(newest.epoch, Epoch(2));
    let memory = log.restore(&newest).await.unwrap()[0].operators[0].1.memory.to_vec();
    guest = Guest { memory, written: BTreeSet::new() };
    guest.write(4, &random.page());
    let manifest = complete_tasks(&mut log, vec![with(0, guest.changes())]).await;
    let read = read_parts(&*shared, PIPELINE, &manifest).await.unwrap();
    assert!(read[0].operators[0].1.memory.to_vec() == guest.memory);
}

/// Every object of a chain damaged: refused by name at the restore, and cleaning lets nothing in.
#[tokio::test]
async fn every_object_of_a_chain_is_verified() {
    let store = Arc::new(FaultyStore::default());
    let shared: Arc<dyn ObjectStore> = store.clone();
    let mut random = Random(6);
    let mut log = take(&shared, 1).await.unwrap();
    let mut guest = Guest::new(64, &mut random);
    let mut manifest = complete_tasks(&mut log, vec![with(0, guest.memory.clone().into())]).await;
    guest.written.clear();
    for page in 0..6 {
        guest.write(page, &random.page());
        manifest = complete_tasks(&mut log, vec![with(0, guest.changes())]).await;
    }
    assert_eq!(manifest.objects.len(), 7);
    for object in &manifest.objects {
        let path = format!("{PIPELINE}/{}", object.path);
        let good = store.objects()[&path].clone();
        let mut flipped = good.to_vec();
        flipped[good.len() / 2] ^= 4;
        for bad in [Some(flipped.into()), Some(good.slice(1..)), None] {
            store.set(&path, bad);
            let error = read_parts(&*shared, PIPELINE, &manifest).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Corrupt);
            assert!(error.message.contains(&path), "{error}");
        }
        store.set(&path, Some(good));
    }
}

/// A whole image and changes on changes, small enough to damage every byte of every object: each damage is
/// refused by the object's name.
#[tokio::test]
async fn every_byte_of_a_chain_is_verified() {
    let store = Arc::new(FaultyStore::default());
    let shared: Arc<dyn ObjectStore> = store.clone();
    let mut log = take(&shared, 1).await.unwrap();
    let mut guest = Guest { memory: vec![0; 16 * PAGE_BYTES], written: BTreeSet::new() };
    (0..12).for_each(|page| guest.write(page, &[page as u8 + 1; PAGE_BYTES]));
    complete_tasks(&mut log, vec![with(0, guest.memory.clone().into())]).await;
    guest.written.clear();
    guest.write(3, &[77; PAGE_BYTES]);
    guest.write(4, &[0; PAGE_BYTES]);
    complete_tasks(&mut log, vec![with(0, guest.changes())]).await;
    guest.write(4, &[79; PAGE_BYTES]);
    guest.write(5, &[80; PAGE_BYTES]);
    let manifest = complete_tasks(&mut log, vec![with(0, guest.changes())]).await;
    let read = read_parts(&*shared, PIPELINE, &manifest).await.unwrap();
    assert!(read[0].operators[0].1.memory.to_vec() == guest.memory);

    assert_eq!(manifest.objects.len(), 3);
    let objects = manifest.objects.iter().map(|it| format!("{PIPELINE}/{}", it.path));
    let entry = format!("{PIPELINE}/log/{:020}", log.manifests().pop().unwrap().0.slot.0);
    for path in objects.chain([entry]) {
        let good = store.objects()[&path].clone();
        assert!(good.len() < 2048, "{path} has {} bytes", good.len());
        for at in 0..good.len() {
            let mut flipped = good.to_vec();
            flipped[at] ^= 1 << (at % 8);
            store.set(&path, Some(flipped.into()));
            let error = newest(&*shared).await.expect_err("it was damaged");
            assert_eq!(error.kind, ErrorKind::Corrupt, "byte {at} of {path}: {error}");
            assert!(error.message.contains(&path), "byte {at} of {path}: {error}");
        }
        store.set(&path, Some(good));
    }
    assert_eq!(newest(&*shared).await.unwrap(), read);
}

/// What the log and the objects of its newest checkpoint say.
async fn newest(store: &dyn ObjectStore) -> floe_core::Result<Vec<CapturedTask>> {
    let reading = read_log(store, PIPELINE).await?;
    let (_, manifest) = reading.newest_manifest().expect("a manifest was written");
    read_parts(store, PIPELINE, manifest).await
}
