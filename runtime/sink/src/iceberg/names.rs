//! Names of data files: unique to the attempt, and telling whose they are and of which epoch.
//!
//! `floe-TAG-EPOCH-UUID-NUMBER.parquet`. The tag is a hash of pipeline, sink, branch and table: only the
//! sink that wrote a file finds it to be its own, so no sweep touches another's.

use floe_core::Epoch;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    prefix: String,
}

/// How the files of an attempt come into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commits {
    /// Each commit is judged on the base that it swaps.
    Guarded,
    /// A process that was paused for days may still add what it prepared: nobody can tell that a file will
    /// never be in the table.
    Unguarded,
}

/// Hexadecimal digits of the tag: 64 bits, where a table has some tens of writers.
const TAG_DIGITS: usize = 16;

impl Names {
    pub(super) fn of(
        (pipeline, sink, branch): (&str, &str, &str),
        table_uuid: [u8; 16],
        commits: Commits,
    ) -> Names {
        let mut hasher = blake3::Hasher::new();
        for part in [pipeline, sink, branch] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        hasher.update(&table_uuid);
        let tag = hasher.finalize().to_hex();
        let kind = match commits {
            Commits::Guarded => "floe",
            Commits::Unguarded => "floe-append",
        };
        Names { prefix: format!("{kind}-{}", &tag[..TAG_DIGITS]) }
    }

    /// What the names of one attempt at an epoch begin with.
    pub(super) fn of_attempt(&self, epoch: Epoch) -> String {
        format!("{}-{:08}-{}", self.prefix, epoch.0, uuid::Uuid::new_v4().simple())
    }

    /// The epoch in a name that we gave; `None` for any other name.
    pub(super) fn epoch_in(&self, name: &str) -> Option<Epoch> {
        let rest = name.strip_prefix(&self.prefix)?.strip_prefix('-')?;
        let (epoch, rest) = rest.split_once('-')?;
        let (attempt, rest) = rest.split_once('-')?;
        let is_number = epoch.len() >= 8 && epoch.bytes().all(|it| it.is_ascii_digit());
        let is_attempt = attempt.len() == 32 && attempt.bytes().all(|it| it.is_ascii_hexdigit());
        let is_whole = !rest.is_empty() && is_number && is_attempt;
        is_whole.then(|| epoch.parse().ok().map(Epoch))?
    }
}

/// The last part of a location.
pub(super) fn file_name(location: &str) -> &str {
    location.rsplit('/').next().unwrap_or(location)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pipeline: &str, sink: &str, branch: &str, commits: Commits) -> Names {
        Names::of((pipeline, sink, branch), [7; 16], commits)
    }

    #[test]
    fn a_name_is_known_to_its_own_sink_alone() {
        let ours = names("p", "sink", "main", Commits::Guarded);
        let others = [
            names("p-x", "sink", "main", Commits::Guarded),
            names("ps", "ink", "main", Commits::Guarded),
            names("p", "sink.main", "", Commits::Guarded),
            names("p", "sink", "audit", Commits::Guarded),
            names("p", "sink", "main", Commits::Unguarded),
            Names::of(("p", "sink", "main"), [8; 16], Commits::Guarded),
        ];
        for epoch in [1, 99_999_999, 100_000_000, u64::MAX] {
            let name = format!("{}-00000.parquet", ours.of_attempt(Epoch(epoch)));
            assert_eq!(ours.epoch_in(&name), Some(Epoch(epoch)), "{name}");
            for other in &others {
                assert_eq!(other.epoch_in(&name), None, "{name} to {other:?}");
                let foreign = format!("{}-00000.parquet", other.of_attempt(Epoch(epoch)));
                assert_eq!(ours.epoch_in(&foreign), None, "{foreign}");
            }
        }
    }

    #[test]
    fn what_was_not_named_here_is_left_alone() {
        let ours = names("p", "sink", "main", Commits::Guarded);
        let tag = &ours.prefix;
        let uuid = "0123456789abcdef0123456789abcdef";
        assert_eq!(ours.epoch_in(&format!("{tag}-00000003-{uuid}-00000.parquet")), Some(Epoch(3)));
        for other in [
            "00000003-1f5c6a0e-0b1f-4c0e-9d39-000000000000-00000.parquet".to_owned(),
            format!("{tag}-00000003-{uuid}"),
            format!("{tag}-00000003-{uuid}-"),
            format!("{tag}-3-{uuid}-00000.parquet"),
            format!("{tag}-+0000003-{uuid}-00000.parquet"),
            format!("{tag}-0000000x-{uuid}-00000.parquet"),
            format!("{tag}-00000003-{}-00000.parquet", &uuid[1..]),
            format!("{tag}x-00000003-{uuid}-00000.parquet"),
            format!("{tag}-99999999999999999999999-{uuid}-00000.parquet"),
            format!("x{tag}-00000003-{uuid}-00000.parquet"),
            String::new(),
        ] {
            assert_eq!(ours.epoch_in(&other), None, "{other}");
        }
    }
}
