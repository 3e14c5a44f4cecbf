//! Counts and sums by key, of both sides, in a temporary database on the disk: memory stays bounded.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use floe_core::{Error, Result};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Row, Sqlite};

use super::database::{self, failed};

/// Which of the two a row is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Table,
}

/// What one side has for a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) rows: i64,
    pub(super) sums: Vec<Sum>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) amount: i128,
    /// Of hashes of the amounts, in whatever order they came.
    pub(super) hash: i64,
}

/// A key with what both sides have for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// A JSON list.
    pub(super) key: String,
    pub(super) source: Totals,
    pub(super) table: Totals,
    /// Of the first row of the source.
    pub(super) place: Option<String>,
}

pub(super) struct Ledger {
    database: SqliteConnection,
    sums: usize,
    side: Side,
    /// What was not written yet, of one side.
    waiting: HashMap<String, (Totals, Option<String>)>,
}

/// Keys that wait in memory.
const WAITING_MAX: usize = 50_000;
/// Rows of one statement, and values of one: SQLite has 32 766 at most.
const ROWS: usize = 64;
const VALUES_MAX: usize = 32_000;
const PAGE: i64 = 5_000;
/// Sums are kept in two columns, since SQLite's integers have 64 bits: the lower one's, so that adding some
/// millions of them stays within.
const LOWER_BITS: u32 = 40;
const HASH_MASK: i64 = (1 << 62) - 1;

impl Totals {
    pub(super) fn of(sums: usize) -> Totals {
        Totals { rows: 0, sums: vec![Sum::default(); sums] }
    }

    /// Amounts first, and then hashes of values that are not added up.
    pub(super) fn add(&mut self, amounts: &[Option<i128>], checks: &[u64]) {
        self.rows += 1;
        for (sum, check) in self.sums.iter_mut().skip(amounts.len()).zip(checks) {
            sum.hash = (sum.hash + (*check as i64 & HASH_MASK)) & HASH_MASK;
        }
        for (sum, amount) in self.sums.iter_mut().zip(amounts) {
            sum.amount += amount.unwrap_or(0);
            let hash = super::amount::mixed(*amount) as i64 & HASH_MASK;
            sum.hash = (sum.hash + hash) & HASH_MASK;
        }
    }

    pub(super) fn join(&mut self, other: &Totals) {
        self.rows += other.rows;
        for (sum, other) in self.sums.iter_mut().zip(&other.sums) {
            sum.amount += other.amount;
        }
    }
}

impl Side {
    fn prefix(self) -> char {
        match self {
            Side::Source => 's',
            Side::Table => 't',
        }
    }
}

impl Ledger {
    pub(super) async fn create(file: &Path, sums: usize) -> Result<Ledger> {
        let mut database = database::open(file).await?;
        let mut columns = "key TEXT PRIMARY KEY, place TEXT".to_owned();
        for side in [Side::Source, Side::Table] {
            for name in names(side, sums) {
                columns += &format!(", {name} INTEGER NOT NULL DEFAULT 0");
            }
        }
        for statement in [
            format!("CREATE TABLE ledger ({columns}) WITHOUT ROWID"),
            "CREATE TABLE seen (id BLOB PRIMARY KEY) WITHOUT ROWID".to_owned(),
        ] {
            database::run(&mut database, &statement).await?;
        }
        Ok(Ledger { database, sums, side: Side::Source, waiting: HashMap::new() })
    }

    /// All of one side is added, and then all of the other.
    pub(super) async fn add(
        &mut self,
        side: Side,
        key: String,
        (amounts, checks): (&[Option<i128>], &[u64]),
        place: impl FnOnce() -> Option<String>,
    ) -> Result<()> {
        if side != self.side || self.waiting.len() >= WAITING_MAX {
            self.flush().await?;
            self.side = side;
        }
        let sums = self.sums;
        let waiting = self.waiting.entry(key);
        waiting.or_insert_with(|| (Totals::of(sums), place())).0.add(amounts, checks);
        Ok(())
    }

    /// Which of these come for the first time: one answer each.
    pub(super) async fn first_seen(&mut self, ids: &[Option<[u8; 16]>]) -> Result<Vec<bool>> {
        let mut new: HashSet<[u8; 16]> = HashSet::new();
        let known: Vec<[u8; 16]> = {
            let mut once = HashSet::new();
            ids.iter().flatten().copied().filter(|it| once.insert(*it)).collect()
        };
        self.execute("BEGIN").await?;
        for some in known.chunks(ROWS) {
            let marks = vec!["(?)"; some.len()].join(",");
            let statement =
                format!("INSERT INTO seen VALUES {marks} ON CONFLICT DO NOTHING RETURNING id");
            let mut query = sqlx::query(&statement);
            for id in some {
                query = query.bind(id.to_vec());
            }
            for row in query.fetch_all(&mut self.database).await.map_err(failed)? {
                let id: Vec<u8> = row.try_get(0).map_err(failed)?;
                new.extend(<[u8; 16]>::try_from(id.as_slice()).ok());
            }
        }
        self.execute("COMMIT").await?;
        // A null is equal to nothing. Of several in one batch the first counts.
        Ok(ids.iter().map(|it| it.is_none_or(|it| new.remove(&it))).collect())
    }

    /// Forgets what was counted of the source.
    pub(super) async fn clear(&mut self) -> Result<()> {
        self.waiting.clear();
        self.execute("DELETE FROM ledger").await?;
        self.execute("DELETE FROM seen").await
    }

    async fn flush(&mut self) -> Result<()> {
        let mut all: Vec<_> = std::mem::take(&mut self.waiting).into_iter().collect();
        // Neighbours are written together.
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.execute("BEGIN").await?;
        let rows = (VALUES_MAX / (3 * self.sums + 3)).clamp(1, ROWS);
        for some in all.chunks(rows) {
            let statement = upsert(self.side, self.sums, some.len());
            let mut query = sqlx::query(&statement);
            for (key, (totals, place)) in some {
                query = bind(query.bind(key.clone()).bind(place.clone()), totals)?;
            }
            query.execute(&mut self.database).await.map_err(failed)?;
        }
        self.execute("COMMIT").await
    }

    async fn execute(&mut self, statement: &str) -> Result<()> {
        database::run(&mut self.database, statement).await
    }

    /// Hands out every key in order, and what both have for it.
    pub(super) async fn each(&mut self, mut take: impl FnMut(Entry) -> Result<()>) -> Result<()> {
        self.flush().await?;
        let mut columns = "key, place".to_owned();
        for side in [Side::Source, Side::Table] {
            columns += ", ";
            columns += &names(side, self.sums).join(", ");
        }
        let statement =
            format!("SELECT {columns} FROM ledger WHERE key > ? ORDER BY key LIMIT {PAGE}");
        let mut last = String::new();
        loop {
            let query = sqlx::query(&statement).bind(last.clone());
            let rows = query.fetch_all(&mut self.database).await.map_err(failed)?;
            for row in &rows {
                // An integer that left 64 bits has become a float, which is refused here.
                let entry = entry(row, self.sums).map_err(|_| too_large())?;
                last.clone_from(&entry.key);
                take(entry)?;
            }
            if (rows.len() as i64) < PAGE {
                return Ok(());
            }
        }
    }
}

/// The columns of a side.
fn names(side: Side, sums: usize) -> Vec<String> {
    let side = side.prefix();
    let of_sum = |it| ["upper", "lower", "hash"].map(|name| format!("{side}_{name}_{it}"));
    std::iter::once(format!("{side}_rows")).chain((0..sums).flat_map(of_sum)).collect()
}

fn upsert(side: Side, sums: usize, rows: usize) -> String {
    let names = names(side, sums);
    let marks = format!("({})", vec!["?"; names.len() + 2].join(","));
    let add = |name: &String| match name.contains("_hash_") {
        true => format!("{name} = ({name} + excluded.{name}) & {HASH_MASK}"),
        false => format!("{name} = {name} + excluded.{name}"),
    };
    format!(
        "INSERT INTO ledger (key, place, {}) VALUES {} ON CONFLICT (key) DO UPDATE SET place = coalesce(place, excluded.place), {}",
        names.join(", "),
        vec![marks; rows].join(","),
        names.iter().map(add).collect::<Vec<_>>().join(", ")
    )
}

type Query<'a> = sqlx::query::Query<'a, Sqlite, SqliteArguments<'a>>;

fn bind<'a>(mut query: Query<'a>, totals: &Totals) -> Result<Query<'a>> {
    query = query.bind(totals.rows);
    for sum in &totals.sums {
        let upper = i64::try_from(sum.amount >> LOWER_BITS).map_err(|_| too_large())?;
        let lower = (sum.amount & ((1 << LOWER_BITS) - 1)) as i64;
        query = query.bind(upper).bind(lower).bind(sum.hash);
    }
    Ok(query)
}

fn entry(row: &SqliteRow, sums: usize) -> sqlx::Result<Entry> {
    let mut at = 2;
    let mut next = || {
        at += 1;
        row.try_get::<i64, _>(at - 1)
    };
    let mut totals = || -> sqlx::Result<Totals> {
        let rows = next()?;
        let mut all = Vec::with_capacity(sums);
        for _ in 0..sums {
            let amount = (i128::from(next()?) << LOWER_BITS) + i128::from(next()?);
            all.push(Sum { amount, hash: next()? });
        }
        Ok(Totals { rows, sums: all })
    };
    let (source, table) = (totals()?, totals()?);
    Ok(Entry { key: row.try_get(0)?, place: row.try_get(1)?, source, table })
}

fn too_large() -> Error {
    Error::invalid(
        "a sum has more than 30 digits, and is not exact any more\n→ a finer --key, or no --sum of this column",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::folder::TemporaryFolder;

    #[tokio::test]
    async fn sums_are_exact_over_many_writes() {
        let folder = TemporaryFolder::new().unwrap();
        let mut ledger = Ledger::create(&folder.path().join("l.db"), 1).await.unwrap();
        let amounts = [i128::from(i64::MAX), -5, i128::from(i64::MIN), 1 << 90, -(1 << 90), 7];
        for (number, amount) in amounts.into_iter().enumerate() {
            let place = || Some(format!("row {number}"));
            ledger.add(Side::Source, "[1]".into(), (&[Some(amount)], &[]), place).await.unwrap();
            ledger.flush().await.unwrap();
        }
        for amount in amounts.into_iter().rev() {
            ledger.add(Side::Table, "[1]".into(), (&[Some(amount)], &[]), || None).await.unwrap();
        }
        ledger.add(Side::Table, "[2]".into(), (&[None], &[]), || None).await.unwrap();
        let mut entries = Vec::new();
        ledger
            .each(|it| {
                entries.push(it);
                Ok(())
            })
            .await
            .unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].source, entries[0].table);
        assert_eq!(entries[0].source.rows, 6);
        assert_eq!(entries[0].source.sums[0].amount, 1);
        assert_eq!(entries[0].place.as_deref(), Some("row 0"));
        assert_eq!((entries[1].source.rows, entries[1].table.rows), (0, 1));
    }

    #[tokio::test]
    async fn a_value_is_new_once() {
        let folder = TemporaryFolder::new().unwrap();
        let mut ledger = Ledger::create(&folder.path().join("l.db"), 0).await.unwrap();
        let id = |it: u8| Some([it; 16]);
        let ids = [id(1), id(2), id(1), None, None];
        assert_eq!(ledger.first_seen(&ids).await.unwrap(), [true, true, false, true, true]);
        assert_eq!(ledger.first_seen(&[id(2), id(3)]).await.unwrap(), [false, true]);
        ledger.clear().await.unwrap();
        assert_eq!(ledger.first_seen(&[id(2)]).await.unwrap(), [true]);
    }
}
