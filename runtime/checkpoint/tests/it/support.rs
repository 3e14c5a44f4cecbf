//! Small checkpoints, owners with chosen ids, and a store that misbehaves where it is told to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use async_trait::async_trait;
use bytes::Bytes;
use floe_checkpoint::{ClaimRequest, OwnedLog, OwnerIdentity, claim};
use floe_core::committable::Committable;
use floe_core::epoch::EntryId;
use floe_core::image::{GlobalValue, OperatorImage};
use floe_core::in_flight::{InFlight, InFlightElement, InFlightOrigin, PassedInFlight};
use floe_core::journal::{BatchStep, Journal, Step};
use floe_core::manifest::{OperatorIdentity, PipelineIdentity, SinkEntry, TopicIdentity};
use floe_core::ports::{CheckpointDraft, CheckpointLog, Listed, ObjectStore, Put};
use floe_core::task::CapturedTask;
use floe_core::{Epoch, Error, EventTime, Offset, Result, TopicPartition};

pub(crate) const PIPELINE: &str = "payments";

pub(crate) fn owner(number: u32) -> OwnerIdentity {
    OwnerIdentity {
        host: format!("host-{number}"),
        boot_id: "boot".into(),
        pid: 4000 + number,
        started_ms: 1_760_011_471_000,
    }
}

pub(crate) fn request(number: u32) -> ClaimRequest<'static> {
    let mut count = 0u32;
    ClaimRequest {
        owner: owner(number),
        take_over: true,
        watch: Duration::from_millis(30),
        patience: Duration::from_secs(20),
        alive: &|_| true,
        new_id: Box::new(move || {
            count += 1;
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_le_bytes());
            id[12..].copy_from_slice(&count.to_be_bytes());
            EntryId(id)
        }),
    }
}

pub(crate) async fn take(store: &Arc<dyn ObjectStore>, number: u32) -> Result<OwnedLog> {
    claim(store.clone(), PIPELINE, request(number)).await
}

pub(crate) async fn take_and_complete(
    store: &Arc<dyn ObjectStore>,
    number: u32,
    epochs: u64,
) -> OwnedLog {
    let mut log = take(store, number).await.unwrap();
    complete(&mut log, epochs).await;
    log
}

/// Completes that many further epochs.
pub(crate) async fn complete(log: &mut OwnedLog, epochs: u64) {
    for _ in 0..epochs {
        log.complete(draft(next_epoch(log))).await.unwrap();
    }
}

pub(crate) fn next_epoch(log: &OwnedLog) -> u64 {
    log.reading().newest_manifest().map_or(1, |(at, _)| at.epoch.0 + 1)
}

pub(crate) fn draft(epoch: u64) -> CheckpointDraft {
    CheckpointDraft {
        epoch: Epoch(epoch),
        identity: identity(PIPELINE),
        tasks: vec![task(0, epoch), task(1, epoch)],
        sinks: vec![SinkEntry {
            name: "sink".into(),
            table: "lake.payments".into(),
            table_uuid: [5; 16],
            committable: Committable {
                rows: 12,
                file_count: 1,
                file_bytes: 2048,
                content: Bytes::from_static(b"files"),
            },
            predecessor: None,
            committed: None,
        }],
        created_ms: 1_760_000_000_000,
        savepoint: false,
    }
}

pub(crate) fn identity(pipeline: &str) -> PipelineIdentity {
    PipelineIdentity {
        pipeline: pipeline.into(),
        guarantee: "exactly-once".into(),
        topics: vec![TopicIdentity { topic: "payments".into(), topic_id: None, partitions: 2 }],
        operators: vec![OperatorIdentity {
            name: "totals".into(),
            module_hash: [1; 32],
            config_hash: [2; 32],
            state_version: 1,
            inputs: Vec::new(),
            keyed: None,
        }],
        decoder: "json-1".into(),
        engine: "engine".into(),
        isa: "isa".into(),
    }
}

pub(crate) fn task(partition: i32, epoch: u64) -> CapturedTask {
    let mut memory = vec![0u8; 2 * 64 * 1024];
    memory[100] = partition as u8 + 1;
    memory[5 * 4096..7 * 4096].fill(epoch as u8);
    *memory.last_mut().unwrap() = 9;
    CapturedTask {
        task: TopicPartition::new("payments", partition),
        operators: vec![
            ("totals".into(), image(memory)),
            ("nothing".into(), image(vec![0; 64 * 1024])),
        ],
        journal: Journal {
            steps: vec![
                Step::Batch(BatchStep {
                    first: Offset(epoch as i64 * 10),
                    last: Offset(epoch as i64 * 10 + 9),
                    count: 10,
                    input_hash: 0x0123_4567_89ab_cdef,
                    virtual_time: EventTime(1_760_000_000_000),
                }),
                Step::Watermark(EventTime(1_759_999_995_000)),
                Step::Skip(Offset(epoch as i64 * 10 + 10)),
            ],
        },
        next_offset: Offset(epoch as i64 * 10 + 11),
        virtual_time: EventTime(1_760_000_000_000),
        watermark: EventTime::MIN,
        records: epoch * 10,
        in_flight: InFlight::default(),
    }
}

/// Two batches of two tasks, and a watermark between those of one of them.
pub(crate) fn in_flight() -> InFlight {
    let from = |partition| TopicPartition::new("payments", partition);
    let rows = |partition: i32, names: &[Option<&str>]| {
        let names = Arc::new(StringArray::from(names.to_vec())) as ArrayRef;
        let numbers = Arc::new(Int64Array::from_iter_values(0..names.len() as i64)) as ArrayRef;
        let columns = [("merchant_id", names, true), ("n", numbers, false)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let offsets = Some((Offset(31), Offset(39))).filter(|_| partition == 0);
        let origin = InFlightOrigin { task: from(partition), offsets };
        let virtual_time = EventTime(1_760_000_000_000);
        PassedInFlight {
            from: from(partition),
            what: InFlightElement::Rows { batch, origin, virtual_time },
        }
    };
    let watermark = InFlightElement::Watermark(EventTime(1_759_999_996_000));
    InFlight {
        passed: vec![
            rows(0, &[Some("m-1"), None, Some("")]),
            PassedInFlight { from: from(0), what: watermark },
            rows(1, &[Some("m-2")]),
            rows(0, &[Some("m-3"), Some("m-1")]),
        ],
        upstream: vec![(from(0), EventTime(1_759_999_995_000)), (from(1), EventTime::MIN)],
    }
}

pub(crate) fn image(memory: Vec<u8>) -> OperatorImage {
    OperatorImage {
        memory: memory.into(),
        globals: vec![
            GlobalValue::I32(-7),
            GlobalValue::I64(i64::MIN),
            GlobalValue::F32(0x7fc0_0001),
            GlobalValue::F64(f64::NAN.to_bits()),
            GlobalValue::V128(1 << 127 | 3),
        ],
        input_region: (65_536, 4096),
        rng_state: [1, 2, 3, u64::MAX],
    }
}

/// How one put goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Lost on the way there.
    NotApplied,
    /// Lost on the way back.
    AppliedButErrored,
    /// Reported lost, and applied after two further puts.
    AppliedLater,
}

/// A store in memory whose puts, or changes, go wrong by their number.
#[derive(Default)]
pub(crate) struct FaultyStore {
    objects: Mutex<BTreeMap<String, Bytes>>,
    faults: Mutex<BTreeMap<usize, Fault>>,
    late: Mutex<Vec<(usize, String, Bytes)>>,
    puts: AtomicUsize,
    /// After this many changes every further one fails, as if the process were dead.
    changes_left: Mutex<Option<usize>>,
}

impl FaultyStore {
    pub(crate) fn with_fault(put: usize, fault: Fault) -> Arc<FaultyStore> {
        let store = FaultyStore::default();
        store.faults.lock().unwrap().insert(put, fault);
        Arc::new(store)
    }

    pub(crate) fn fail_from_now_on(&self, fault: Fault) {
        let now = self.puts();
        self.faults.lock().unwrap().extend((now..now + 1000).map(|it| (it, fault)));
    }

    pub(crate) fn fail_at(&self, put: usize, fault: Fault) {
        self.faults.lock().unwrap().insert(put, fault);
    }

    pub(crate) fn heal(&self) {
        self.faults.lock().unwrap().clear();
        *self.changes_left.lock().unwrap() = None;
    }

    pub(crate) fn die_after(&self, changes: usize) {
        *self.changes_left.lock().unwrap() = Some(changes);
    }

    pub(crate) fn puts(&self) -> usize {
        self.puts.load(Ordering::SeqCst)
    }

    pub(crate) fn land_late_puts(&self) {
        for (_, path, bytes) in self.late.lock().unwrap().drain(..) {
            self.objects.lock().unwrap().entry(path).or_insert(bytes);
        }
    }

    pub(crate) fn objects(&self) -> BTreeMap<String, Bytes> {
        self.objects.lock().unwrap().clone()
    }

    pub(crate) fn set(&self, path: &str, bytes: Option<Bytes>) {
        let mut objects = self.objects.lock().unwrap();
        match bytes {
            Some(bytes) => objects.insert(path.to_owned(), bytes),
            None => objects.remove(path),
        };
    }

    fn change(&self) -> Result<()> {
        match &mut *self.changes_left.lock().unwrap() {
            Some(0) => Err(Error::invalid("the process is dead")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<Put> {
        self.change()?;
        let number = self.puts.fetch_add(1, Ordering::SeqCst);
        let due: Vec<_> = {
            let mut late = self.late.lock().unwrap();
            late.extract_if(.., |it| it.0 + 2 <= number).collect()
        };
        let mut objects = self.objects.lock().unwrap();
        for (_, path, bytes) in due {
            objects.entry(path).or_insert(bytes);
        }
        match self.faults.lock().unwrap().get(&number) {
            Some(Fault::NotApplied) => return Err(Error::unknown("lost")),
            Some(Fault::AppliedLater) => {
                self.late.lock().unwrap().push((number, path.to_owned(), bytes));
                return Err(Error::unknown("lost"));
            }
            Some(Fault::AppliedButErrored) => {
                objects.entry(path.to_owned()).or_insert(bytes);
                return Err(Error::unknown("lost"));
            }
            None => {}
        }
        if objects.contains_key(path) {
            return Ok(Put::Exists);
        }
        objects.insert(path.to_owned(), bytes);
        Ok(Put::Created)
    }

    async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.change()?;
        self.objects.lock().unwrap().insert(path.to_owned(), bytes);
        Ok(())
    }

    async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        Ok(self.objects.lock().unwrap().get(path).cloned())
    }

    async fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let objects = self.objects.lock().unwrap();
        let inside = objects.iter().filter(|it| it.0.starts_with(&format!("{folder}/")));
        Ok(inside
            .map(|(path, bytes)| Listed { path: path.clone(), bytes: bytes.len() as u64 })
            .collect())
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.change()?;
        self.objects.lock().unwrap().remove(path);
        Ok(())
    }
}

/// Lets others go first, as the seed says, before each request.
pub(crate) struct YieldingStore {
    inner: Arc<dyn ObjectStore>,
    random: Mutex<u64>,
}

impl YieldingStore {
    pub(crate) fn over(inner: Arc<dyn ObjectStore>, seed: u64) -> Arc<dyn ObjectStore> {
        Arc::new(YieldingStore { inner, random: Mutex::new(seed * 2 + 1) })
    }

    async fn give_way(&self) {
        let turns = {
            let mut random = self.random.lock().unwrap();
            *random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (*random >> 33) % 8
        };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl ObjectStore for YieldingStore {
    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<Put> {
        self.give_way().await;
        self.inner.put_if_absent(path, bytes).await
    }

    async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.give_way().await;
        self.inner.put(path, bytes).await
    }

    async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        self.give_way().await;
        self.inner.get(path).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        self.give_way().await;
        self.inner.list(folder).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.give_way().await;
        self.inner.delete(path).await
    }
}
