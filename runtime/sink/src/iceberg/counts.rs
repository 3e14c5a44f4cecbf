//! What a snapshot adds, removes and then holds, in the words of the specification.

use std::collections::HashMap;

use iceberg::spec::{DataContentType, DataFile, SnapshotRef};

/// Writes a snapshot's counts down, and the totals after it as far as its parent knows them.
pub(super) fn count_files<'a>(
    summary: &mut HashMap<String, String>,
    added: impl Iterator<Item = &'a DataFile> + Clone,
    gone: &[DataFile],
    parent: Option<&SnapshotRef>,
) {
    let of = |content: DataContentType| {
        let files = added.clone().filter(move |it| it.content_type() == content);
        files.fold((0, 0), |(files, rows), it| (files + 1, rows + it.record_count()))
    };
    let (files, rows) = of(DataContentType::Data);
    let (delete_files, deletes) = of(DataContentType::EqualityDeletes);
    let bytes: u64 = added.clone().map(DataFile::file_size_in_bytes).sum();
    let gone_files = gone.len() as u64;
    let gone_rows: u64 = gone.iter().map(DataFile::record_count).sum();
    let gone_bytes: u64 = gone.iter().map(DataFile::file_size_in_bytes).sum();
    let changed = [
        ("deleted-data-files", gone_files),
        ("deleted-records", gone_rows),
        ("removed-files-size", gone_bytes),
        ("added-data-files", files),
        ("added-records", rows),
        ("added-delete-files", delete_files),
        ("added-equality-delete-files", delete_files),
        ("added-equality-deletes", deletes),
        ("added-files-size", bytes),
    ];
    for (key, number) in changed.iter().filter(|it| it.1 > 0) {
        summary.insert((*key).to_owned(), number.to_string());
    }
    let totals = [
        ("total-data-files", files, gone_files),
        ("total-records", rows, gone_rows),
        ("total-delete-files", delete_files, 0),
        ("total-equality-deletes", deletes, 0),
        ("total-position-deletes", 0, 0),
        ("total-files-size", bytes, gone_bytes),
    ];
    for (key, more, less) in totals {
        let before: Option<u64> = match parent {
            None => Some(0),
            Some(it) => it.summary().additional_properties.get(key).and_then(|it| it.parse().ok()),
        };
        // A total that the parent does not know is not made up.
        if let Some(before) = before {
            summary.insert(key.to_owned(), (before + more).saturating_sub(less).to_string());
        }
    }
}
