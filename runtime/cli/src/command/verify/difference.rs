//! What two sides say of a key, when it is not the same.

use serde::Serialize;
use serde_json::{Map, Value};

use super::amount;
use super::ledger::{Entry, Totals};

/// A key that differs; or a row of one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Difference {
    pub(super) key: Map<String, Value>,
    pub(super) what: String,
    pub(super) source: Side,
    pub(super) table: Side,
    /// The first record of it in what the table is held against.
    pub(super) at: Option<String>,
    /// The first and the last epoch that may have taken that record.
    pub(super) epochs: Option<(u64, u64)>,
    /// The values that differ, where each side has one row of the key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) values: Vec<ValueDifference>,
    /// The rows of a key that differ, where rows have names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rows: Vec<Difference>,
    /// More rows that differ.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) more_rows: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ValueDifference {
    pub(super) column: String,
    pub(super) source: Value,
    pub(super) table: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Side {
    pub(super) rows: i64,
    /// By the column's name, as text: JSON's numbers are too short for some.
    pub(super) sums: Map<String, Value>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How a ledger's entries are shown.
pub(super) struct Names {
    pub(super) key: Vec<String>,
    pub(super) sums: Vec<String>,
    pub(super) digits: Vec<u8>,
    /// Behind the sums in a ledger.
    pub(super) checks: Vec<String>,
}

impl Names {
    /// `None`: both sides say the same.
    pub(super) fn difference(&self, entry: &Entry) -> Option<Difference> {
        let what = self.what(entry)?;
        Some(Difference {
            key: self.key(&entry.key),
            what,
            source: self.side(&entry.source),
            table: self.side(&entry.table),
            at: entry.place.clone(),
            epochs: None,
            values: Vec::new(),
            rows: Vec::new(),
            more_rows: 0,
        })
    }

    fn key(&self, text: &str) -> Map<String, Value> {
        let values: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
        self.key.iter().cloned().zip(values).collect()
    }

    pub(super) fn side(&self, totals: &Totals) -> Side {
        let sums = self.sums.iter().zip(&self.digits).zip(&totals.sums);
        let sums = sums.map(|((name, digits), sum)| {
            (name.clone(), Value::String(amount::text(sum.amount, *digits)))
        });
        Side { rows: totals.rows, sums: sums.collect() }
    }

    fn what(&self, entry: &Entry) -> Option<String> {
        let (source, table) = (&entry.source, &entry.table);
        if source == table {
            return None;
        }
        let mut parts = Vec::new();
        match table.rows - source.rows {
            0 => {}
            _ if table.rows == 0 => parts.push("missing in the table".to_owned()),
            _ if source.rows == 0 => parts.push("in the table alone".to_owned()),
            less if less < 0 => parts.push(format!("{} missing in the table", rows(-less))),
            more => parts.push(format!("{} too many in the table", rows(more))),
        }
        if table.rows > 0 && source.rows > 0 {
            let sums = self.sums.iter().zip(&self.digits).zip(source.sums.iter().zip(&table.sums));
            for ((name, digits), (source, table)) in sums {
                let by = table.amount - source.amount;
                if by != 0 {
                    let sign = if by > 0 { "+" } else { "" };
                    parts.push(format!("{name} {sign}{}", amount::text(by, *digits)));
                } else if source.hash != table.hash {
                    parts.push(format!("{name}: other values of the same sum"));
                }
            }
            let behind = self.sums.len();
            let hashes = source.sums.iter().zip(&table.sums).skip(behind);
            // Of other numbers of rows they can only be other ones.
            let same_rows = entry.source.rows == entry.table.rows;
            for (name, (source, table)) in self.checks.iter().zip(hashes) {
                if same_rows && source.hash != table.hash {
                    parts.push(format!("{name} differs"));
                }
            }
        }
        Some(parts.join(", "))
    }
}

fn rows(number: i64) -> String {
    match number {
        1 => "1 row".to_owned(),
        more => format!("{more} rows"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            key: vec!["merchant".into()],
            sums: vec!["amount".into()],
            digits: vec![2],
            checks: vec!["currency".into()],
        }
    }

    fn entry(source: &[i128], table: &[i128]) -> Entry {
        let totals = |amounts: &[i128]| {
            let mut totals = Totals::of(2);
            amounts.iter().for_each(|it| totals.add(&[Some(*it)], &[7]));
            totals
        };
        Entry {
            key: "[\"m-7\"]".into(),
            source: totals(source),
            table: totals(table),
            place: Some("p/0 @ 1".into()),
        }
    }

    #[test]
    fn each_kind_of_difference_is_said() {
        for (source, table, expected) in [
            (&[100, 250][..], &[250, 100][..], None),
            (&[100, 250], &[250], Some("1 row missing in the table, amount -1.00")),
            (&[100], &[100, 100, 100], Some("2 rows too many in the table, amount +2.00")),
            (&[100], &[101], Some("amount +0.01")),
            (&[100, 250], &[150, 200], Some("amount: other values of the same sum")),
            (&[100, -100], &[100], Some("1 row missing in the table, amount +1.00")),
            (&[100], &[], Some("missing in the table")),
            (&[], &[100], Some("in the table alone")),
        ] {
            let found = names().difference(&entry(source, table));
            assert_eq!(found.as_ref().map(|it| it.what.as_str()), expected, "{source:?} {table:?}");
        }
    }

    #[test]
    fn null_is_not_zero() {
        let mut other = entry(&[0], &[]);
        other.table.add(&[None], &[7]);
        let found = names().difference(&other).unwrap();
        assert_eq!(found.what, "amount: other values of the same sum");
        assert_eq!(found.key["merchant"], "m-7");
        assert_eq!(found.source.sums["amount"], "0.00");
    }

    #[test]
    fn values_that_are_not_added_up_are_compared() {
        let mut other = entry(&[100], &[]);
        other.table.add(&[Some(100)], &[8]);
        let found = names().difference(&other).unwrap();
        assert_eq!(found.what, "currency differs");
        assert!(!found.source.sums.contains_key("currency"));
    }
}
