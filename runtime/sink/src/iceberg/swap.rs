//! A commit by our own update: the base is judged, changed and required, all three the same (I5).

use std::collections::HashMap;
use std::time::Duration;

use floe_core::committable::CommitRequest;
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::ports::LogView;
use floe_core::{Epoch, Error, Result};

use super::commit::{DEADLINE, IcebergCommitter};
use super::delta::{Delta, build};
use super::error::describe;
use super::guard::{Stopped, judge_base};
use super::update::Answer;

/// What the snapshot's summary says, and which properties are set with it.
pub(super) struct Marks {
    pub(super) summary: HashMap<String, String>,
    pub(super) properties: HashMap<String, String>,
}

pub(super) enum Swapped {
    Done {
        snapshot_id: i64,
    },
    /// The judge did not let the base through.
    Stopped(Stopped),
}

/// Somebody else was faster so many times: who asked decides whether to go on.
const CONFLICTS_MAX: u32 = 8;
const CONFLICT_WAIT: Duration = Duration::from_millis(50);

impl IcebergCommitter {
    /// Repeated while others are faster, each time on a new base. With a `guard` the base is judged; without
    /// one a repeat after an unknown outcome adds the rows again.
    pub(super) async fn swap(
        &self,
        epoch: Epoch,
        delta: &Delta,
        marks: Marks,
        guard: Option<(&CommitRequest, &dyn LogView)>,
    ) -> Result<Swapped> {
        let ident = &self.ident;
        let unknown = |why: String| {
            Error::unknown(format!("nobody knows whether table {ident} took epoch {epoch}: {why}"))
        };
        for conflicts in 0..CONFLICTS_MAX {
            if conflicts > 0 {
                tokio::time::sleep(CONFLICT_WAIT * conflicts).await;
            }
            let _writing = self.writing.lock().await;
            let base = self.load().await?;
            if let Some((request, log)) = guard
                && let Err(stopped) = judge_base(&base, &self.place, request, log).await
            {
                return Ok(Swapped::Stopped(stopped));
            }
            let Marks { summary, properties } = &marks;
            let built =
                build(&base, &self.place.branch, delta, summary.clone(), properties.clone())
                    .await
                    .map_err(|error| does_not_fit(self, epoch, &error))?;
            let sent =
                tokio::time::timeout(DEADLINE, self.updater.update(&base, built.change)).await;
            hit(CrashPoint::AfterCommitSent);
            match sent {
                Ok(Ok(Answer::Applied)) => {
                    return Ok(Swapped::Done { snapshot_id: built.snapshot_id });
                }
                // Its manifests stay, for a gateway that tried twice answers so after it was applied.
                Ok(Ok(Answer::Conflict)) => {}
                Ok(Ok(Answer::Refused(why))) => {
                    return Err(Error::refused(format!(
                        "table {ident} does not take epoch {epoch}: {why}"
                    )));
                }
                Ok(Ok(Answer::Unknown(why))) => return Err(unknown(why)),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(unknown(format!("no answer in {} s", DEADLINE.as_secs()))),
            }
        }
        Err(Error::retry(format!(
            "commit of epoch {epoch} to table {ident}: others were faster {CONFLICTS_MAX} times"
        )))
    }
}

fn does_not_fit(committer: &IcebergCommitter, epoch: Epoch, error: &iceberg::Error) -> Error {
    let message =
        format!("epoch {epoch} does not fit table {}: {}", committer.ident, describe(error));
    match error.kind() {
        iceberg::ErrorKind::DataInvalid | iceberg::ErrorKind::FeatureUnsupported => {
            Error::refused(message)
        }
        _ => Error::retry(message),
    }
}
