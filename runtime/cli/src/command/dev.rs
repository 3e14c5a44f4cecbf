//! `floe dev`: builds and tests whenever a file changes, and shows which rows are others than before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::args::DevArgs;
use crate::command::{build, test};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_millis(300);

/// Rows shown of a case whose rows changed.
const SHOWN_MAX: usize = 20;

/// For each case, its rows as text.
type Rows = BTreeMap<String, Vec<String>>;

pub(crate) fn dev(args: DevArgs) -> anyhow::Result<()> {
    let mut before: Option<Rows> = None;
    let mut seen = BTreeMap::new();
    loop {
        let now = files(&args.folder);
        if now != seen {
            seen = now;
            match round(&args.folder) {
                Err(error) => eprintln!("error: {error:#}"),
                Ok(rows) => {
                    if let Some(before) = &before {
                        show_changes(before, &rows);
                    }
                    before = Some(rows);
                }
            }
            println!("… waiting for a change below {}", args.folder.display());
        }
        std::thread::sleep(LOOK);
    }
}

fn round(folder: &Path) -> anyhow::Result<Rows> {
    let module = build::module(folder)?;
    let report = test::test_folder(folder, &module)?;
    test::print(&report);
    Ok(report.cases.into_iter().map(|it| (it.case, it.emitted)).collect())
}

/// Rows that were and are no more, and rows that are new, of each case.
fn show_changes(before: &Rows, now: &Rows) {
    for (case, rows) in now {
        let Some(old) = before.get(case) else { continue };
        let changes = changes(old, rows);
        if changes.is_empty() {
            continue;
        }
        println!("  {case}: other rows than before");
        changes.iter().take(SHOWN_MAX).for_each(|it| println!("    {it}"));
        if changes.len() > SHOWN_MAX {
            println!("    and {} more", changes.len() - SHOWN_MAX);
        }
    }
}

/// Each row is counted: one that is there once more is new once.
fn changes(old: &[String], new: &[String]) -> Vec<String> {
    let mut left: BTreeMap<&str, i64> = BTreeMap::new();
    for row in old {
        *left.entry(row).or_default() += 1;
    }
    let mut added = Vec::new();
    for row in new {
        let count = left.entry(row).or_default();
        *count -= 1;
        if *count < 0 {
            added.push(format!("+ {row}"));
        }
    }
    let gone = left.into_iter().filter(|(_, count)| *count > 0);
    let gone = gone.flat_map(|(row, count)| (0..count).map(move |_| format!("- {row}")));
    gone.chain(added).collect()
}

/// Every file of the operator with the time of its last change; what is built or hidden is none.
fn files(folder: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if name == "target" || name.starts_with('.') || name.ends_with(".lock") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(changed) = entry.metadata().and_then(|it| it.modified()) {
                found.insert(path, changed);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_row_that_comes_twice_is_one_row_more() {
        let rows = |rows: &[&str]| rows.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let changes = |old: &[&str], new: &[&str]| super::changes(&rows(old), &rows(new));
        assert_eq!(changes(&["a", "b"], &["b", "a"]), Vec::<String>::new());
        assert_eq!(changes(&["a"], &["a", "a"]), ["+ a"]);
        assert_eq!(changes(&["a", "a", "b"], &["a", "c"]), ["- a", "- b", "+ c"]);
    }
}
