//! The swap of the rewritten manifests for the table's own, and what is known after a lost answer.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use floe_core::crash_point::{CrashPoint, hit};
use floe_core::{Error, Result};
use iceberg::spec::{
    DataFile, MAIN_BRANCH, ManifestContentType, ManifestFile, Operation, SnapshotRef, Summary,
};
use iceberg::table::Table;
use iceberg::{Catalog, ErrorKind, TableIdent};

use super::super::commit::DEADLINE;
use super::super::counts::count_files;
use super::super::error::describe;
use super::super::update::{Answer, Change, Updater, new_head, new_snapshot_id};
use super::{Fence, Rewritten};

/// In the summary of a snapshot that rewrote: its id, and the file that lists the data files it replaced.
const REWRITE: &str = "floe.rewrite";
pub(in super::super) const REPLACED: &str = "floe.rewrite.replaced-files";

/// Somebody else was faster so many times: the next round tries again.
const CONFLICTS_MAX: u32 = 4;
const CONFLICT_WAIT: Duration = Duration::from_millis(50);

/// What became of a swap.
enum Swapped {
    Done,
    /// The writer, or somebody else, changed what was to be rewritten: the next round looks anew.
    Moved(&'static str),
    /// It was not applied, and never will be.
    Failed(Error),
    /// It may be applied, or still land.
    Unknown(String),
}

/// Puts it into the table, or takes it away again. A swap without an answer is settled by looking.
pub(super) async fn swap(
    catalog: &Arc<dyn Catalog>,
    updater: &Updater,
    table: &Table,
    rewritten: Rewritten,
    fence: &Fence<'_>,
) -> Result<()> {
    let ident = table.identifier();
    let replaced =
        format!("{}/metadata/{}-replaced.json", table.metadata().location(), rewritten.id);
    let mut summary = HashMap::from([(REWRITE.to_owned(), rewritten.id.clone())]);
    if !rewritten.replaced.is_empty() {
        let paths: Vec<&str> = rewritten.replaced.iter().map(DataFile::file_path).collect();
        let text = serde_json::to_vec(&paths).map_err(invalid).map_err(|it| failed(ident, &it))?;
        let output = table.file_io().new_output(&replaced).map_err(|it| failed(ident, &it))?;
        output.write(text.into()).await.map_err(|it| failed(ident, &it))?;
        summary.insert(REPLACED.to_owned(), replaced.clone());
    }
    hit(CrashPoint::BeforeRewriteSwap);
    let mut swapped = send(catalog, updater, ident, &rewritten, &summary, fence).await;
    hit(CrashPoint::AfterRewriteSwap);
    if let Swapped::Unknown(_) = &swapped
        && is_there(catalog, ident, &rewritten.id).await.unwrap_or(false)
    {
        swapped = Swapped::Done;
    }
    let unapplied = match swapped {
        Swapped::Done => {
            tracing::info!(
                table = %ident,
                manifests = rewritten.taken.len(),
                files = rewritten.replaced.len(),
                files_made = rewritten.made.len(),
                "rewrote small files"
            );
            return Ok(());
        }
        Swapped::Moved(why) => {
            tracing::debug!(table = %ident, "small files stay: {why}");
            Ok(())
        }
        Swapped::Failed(error) => Err(error),
        Swapped::Unknown(why) => {
            // It may land yet, and then what it names must be there.
            return Err(Error::retry(format!(
                "rewrite small files of {ident}: nobody knows whether it was applied: {why}"
            )));
        }
    };
    let mut garbage = vec![replaced];
    garbage.extend(rewritten.manifests.iter().map(|it| it.manifest_path.clone()));
    garbage.extend(rewritten.made.iter().map(|it| it.file_path().to_owned()));
    for location in garbage {
        // What stays is garbage, and harms nobody.
        if let Err(error) = table.file_io().delete(&location).await {
            tracing::debug!("{location} stays: {}", describe(&error));
        }
    }
    unapplied
}

/// Each time on a new base, while others are faster.
async fn send(
    catalog: &Arc<dyn Catalog>,
    updater: &Updater,
    ident: &TableIdent,
    rewritten: &Rewritten,
    summary: &HashMap<String, String>,
    fence: &Fence<'_>,
) -> Swapped {
    for conflicts in 0..CONFLICTS_MAX {
        tokio::time::sleep(CONFLICT_WAIT * conflicts).await;
        let base = match catalog.load_table(ident).await {
            Ok(base) => base,
            Err(error) if conflicts == 0 => return Swapped::Failed(failed(ident, &error)),
            // A gateway that sends twice may have answered the first to itself.
            Err(error) => return Swapped::Unknown(describe(&error)),
        };
        if names(&base, &rewritten.id) {
            return Swapped::Done;
        }
        if !fence.lets_through(&base, rewritten.before) {
            return Swapped::Moved("it took so long that others may have swept it");
        }
        let change = match head_over(&base, rewritten, summary.clone()).await {
            Ok(Ok(change)) => change,
            Ok(Err(why)) => return Swapped::Moved(why),
            Err(error) => return Swapped::Failed(failed(ident, &error)),
        };
        match tokio::time::timeout(DEADLINE, updater.update(&base, change)).await {
            Ok(Ok(Answer::Applied)) => return Swapped::Done,
            Ok(Ok(Answer::Conflict)) => {}
            Ok(Ok(Answer::Refused(why))) => {
                return Swapped::Failed(Error::retry(format!(
                    "rewrite small files of {ident}: the catalog refuses it: {why}"
                )));
            }
            Ok(Ok(Answer::Unknown(why))) => return Swapped::Unknown(why),
            Ok(Err(error)) => return Swapped::Failed(error),
            Err(_) => return Swapped::Unknown(format!("no answer in {} s", DEADLINE.as_secs())),
        }
    }
    match is_there(catalog, ident, &rewritten.id).await {
        Ok(true) => Swapped::Done,
        Ok(false) => Swapped::Moved("others were faster each time"),
        Err(error) => Swapped::Unknown(describe(&error)),
    }
}

/// The rewritten manifests in place of those that they were made of. `Err` within says why it does not fit.
async fn head_over(
    base: &Table,
    rewritten: &Rewritten,
    mut summary: HashMap<String, String>,
) -> iceberg::Result<std::result::Result<Change, &'static str>> {
    let Some(head) = base.metadata().current_snapshot() else {
        return Ok(Err("the table was emptied"));
    };
    let list = base.manifest_list_reader(head).load().await?;
    let (taken, mut manifests): (Vec<ManifestFile>, Vec<ManifestFile>) = list
        .consume_entries()
        .into_iter()
        .partition(|it| rewritten.taken.contains(&it.manifest_path));
    let found: BTreeSet<&String> = taken.iter().map(|it| &it.manifest_path).collect();
    if found.len() < rewritten.taken.len() {
        return Ok(Err("somebody else rewrote the table"));
    }
    let deletes = manifests.iter().any(|it| it.content == ManifestContentType::Deletes);
    if deletes && !rewritten.replaced.is_empty() {
        return Ok(Err("rows were deleted meanwhile"));
    }
    manifests.extend(rewritten.manifests.iter().cloned());
    count_files(&mut summary, rewritten.made.iter(), &rewritten.replaced, Some(head));
    let summary = Summary { operation: Operation::Replace, additional_properties: summary };
    let id = new_snapshot_id(base.metadata());
    new_head(base, MAIN_BRANCH, id, manifests, summary, HashMap::new()).await.map(Ok)
}

fn names(table: &Table, id: &str) -> bool {
    let mut snapshots = table.metadata().snapshots();
    snapshots.any(|it| it.summary().additional_properties.get(REWRITE).is_some_and(|it| it == id))
}

async fn is_there(
    catalog: &Arc<dyn Catalog>,
    ident: &TableIdent,
    id: &str,
) -> iceberg::Result<bool> {
    Ok(names(&catalog.load_table(ident).await?, id))
}

/// The data files that a snapshot replaced, as it wrote them down. A list that is gone was used.
pub(in super::super) async fn replaced_files(
    table: &Table,
    snapshot: &SnapshotRef,
) -> iceberg::Result<Vec<String>> {
    let Some(location) = snapshot.summary().additional_properties.get(REPLACED) else {
        return Ok(Vec::new());
    };
    if !table.file_io().exists(location).await? {
        return Ok(Vec::new());
    }
    let bytes = table.file_io().new_input(location)?.read().await?;
    serde_json::from_slice(&bytes).map_err(invalid)
}

fn invalid(error: serde_json::Error) -> iceberg::Error {
    iceberg::Error::new(ErrorKind::DataInvalid, error.to_string())
}

pub(super) fn failed(ident: &TableIdent, error: &iceberg::Error) -> Error {
    Error::retry(format!("rewrite small files of {ident}: {}", describe(error)))
}
