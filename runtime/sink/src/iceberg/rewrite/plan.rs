//! Which small things are put together: decided from their sizes alone.

use std::collections::HashMap;

/// What the table's properties say, in Java's spelling; what they don't say, by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// `commit.manifest-merge.enabled`.
    pub(super) merge: bool,
    /// `commit.manifest.min-count-to-merge`.
    pub(super) manifests_min: usize,
    /// `commit.manifest.target-size-bytes`.
    pub(super) manifest_bytes: u64,
    /// `floe.compaction.enabled`.
    pub(super) compact: bool,
    /// `floe.compaction.min-input-files`.
    pub(super) files_min: usize,
    /// `write.target-file-size-bytes`.
    pub(super) file_bytes: u64,
    /// Read and written again at a time, at the most.
    pub(super) round_bytes: u64,
}

impl Limits {
    pub(super) fn of(properties: &HashMap<String, String>) -> Limits {
        let flag = |key: &str| properties.get(key).is_none_or(|it| it != "false");
        let number = |key: &str, default: u64| {
            properties.get(key).and_then(|it| it.parse().ok()).unwrap_or(default)
        };
        let file_bytes = number("write.target-file-size-bytes", 128 << 20).max(1);
        Limits {
            merge: flag("commit.manifest-merge.enabled"),
            manifests_min: number("commit.manifest.min-count-to-merge", 100).max(2) as usize,
            manifest_bytes: number("commit.manifest.target-size-bytes", 8 << 20).max(1),
            compact: flag("floe.compaction.enabled"),
            files_min: number("floe.compaction.min-input-files", 8).max(2) as usize,
            file_bytes,
            round_bytes: file_bytes.saturating_mul(4),
        }
    }
}

/// The indexes of what is put together; none if that is not worth it.
///
/// Only what is smaller than `small` counts. The smallest come first, and a larger one joins when the ones
/// before it weigh as much: so a byte is written again once for each doubling, not once for each round.
pub(super) fn choose(sizes: &[u64], small: u64, count_min: usize, bytes_max: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).filter(|index| sizes[*index] < small).collect();
    order.sort_by_key(|index| (sizes[*index], *index));
    let (mut before, mut count) = (0u64, 0);
    for (position, index) in order.iter().enumerate() {
        let size = sizes[*index];
        if before.saturating_add(size) > bytes_max {
            break;
        }
        if size <= before {
            count = position + 1;
        }
        before += size;
    }
    order.truncate(count);
    if order.len() < count_min {
        return Vec::new();
    }
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_are_put_together_and_giants_left_alone() {
        assert_eq!(choose(&[5, 5, 5], 100, 3, 1000), [0, 1, 2]);
        assert!(choose(&[5, 5, 5], 100, 4, 1000).is_empty());
        assert_eq!(choose(&[5, 100, 5, 5], 100, 3, 1000), [0, 2, 3]);
        assert_eq!(choose(&[5, 90, 5, 5], 100, 3, 1000), [0, 2, 3], "not worth writing 90 again");
        assert_eq!(choose(&[5, 14, 5, 5], 100, 3, 1000), [0, 1, 2, 3]);
        assert_eq!(choose(&[1, 3, 3, 3], 100, 3, 1000), [0, 1, 2, 3]);
        assert_eq!(choose(&[5, 5, 5, 5], 100, 2, 11), [0, 1]);
        assert!(choose(&[], 100, 2, 11).is_empty());
    }

    /// A file a step for a long time, put together whenever eight are there: few files stay, and each byte
    /// is written a few times.
    #[test]
    fn a_long_run_stays_small() {
        let (mut files, mut written) = (Vec::new(), 0u64);
        let steps = 86_400u64;
        let mut most = 0;
        for _ in 0..steps {
            files.push(10u64);
            let chosen = choose(&files, 9_600, 8, 51_200);
            if !chosen.is_empty() {
                let bytes: u64 = chosen.iter().map(|index| files[*index]).sum();
                written += bytes;
                let mut index = 0;
                files.retain(|_| {
                    index += 1;
                    !chosen.contains(&(index - 1))
                });
                files.extend(std::iter::repeat_n(12_800, (bytes / 12_800) as usize));
                files.extend((!bytes.is_multiple_of(12_800)).then_some(bytes % 12_800));
            }
            most = most.max(files.len());
        }
        assert_eq!(files.iter().sum::<u64>(), steps * 10);
        assert!(most < 200, "{most} files");
        let again = written as f64 / (steps * 10) as f64;
        assert!(again < 12.0, "each byte is written {again} times");
    }
}
