//! Which row is the last of each key, in a temporary database on the disk.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use arrow_array::{ArrayRef, RecordBatch};
use floe_core::{Error, Result};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::spool::{self, Spooled};
use crate::command::verify::amount;
use crate::command::verify::database::{self, failed, run};

/// Rows of one statement, six values each.
const ROWS: usize = 64;
const BATCH: usize = 8192;

#[derive(Clone)]
pub(super) struct Newest {
    file: PathBuf,
    key: Vec<String>,
}

/// A row that is the last of its key, or may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    Certain,
    /// Several tasks made rows of the key in one epoch.
    Any,
}

impl Newest {
    /// Reads the spool through.
    pub(super) async fn of(file: &Path, spool: &Path, key: Vec<String>) -> Result<Newest> {
        let newest = Newest { file: file.to_owned(), key };
        let mut database = newest.open().await?;
        let statement = "CREATE TABLE newest (key TEXT PRIMARY KEY, number INTEGER NOT NULL, epoch INTEGER NOT NULL, task INTEGER NOT NULL, deleted INTEGER NOT NULL, several INTEGER NOT NULL) WITHOUT ROWID";
        run(&mut database, statement).await?;
        let mut rows = spool::read(spool, BATCH)?;
        let mut number = 0;
        while let Some(spooled) = Spooled::next(&mut rows)? {
            newest.add(&mut database, &spooled, number).await?;
            number += spooled.rows.num_rows() as i64;
        }
        run(&mut database, "CREATE INDEX by_number ON newest (number)").await?;
        database.close().await.map_err(failed)?;
        Ok(newest)
    }

    pub(super) async fn open(&self) -> Result<SqliteConnection> {
        database::open(&self.file).await
    }

    /// A task's rows are in its order; those of several tasks within an epoch are in none.
    async fn add(
        &self,
        database: &mut SqliteConnection,
        spooled: &Spooled,
        first: i64,
    ) -> Result<()> {
        let keys = self.keys(&spooled.rows)?;
        run(database, "BEGIN").await?;
        for (from, some) in (0..).step_by(ROWS).zip(keys.chunks(ROWS)) {
            let statement = format!(
                "INSERT INTO newest VALUES {} ON CONFLICT (key) DO UPDATE SET \
                 several = CASE WHEN excluded.epoch > epoch THEN 0 WHEN excluded.task <> task THEN 1 ELSE several END, \
                 number = excluded.number, epoch = excluded.epoch, task = excluded.task, deleted = excluded.deleted \
                 WHERE excluded.epoch >= epoch",
                vec!["(?,?,?,?,?,0)"; some.len()].join(",")
            );
            let mut query = sqlx::query(&statement);
            for (row, key) in (from..).zip(some) {
                query = query
                    .bind(key)
                    .bind(first + row as i64)
                    .bind(spooled.epochs.value(row))
                    .bind(spooled.tasks.value(row))
                    .bind(spooled.deleted.value(row));
            }
            query.execute(&mut *database).await.map_err(failed)?;
        }
        run(database, "COMMIT").await
    }

    fn keys(&self, rows: &RecordBatch) -> Result<Vec<String>> {
        let column = |name: &String| {
            rows.column_by_name(name)
                .ok_or_else(|| Error::invalid(format!("key: the table has no column {name:?}")))
        };
        let columns = self.key.iter().map(column).collect::<Result<Vec<&ArrayRef>>>()?;
        Ok((0..rows.num_rows()).map(|row| amount::key(&columns, row)).collect())
    }

    /// Of rows with these numbers, those that the table must hold. One that is deleted for certain is none.
    pub(super) async fn last_of(
        database: &mut SqliteConnection,
        numbers: std::ops::Range<i64>,
    ) -> Result<BTreeMap<i64, Last>> {
        let statement = "SELECT number, several FROM newest WHERE number >= ? AND number < ? AND (deleted = 0 OR several = 1)";
        let query = sqlx::query(statement).bind(numbers.start).bind(numbers.end);
        let rows = query.fetch_all(database).await.map_err(failed)?;
        let last = |it: &sqlx::sqlite::SqliteRow| -> sqlx::Result<(i64, Last)> {
            let several: i64 = it.try_get(1)?;
            Ok((it.try_get(0)?, if several == 0 { Last::Certain } else { Last::Any }))
        };
        rows.iter().map(last).collect::<sqlx::Result<_>>().map_err(failed)
    }

    /// Which of these rows have a key of which nothing was made anew.
    pub(super) async fn not_made(
        &self,
        database: &mut SqliteConnection,
        rows: &RecordBatch,
    ) -> Result<Vec<bool>> {
        let keys = self.keys(rows)?;
        let mut made: HashSet<String> = HashSet::new();
        for some in keys.chunks(8 * ROWS) {
            let marks = vec!["?"; some.len()].join(",");
            let statement = format!("SELECT key FROM newest WHERE key IN ({marks})");
            let mut query = sqlx::query(&statement);
            for key in some {
                query = query.bind(key);
            }
            for row in query.fetch_all(&mut *database).await.map_err(failed)? {
                made.insert(row.try_get(0).map_err(failed)?);
            }
        }
        Ok(keys.iter().map(|it| !made.contains(it)).collect())
    }

    pub(super) fn key(&self) -> &[String] {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BooleanArray, Int32Array, Int64Array, StringArray};

    use super::*;
    use crate::replay::folder::TemporaryFolder;

    /// (key, epoch, task, deleted), in the order of their numbers.
    async fn lasts(rows: &[(&str, i64, i32, bool)]) -> Vec<(i64, Last)> {
        let folder = TemporaryFolder::new().unwrap();
        let newest = Newest { file: folder.path().join("n.db"), key: vec!["id".into()] };
        let mut database = newest.open().await.unwrap();
        let statement = "CREATE TABLE newest (key TEXT PRIMARY KEY, number INTEGER, epoch INTEGER, task INTEGER, deleted INTEGER, several INTEGER)";
        run(&mut database, statement).await.unwrap();
        let keys: ArrayRef = Arc::new(rows.iter().map(|it| Some(it.0)).collect::<StringArray>());
        let spooled = Spooled {
            rows: RecordBatch::try_from_iter([("id", keys)]).unwrap(),
            epochs: Int64Array::from_iter_values(rows.iter().map(|it| it.1)),
            tasks: Int32Array::from_iter_values(rows.iter().map(|it| it.2)),
            deleted: BooleanArray::from_iter(rows.iter().map(|it| Some(it.3))),
        };
        newest.add(&mut database, &spooled, 0).await.unwrap();
        let last = Newest::last_of(&mut database, 0..i64::MAX).await.unwrap();
        last.into_iter().collect()
    }

    #[tokio::test]
    async fn the_last_row_of_a_key_is_found() {
        let of = [("a", 1, 0, false), ("b", 1, 1, false), ("a", 2, 1, false), ("a", 2, 1, false)];
        assert_eq!(lasts(&of).await, [(1, Last::Certain), (3, Last::Certain)]);
        // Another task's older epoch may be laid down later.
        let of = [("a", 5, 0, false), ("a", 3, 1, false)];
        assert_eq!(lasts(&of).await, [(0, Last::Certain)]);
        let of = [("a", 1, 0, false), ("a", 2, 0, true)];
        assert_eq!(lasts(&of).await, []);
    }

    #[tokio::test]
    async fn what_two_tasks_made_in_one_epoch_is_not_known() {
        let of = [("a", 2, 0, false), ("a", 2, 1, true), ("a", 2, 0, true)];
        assert_eq!(lasts(&of).await, [(2, Last::Any)]);
        let of = [("a", 2, 0, false), ("a", 2, 1, false), ("a", 3, 1, false)];
        assert_eq!(lasts(&of).await, [(2, Last::Certain)]);
    }
}
