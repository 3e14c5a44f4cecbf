//! Pages that several tasks have alike: stored once, kept so when old objects are cleaned, and never the
//! wrong one.

use std::collections::BTreeSet;

use floe_checkpoint::{OwnedLog, memory_store, read_parts, state_hash};
use floe_core::image::{MemoryImage, PAGE_BYTES, PageRun};
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::{CheckpointDraft, CheckpointLog};
use floe_core::task::CapturedTask;

use crate::support::*;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    /// Bytes that do not compress.
    fn page(&mut self) -> Vec<u8> {
        (0..PAGE_BYTES).map(|_| self.below(256) as u8).collect()
    }
}

#[derive(Clone)]
struct Guest {
    memory: Vec<u8>,
    written: BTreeSet<usize>,
}

impl Guest {
    fn write(&mut self, page: usize, content: &[u8]) {
        self.memory[page * PAGE_BYTES..(page + 1) * PAGE_BYTES].copy_from_slice(content);
        self.written.insert(page);
    }

    fn whole(&mut self) -> MemoryImage {
        self.written.clear();
        self.memory.clone().into()
    }

    fn changes(&mut self) -> MemoryImage {
        let run = |page: usize| PageRun {
            first_page: page as u32,
            content: self.memory[page * PAGE_BYTES..(page + 1) * PAGE_BYTES].to_vec().into(),
        };
        let runs = self.written.iter().map(|it| run(*it)).collect();
        self.written.clear();
        MemoryImage { bytes: self.memory.len() as u64, whole: false, runs }
    }
}

async fn complete(log: &mut OwnedLog, images: Vec<MemoryImage>) -> CheckpointManifest {
    let tasks = (0..).zip(images).map(|(partition, memory)| {
        let image = floe_core::image::OperatorImage { memory, ..image(Vec::new()) };
        CapturedTask { operators: vec![("a".into(), image)], ..task(partition, 1) }
    });
    let draft = CheckpointDraft { tasks: tasks.collect(), ..draft(next_epoch(log)) };
    (*log.complete(draft).await.unwrap().1).clone()
}

fn named_bytes(manifest: &CheckpointManifest) -> usize {
    manifest.objects.iter().map(|it| it.len as usize).sum()
}

/// Eight pages of a module's data in each of 300 tasks, and one page of each task's own, which changes now and
/// then: the eight are stored once, also after they were moved to new objects again and again.
#[tokio::test]
async fn what_tasks_have_alike_is_stored_once() {
    let mut random = Random(1);
    let store = memory_store();
    let mut log = take(&store, 1).await.unwrap();
    let mut guest = Guest { memory: vec![0; 16 * PAGE_BYTES], written: BTreeSet::new() };
    (0..8).for_each(|page| guest.write(page, &random.page()));
    let mut guests = vec![guest; 300];
    guests.iter_mut().for_each(|it| it.write(9, &random.page()));
    let mut manifest = complete(&mut log, guests.iter_mut().map(Guest::whole).collect()).await;
    let bound = 308 * PAGE_BYTES + 300 * 400;
    assert!(named_bytes(&manifest) < bound, "{}", named_bytes(&manifest));
    let first = manifest.objects[0].clone();
    for epoch in 2..12 {
        for guest in &mut guests {
            if random.below(2) == 0 {
                guest.write(9, &random.page());
            }
        }
        manifest = complete(&mut log, guests.iter_mut().map(Guest::changes).collect()).await;
        log.sweep(1, &[]).await.unwrap();
        assert!(named_bytes(&manifest) < 2 * bound, "epoch {epoch}: {}", named_bytes(&manifest));
    }
    assert!(!manifest.objects.contains(&first), "its live pages were moved");
    let named = manifest.tasks.iter().map(|it| -> BTreeSet<_> {
        it.memories[0].iter().map(|it| (it.object, it.start)).collect()
    });
    let by_all = named.reduce(|all, it| all.intersection(&it).copied().collect()).unwrap();
    assert_eq!(by_all.len(), 1, "all tasks name one part for what they have alike");
    let read = read_parts(&*store, PIPELINE, &manifest).await.unwrap();
    assert!(
        read.iter().zip(&guests).all(|(task, it)| task.operators[0].1.memory.to_vec() == it.memory)
    );
}

/// Few contents at few places in four memories, so that they are alike and differ again all the time, over
/// sweeps, growth and restarts: every checkpoint is what was captured.
#[tokio::test]
async fn shared_pages_add_up_over_restarts_and_sweeps() {
    let mut shared = 0;
    for seed in 1..=4 {
        let mut random = Random(seed);
        let contents: Vec<Vec<u8>> = (0..3).map(|_| random.page()).collect();
        let store = memory_store();
        let mut log = take(&store, 1).await.unwrap();
        let guest = Guest { memory: vec![0; 16 * PAGE_BYTES], written: BTreeSet::new() };
        let mut guests = vec![guest; 4];
        for epoch in 0..100 {
            for guest in &mut guests {
                for _ in 0..random.below(6) {
                    let page = random.below(12.min(guest.memory.len() / PAGE_BYTES));
                    match random.below(8) {
                        0 => guest.write(page, &[0; PAGE_BYTES]),
                        1 => guest.write(page, &random.page()),
                        _ => guest.write(page, &contents[random.below(3)]),
                    }
                }
                if random.below(40) == 0 {
                    guest.memory.resize(guest.memory.len() + 65_536, 0);
                }
            }
            let mut images = Vec::new();
            for guest in &mut guests {
                let whole = epoch == 0 || random.below(15) == 0;
                images.push(if whole { guest.whole() } else { guest.changes() });
            }
            let manifest = complete(&mut log, images).await;
            if random.below(4) == 0 {
                log.sweep(2, &[]).await.unwrap();
            }

            let read = read_parts(&*store, PIPELINE, &manifest).await.unwrap();
            for ((task, guest), entry) in read.iter().zip(&guests).zip(&manifest.tasks) {
                let memory = task.operators[0].1.memory.to_vec();
                assert!(memory == guest.memory, "seed {seed}, epoch {epoch}");
                assert_eq!(state_hash(&task.operators), entry.state_hash);
            }
            let parts = manifest.tasks.iter().flat_map(|it| &it.memories[0]);
            let parts = parts.map(|it| (it.object, it.start));
            let different: BTreeSet<_> = parts.clone().collect();
            shared += parts.count() - different.len();
            if random.below(10) == 0 {
                log = take(&store, 2 + epoch).await.unwrap();
                let newest = log.manifests().pop().unwrap().1;
                log.restore(&newest).await.unwrap();
            }
        }
    }
    assert!(shared > 100, "only {shared} parts were shared at all");
}
