//! Takes a pipeline: reads the log to its end, decides, and writes the claim as the next entry.

use std::sync::Arc;
use std::time::Duration;

use floe_core::crash_point::{CrashPoint, hit};
use floe_core::epoch::{EntryId, Generation, Slot};
use floe_core::log_entry::{Claim, LogEntry};
use floe_core::ports::ObjectStore;
use floe_core::protocol::fence::{ClaimDecision, OwnerFacts, decide_claim};
use floe_core::{Error, Result};

use crate::fill::{Filled, fill_slot};
use crate::log::{LogReading, goes_on_beyond, read_entry, read_log, seal};
use crate::owned::OwnedLog;
use crate::paths::Paths;

/// Who claims. It stands in the log for people, and tells a dead process of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerIdentity {
    pub host: String,
    pub boot_id: String,
    pub pid: u32,
    pub started_ms: i64,
}

pub struct ClaimRequest<'a> {
    pub owner: OwnerIdentity,
    /// Claims although somebody else seems to write.
    pub take_over: bool,
    /// How long a log must stand still before a claim without `take_over`: two checkpoint intervals.
    pub watch: Duration,
    /// How long a lost answer is asked for again before the error is `Unknown`.
    pub patience: Duration,
    /// Does this process of this host still run?
    pub alive: &'a (dyn Fn(u32) -> bool + Send + Sync),
    /// Makes the ids of entries; never the same twice.
    pub new_id: Box<dyn FnMut() -> EntryId + Send + Sync>,
}

/// Long enough for a store to restart, short against an operator's patience.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Claims lost to others before giving up: each means that another one was started meanwhile.
const LOST_MAX: usize = 100;

impl OwnerIdentity {
    /// This process. `started_ms` comes from the caller's clock.
    pub fn of_this_process(started_ms: i64) -> OwnerIdentity {
        let kernel = |name: &str| {
            std::fs::read_to_string(format!("/proc/sys/kernel/{name}"))
                .map(|it| it.trim().to_owned())
                // Other systems have no such file: an unknown boot is like any other unknown boot.
                .unwrap_or_default()
        };
        let mut host = kernel("hostname");
        if host.is_empty() {
            host = std::env::var("HOSTNAME").unwrap_or_else(|_| "localhost".into());
        }
        OwnerIdentity {
            host,
            boot_id: kernel("random/boot_id"),
            pid: std::process::id(),
            started_ms,
        }
    }
}

/// For `ClaimRequest::alive`. A process with our own number is not another process: containers number
/// from 1 at each start. Where there is no `/proc`, every process is taken to be alive.
pub fn process_alive(pid: u32) -> bool {
    let proc = std::path::Path::new("/proc");
    pid != std::process::id()
        && (!proc.join("self").exists() || proc.join(pid.to_string()).exists())
}

/// For `ClaimRequest::new_id`.
pub fn random_ids() -> Box<dyn FnMut() -> EntryId + Send + Sync> {
    Box::new(|| EntryId(uuid::Uuid::new_v4().into_bytes()))
}

/// Claims the pipeline. From the return on, every older generation is fenced (I3).
///
/// `Refused`: somebody else writes, or claimed while we were deciding.
pub async fn claim(
    store: Arc<dyn ObjectStore>,
    pipeline: &str,
    mut request: ClaimRequest<'_>,
) -> Result<OwnedLog> {
    let paths = Paths::of(pipeline)?;
    let mut reading = read_log(&*store, pipeline).await?;
    for _ in 0..LOST_MAX {
        decide(&*store, pipeline, &paths, &mut reading, &request).await?;
        match put_claim(&*store, pipeline, &paths, &mut reading, &mut request).await? {
            Outcome::Claimed => {
                return OwnedLog::new(store, pipeline, reading, request.new_id, request.patience);
            }
            Outcome::AnotherClaimed => {}
            Outcome::InAHole => reading = read_log(&*store, pipeline).await?,
        }
    }
    Err(Error::refused(format!(
        "pipeline {pipeline:?} was claimed by others {LOST_MAX} times while this process tried to\n  → stop the other processes that run it"
    )))
}

enum Outcome {
    Claimed,
    /// Another process was faster: who owns the pipeline must be looked at again.
    AnotherClaimed,
    /// The log was written on and swept since we read it: the slot was free again, and is not the end.
    InAHole,
}

async fn put_claim(
    store: &dyn ObjectStore,
    pipeline: &str,
    paths: &Paths,
    reading: &mut LogReading,
    request: &mut ClaimRequest<'_>,
) -> Result<Outcome> {
    loop {
        let slot = reading.end();
        let generation = reading.highest_generation().next();
        let claim = Claim {
            id: (request.new_id)(),
            generation,
            pipeline: pipeline.to_owned(),
            host: request.owner.host.clone(),
            boot_id: request.owner.boot_id.clone(),
            pid: request.owner.pid,
            started_ms: request.owner.started_ms,
        };
        let id = claim.id;
        let entry = LogEntry::Claim(claim);
        let sealed = seal(pipeline, slot, &entry);
        hit(CrashPoint::BeforeClaim);
        match fill_slot(store, pipeline, slot, id, &sealed, request.patience).await? {
            Filled::Ours => {
                hit(CrashPoint::AfterClaim);
                if goes_on_beyond(store, pipeline, slot).await?
                    && !claimed_after(store, pipeline, slot, generation).await?
                {
                    // Nobody reads inside of a hole; deleting only tidies up.
                    store.delete(&paths.entry(slot)).await?;
                    return Ok(Outcome::InAHole);
                }
                reading.push(paths, entry)?;
                return Ok(Outcome::Claimed);
            }
            Filled::Taken(found) => {
                // A manifest of the old owner is a valid checkpoint, and the next slot is tried.
                if reading.ends_in_a_hole(&found) {
                    return Ok(Outcome::InAHole);
                }
                let claimed = matches!(*found, LogEntry::Claim(_));
                reading.push(paths, *found)?;
                if claimed {
                    return Ok(Outcome::AnotherClaimed);
                }
            }
        }
    }
}

/// Did somebody claim right behind our claim? Then the slot is no hole: our first put finds that claim,
/// and we are fenced. Behind a slot that was swept stands an entry of at most our generation.
async fn claimed_after(
    store: &dyn ObjectStore,
    pipeline: &str,
    slot: Slot,
    generation: Generation,
) -> Result<bool> {
    let next = read_entry(store, pipeline, slot.next()).await?;
    Ok(matches!(next, Some(LogEntry::Claim(claim)) if claim.generation > generation))
}

async fn decide(
    store: &dyn ObjectStore,
    pipeline: &str,
    paths: &Paths,
    reading: &mut LogReading,
    request: &ClaimRequest<'_>,
) -> Result<()> {
    let mut facts = owner_facts(reading, request);
    let mut watched = false;
    loop {
        match decide_claim(facts, watched) {
            ClaimDecision::Claim => return Ok(()),
            ClaimDecision::Refuse => return Err(refusal(pipeline, reading)),
            ClaimDecision::Watch => {
                let advanced = watch(store, pipeline, paths, reading, request.watch).await?;
                facts = facts.map(|it| OwnerFacts { advanced, ..it });
                watched = true;
            }
        }
    }
}

fn owner_facts(reading: &LogReading, request: &ClaimRequest<'_>) -> Option<OwnerFacts> {
    if reading.entries.is_empty() {
        return None;
    }
    let us = &request.owner;
    let claim = reading.newest_claim().map(|it| it.1);
    let same_host = claim.is_some_and(|it| it.host == us.host);
    // A process from before the last boot is dead, whatever runs under its number now.
    let process_alive = claim.is_none_or(|it| it.boot_id == us.boot_id && (request.alive)(it.pid));
    Some(OwnerFacts { same_host, process_alive, advanced: false, take_over: request.take_over })
}

/// Is the last owner a process of this host that has ended?
pub(crate) fn dead_on_this_host(reading: &LogReading, request: &ClaimRequest<'_>) -> bool {
    owner_facts(reading, request).is_some_and(|it| it.same_host && !it.process_alive)
}

/// Waits for the next entry, for as long as it takes to be sure that none comes. True if one came.
async fn watch(
    store: &dyn ObjectStore,
    pipeline: &str,
    paths: &Paths,
    reading: &mut LogReading,
    watch: Duration,
) -> Result<bool> {
    let newest = reading.newest_claim().map(|it| it.1);
    tracing::info!(
        pipeline,
        host = newest.map(|it| it.host.as_str()),
        pid = newest.map(|it| it.pid),
        seconds = watch.as_secs_f64(),
        "watching whether the last owner still writes"
    );
    let step = (watch / 10).clamp(Duration::from_millis(1), Duration::from_secs(1));
    let until = tokio::time::Instant::now() + watch;
    loop {
        let slot: Slot = reading.end();
        if let Some(entry) = read_entry(store, pipeline, slot).await? {
            match reading.ends_in_a_hole(&entry) {
                true => *reading = read_log(store, pipeline).await?,
                false => reading.push(paths, entry)?,
            }
            return Ok(true);
        }
        if tokio::time::Instant::now() >= until {
            return Ok(false);
        }
        tokio::time::sleep(step).await;
    }
}

fn refusal(pipeline: &str, reading: &LogReading) -> Error {
    let owner = match reading.newest_claim() {
        Some((_, claim)) => format!(
            "generation {}, host {} pid {}, started at {}",
            claim.generation,
            claim.host,
            claim.pid,
            time_of_day(claim.started_ms)
        ),
        None => format!("generation {}", reading.highest_generation()),
    };
    let epoch = reading.newest_manifest().map_or(String::new(), |(newest, _)| {
        format!(", which wrote epoch {} just now", newest.epoch)
    });
    Error::refused(format!(
        "pipeline {pipeline:?} is being run by another process ({owner}){epoch}\n  → stop it, or start with --take-over to fence it"
    ))
}

/// For people: `12:04:31 UTC`.
pub(crate) fn time_of_day(ms: i64) -> String {
    let second = ms.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}
