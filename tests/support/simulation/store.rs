//! The simulated object store: what a process sees of it through its faults.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use floe_core::Result;
use floe_core::epoch::Slot;
use floe_core::log_entry::LogEntry;
use floe_core::ports::{Listed, ObjectStore, Put};
use floe_core::protocol::guarantee::Guarantee;

use crate::simulation::history::EntryWritten;
use crate::simulation::mutant::Mutant;
use crate::simulation::process::Process;
use crate::simulation::world::{PIPELINE, Place, State};

pub struct SimStore {
    pub process: Arc<Process>,
}

/// What an object's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    Entry(Slot),
    Hint,
    Part,
    /// A line of the register of savepoints.
    Register,
}

pub fn named(path: &str) -> Named {
    let name = path.strip_prefix(PIPELINE).expect("the pipeline's folder");
    match name.strip_prefix("/log/") {
        Some("hint") => Named::Hint,
        Some(slot) => Named::Entry(Slot(slot.parse().expect("a slot's number"))),
        None if name.starts_with("/savepoints/") => Named::Register,
        None => {
            assert!(name.starts_with("/parts/"), "{path}");
            Named::Part
        }
    }
}

/// The entry in the bytes of an object; its checksum is 32 bytes behind it.
pub fn entry_in(bytes: &Bytes) -> LogEntry {
    LogEntry::decode(&bytes[..bytes.len() - 32]).expect("an entry as it was written")
}

impl SimStore {
    fn is(&self, mutant: Mutant) -> bool {
        self.process.world.with(|it| it.is(mutant))
    }

    /// The port's `put_if_absent` as it should be.
    async fn create(&self, path: &str, bytes: Bytes) -> Result<Put> {
        let (store, pid) = (self.process.store, self.process.pid);
        let name = path.to_owned();
        let what = format!("create {path}, {} bytes", bytes.len());
        let create = move |state: &mut State| Ok(state.create(store, pid, &name, bytes));
        self.process.change(Place::Store, what, create).await
    }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<Put> {
        let object = named(path);
        let entry = matches!(object, Named::Entry(_)).then(|| entry_in(&bytes));
        match &entry {
            Some(LogEntry::Claim(_)) if self.is(Mutant::ClaimDropped) => return Ok(Put::Created),
            Some(_) if self.is(Mutant::SlotOverwritten) => {
                let (store, pid, name) = (self.process.store, self.process.pid, path.to_owned());
                let put = move |state: &mut State| {
                    state.stores[store].remove(&name);
                    Ok(state.create(store, pid, &name, bytes))
                };
                return self.process.change(Place::Store, format!("put {path}"), put).await;
            }
            _ => {}
        }
        let early = match &entry {
            Some(LogEntry::Manifest(_)) => self.is(Mutant::CommitBeforeManifest),
            Some(LogEntry::Claim(_)) => false,
            None => self.is(Mutant::ManifestBeforeParts),
        };
        if early {
            let store = SimStore { process: Arc::clone(&self.process) };
            let name = path.to_owned();
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                while store.create(&name, bytes.clone()).await.is_err() {}
            });
            return Ok(Put::Created);
        }
        self.create(path, bytes).await
    }

    async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        let (store, name) = (self.process.store, path.to_owned());
        let put = move |state: &mut State| {
            if named(&name) != Named::Hint {
                state.history.notice(format!("{name} is overwritten, and is no hint"));
            }
            state.stores[store].insert(name, bytes);
            Ok(())
        };
        self.process.change(Place::Store, format!("put {path}"), put).await
    }

    async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        let store = self.process.store;
        let look = |state: &mut State| state.stores[store].get(path).cloned();
        self.process.look(Place::Store, &format!("get {path}"), look).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let store = self.process.store;
        let look = |state: &mut State| {
            let inside = state.stores[store].iter().filter(|it| it.0.starts_with(folder));
            inside.map(|(path, it)| Listed { path: path.clone(), bytes: it.len() as u64 }).collect()
        };
        self.process.look(Place::Store, &format!("list {folder}"), look).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let (store, name) = (self.process.store, path.to_owned());
        let delete = move |state: &mut State| {
            state.delete(store, &name);
            Ok(())
        };
        self.process.change(Place::Store, format!("delete {path}"), delete).await
    }
}

impl State {
    fn create(&mut self, store: usize, process: u32, path: &str, bytes: Bytes) -> Put {
        if self.stores[store].contains_key(path) {
            return Put::Exists;
        }
        if let Named::Entry(slot) = named(path) {
            let entry = entry_in(&bytes);
            // An entry that was swept comes back when the first of several puts of it lands late.
            // It stands in a hole, where nobody reads.
            let again = self
                .history
                .entries_of(store)
                .any(|it| it.slot == slot && it.entry.id() == entry.id());
            if !again {
                self.history.entries.push(EntryWritten { store, slot, entry, process });
            }
        }
        self.stores[store].insert(path.to_owned(), bytes);
        Put::Created
    }

    /// I8, looked at in the moment of the deed.
    fn delete(&mut self, store: usize, path: &str) {
        if self.stores[store].remove(path).is_none() {
            return;
        }
        // Only exactly-once commits what a manifest carries, however late.
        if self.plan.guarantee == Guarantee::ExactlyOnce
            && let Named::Entry(slot) = named(path)
            && let Some(table) = self.lacks_rows_of(store, slot)
        {
            self.history.notice(format!("I8: {path} is deleted, and {table} lacks its rows"));
        }
        let newest = self.history.entries_of(store).filter_map(|it| match &it.entry {
            LogEntry::Manifest(manifest) => Some((it.slot, manifest)),
            LogEntry::Claim(_) => None,
        });
        let Some((slot, manifest)) = newest.last() else { return };
        let reachable = match named(path) {
            Named::Entry(deleted) => deleted == slot,
            Named::Hint | Named::Register => false,
            Named::Part => manifest.objects.iter().any(|it| path.ends_with(&it.path)),
        };
        if reachable {
            let what = format!("I8: {path} is deleted, and epoch {} needs it", manifest.epoch);
            self.history.notice(what);
        }
    }

    /// The table that the manifest in this slot still has to be committed to.
    fn lacks_rows_of(&self, store: usize, slot: Slot) -> Option<String> {
        let written = self.history.entries_of(store).find(|it| it.slot == slot)?;
        let LogEntry::Manifest(manifest) = &written.entry else { return None };
        let open = manifest.sinks.iter().filter(|it| !it.committable.is_empty()).find(|sink| {
            let marker = self.tables[&sink.table].newest_marker();
            marker.is_none_or(|it| it.manifest.slot < slot)
        });
        open.map(|it| it.table.clone())
    }
}
