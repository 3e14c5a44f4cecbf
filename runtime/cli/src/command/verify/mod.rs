//! `floe verify`: counts and sums by key of the source and of the table, and every key for which they differ.

mod amount;
mod count;
mod csv;
mod database;
mod difference;
mod ledger;
mod recompute;
mod reader;
mod show;
mod source;
mod span;
mod truth;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::time::Instant;

use arrow_schema::Schema;
use floe_core::{Error, Result, TopicPartition};
use floe_pipeline::config::{LogFormat, NamedSink, PipelineSpec, TableSpec, WriteMode};
use floe_sink::iceberg::TableAt;
use serde::Serialize;

use crate::args::{Pair, VerifyArgs};
use crate::exit::Differs;
use crate::replay::folder::TemporaryFolder;
use crate::terminal::Terminal;
use crate::{load, logging, wire};
use count::{Columns, Counted, Counting, Values, count};
use difference::{Difference, Names, ValueDifference};
use ledger::{Ledger, Side, Totals};
use reader::Reader;
use recompute::{ANY_OF_SEVERAL, Recomputed};
use source::SourceTruth;
use span::{Epochs, Span};
use truth::Truth;

/// Keys that differ, all of which are counted, that are kept to be shown.
const SHOWN_MAX: usize = 100_000;
/// Keys of which the records are looked for.
const LOOKED_FOR_MAX: usize = 1_000;
/// Rows shown of one key.
const ROWS_MAX: usize = 20;

#[derive(Serialize)]
struct Verified {
    pipeline: String,
    table: String,
    snapshot: Option<i64>,
    /// The newest in the table.
    epoch: Option<u64>,
    against: String,
    source_totals: difference::Side,
    table_totals: difference::Side,
    /// Records that were not counted, since they came before.
    again: u64,
    /// Records that the decoder would not take.
    rejected: u64,
    keys: u64,
    keys_that_differ: u64,
    /// Keys of which it cannot be known which row is the last: they were not compared.
    keys_not_compared: u64,
    differences: Vec<Difference>,
    notes: Vec<String>,
}

pub(crate) fn verify(args: VerifyArgs) -> anyhow::Result<()> {
    let terminal = Terminal::new();
    logging::start(if args.json { LogFormat::Json } else { LogFormat::Human }, &terminal)?;
    super::block_on(async move {
        let verified = compare(&args, &terminal).await;
        terminal.end_progress();
        let verified = verified?;
        if let Some(file) = &args.report {
            std::fs::write(file, show::markdown(&verified)).map_err(|error| {
                Error::invalid(format!("{} cannot be written: {error}", file.display()))
            })?;
        }
        if args.json {
            super::print_json(&verified)?;
        } else {
            use std::io::Write;
            std::io::stdout().write_all(show::text(&verified).as_bytes())?;
        }
        match verified.keys_that_differ {
            0 => Ok(()),
            _ => Err(Differs(format!("{} {}", verified.table, show::verdict(&verified))).into()),
        }
    })
}

/// Both sides, found and checked: how they are read, and by which names.
struct Sides {
    truth: Truth,
    table: TableAt,
    of_source: Columns,
    of_table: Columns,
    names: Names,
}

async fn compare(args: &VerifyArgs, terminal: &Terminal) -> anyhow::Result<Verified> {
    let spec = load::pipeline(&args.pipeline)?;
    let sink = spec.sink_named(args.sink.as_deref())?;
    let table_spec = sink.spec.table().ok_or_else(|| {
        Error::invalid(format!(
            "the pipeline's sink is topic {}, not a table\n→ floe verify reads tables",
            sink.spec.name()
        ))
    })?;
    let table = wire::table_at(&spec.id, &sink.name, table_spec, args.snapshot).await?;
    let (of_source, of_table) = match args.recompute {
        true => columns_of_table(args, table_spec, &table.columns)?,
        false => columns(args, &table.columns),
    };
    of_table.check(&table.columns, &table_spec.table)?;
    let (truth, span) =
        truth(args, &spec, (sink, table_spec, &table), (&of_source, &of_table), terminal).await?;
    of_source.check(&truth.columns(), &truth.label())?;
    let names = names(&of_source, &of_table, &truth.columns(), &table.columns);
    let mut notes = notes(args, &truth, &table.columns);
    let mut sides = Sides { truth, table, of_source, of_table, names };
    let folder = TemporaryFolder::new()?;
    let sums = sides.names.sums.len() + sides.names.checks.len();
    let mut ledger = Ledger::create(&folder.path().join("keys.db"), sums).await?;
    let (counted, rejected) = sides.count_all(&mut ledger, terminal).await?;
    let mut found = sides.found(&mut ledger).await?;
    if !found.differences.is_empty() {
        drop(ledger);
        let mut ledger = Ledger::create(&folder.path().join("rows.db"), sums).await?;
        let epochs = span.as_ref().map(|it| &it.epochs);
        sides.look_for_rows(&mut ledger, &mut found, epochs, terminal).await?;
    }
    if found.keys_not_compared > 0 {
        notes.push(format!(
            "{} keys were not compared: several tasks made rows of them in one epoch, and which came last is in no journal",
            crate::show::grouped(found.keys_not_compared)
        ));
    }
    Ok(Verified {
        pipeline: spec.id.clone(),
        table: table_spec.table.clone(),
        snapshot: sides.table.snapshot,
        epoch: span.map(|it| it.epoch),
        against: sides.truth.label(),
        source_totals: sides.names.side(&found.source),
        table_totals: sides.names.side(&found.table),
        again: counted.again,
        rejected,
        keys: found.keys,
        keys_that_differ: found.keys_that_differ,
        keys_not_compared: found.keys_not_compared,
        differences: found.differences,
        notes,
    })
}

/// What the table is held against, and how far into the source that reaches.
async fn truth(
    args: &VerifyArgs,
    spec: &PipelineSpec,
    (sink, table_spec, table): (&NamedSink, &TableSpec, &TableAt),
    (of_source, of_table): (&Columns, &Columns),
    terminal: &Terminal,
) -> anyhow::Result<(Truth, Option<Span>)> {
    let types = types_of(&table.columns, of_source, of_table);
    let wanted = of_source.names();
    if let Some(against) = &args.against {
        let named = (&wanted[..], &types.into());
        return Ok((Truth::named(spec, against, table_spec, named).await?, None));
    }
    let span = Span::of(spec, &table_spec.table, table).await?;
    let truth = match args.recompute {
        true => {
            let of = (spec, args.pipeline.as_path());
            let made = Recomputed::of(of, sink, (table_spec, table), &span, terminal).await?;
            Truth::Recomputed(Box::new(made))
        }
        false => {
            let source = SourceTruth::of(spec, args.source.as_deref(), (&wanted, &types), &span);
            Truth::Source(Box::new(source.await?))
        }
    };
    Ok((truth, Some(span)))
}

/// Of rows that are made anew every column is compared; those of `--sum` are added up, too.
fn columns_of_table(
    args: &VerifyArgs,
    table_spec: &TableSpec,
    table: &Schema,
) -> Result<(Columns, Columns)> {
    let of = |pairs: &[Pair]| pairs.iter().map(|it| it.table.clone()).collect::<Vec<_>>();
    let key = match (&table_spec.mode, args.key.is_empty()) {
        (WriteMode::Upsert { key, .. }, true) => key.clone(),
        (WriteMode::Upsert { key, .. }, false) if *key != of(&args.key) => {
            return Err(Error::invalid(format!(
                "--recompute compares a table of mode \"upsert\" by its own key, {}\n→ leave --key out",
                key.join(", ")
            )));
        }
        (WriteMode::Append | WriteMode::OverwritePartition, true) => {
            return Err(Error::invalid(
                "rows are appended to the table, which has no key\n→ --key COLUMN says by what they are grouped",
            ));
        }
        (WriteMode::Upsert { .. } | WriteMode::Append | WriteMode::OverwritePartition, false) => {
            of(&args.key)
        }
    };
    let sums = of(&args.sum);
    let row = args.distinct.as_ref().map(|it| it.table.clone());
    let taken = |it: &String| key.contains(it) || sums.contains(it) || row.as_ref() == Some(it);
    let all = table.fields().iter().map(|it| it.name().clone());
    let checks = all.filter(|it| !taken(it)).collect();
    let columns = Columns { key, sums, checks, once: None, row };
    Ok((columns.clone(), columns))
}

/// The names on either side. Rows are named by the distinct column where the table has it.
fn columns(args: &VerifyArgs, table: &Schema) -> (Columns, Columns) {
    let row = args
        .distinct
        .as_ref()
        .filter(|it| it.source != it.table || table.field_with_name(&it.table).is_ok());
    let of = |pairs: &[Pair], name: fn(&Pair) -> &String| pairs.iter().map(name).cloned().collect();
    let source: fn(&Pair) -> &String = |it| &it.source;
    let in_table: fn(&Pair) -> &String = |it| &it.table;
    (
        Columns {
            key: of(&args.key, source),
            sums: of(&args.sum, source),
            checks: Vec::new(),
            once: args.distinct.as_ref().map(|it| it.source.clone()),
            row: row.map(|it| it.source.clone()),
        },
        Columns {
            key: of(&args.key, in_table),
            sums: of(&args.sum, in_table),
            checks: Vec::new(),
            once: None,
            row: row.map(|it| it.table.clone()),
        },
    )
}

/// The table's types under the names that its columns have on the other side.
fn types_of(table: &Schema, of_source: &Columns, of_table: &Columns) -> Schema {
    let source = of_source.key.iter().chain(&of_source.sums).chain(&of_source.row);
    let in_table = of_table.key.iter().chain(&of_table.sums).chain(&of_table.row);
    let mut fields: Vec<arrow_schema::Field> = Vec::new();
    for (source, name) in source.zip(in_table) {
        let known = fields.iter().any(|it| it.name() == source);
        if let (false, Ok(field)) = (known, table.field_with_name(name)) {
            fields.push(arrow_schema::Field::new(source, field.data_type().clone(), true));
        }
    }
    Schema::new(fields)
}

fn names(of_source: &Columns, of_table: &Columns, source: &Schema, table: &Schema) -> Names {
    let digits = |schema: &Schema, name: &String| {
        let field = schema.field_with_name(name).ok();
        field.and_then(|it| amount::digits(it.data_type())).unwrap_or(0)
    };
    let both = of_source.sums.iter().zip(&of_table.sums);
    Names {
        key: of_source.key.clone(),
        sums: of_source.sums.clone(),
        digits: both.map(|(a, b)| digits(source, a).max(digits(table, b))).collect(),
        checks: of_source.checks.clone(),
    }
}

fn notes(args: &VerifyArgs, truth: &Truth, table: &Schema) -> Vec<String> {
    let mut notes = Vec::new();
    if let Truth::Recomputed(made) = truth {
        notes.extend(made.notes());
    }
    let source = truth.columns();
    let is_float = |schema: &Schema, name: &String| {
        schema.field_with_name(name).is_ok_and(|it| amount::is_float(it.data_type()))
    };
    for Pair { source: name, table: in_table } in &args.sum {
        if is_float(&source, name) || is_float(table, in_table) {
            notes.push(format!(
                "{name} has floating-point numbers: each was rounded to nine digits behind the point before it was added"
            ));
        }
    }
    if let Truth::Source(source) = truth
        && source.is_unchecked()
    {
        notes.push(
            "the checkpoint of this epoch is not kept: nothing says how many records the pipeline took, so ones that the topic has lost are not noticed".to_owned(),
        );
    }
    notes
}

/// What the whole ledger says.
struct Found {
    source: Totals,
    table: Totals,
    keys: u64,
    keys_that_differ: u64,
    keys_not_compared: u64,
    differences: Vec<Difference>,
    /// Of the first differences, as the ledger has them.
    keys_looked_for: Vec<String>,
}

impl Sides {
    async fn count_all(
        &mut self,
        ledger: &mut Ledger,
        terminal: &Terminal,
    ) -> Result<(Counted, u64)> {
        // Rows have no names in the first pass.
        let whole = |it: &Columns| Columns { row: None, ..it.clone() };
        let (of_source, of_table) = (whole(&self.of_source), whole(&self.of_table));
        let (counted, rejected) = loop {
            let mut reader = self.truth.open(&of_source.names()).await?;
            let counting = Counting {
                side: Side::Source,
                columns: &of_source,
                digits: &self.names.digits,
                only: None,
                values: None,
            };
            let counted =
                count(&mut reader, ledger, &counting, progress(terminal, "source")).await?;
            let (Reader::Source(read), Truth::Source(source)) = (&reader, &mut self.truth) else {
                break (counted, 0);
            };
            if !source.settle(&read.partitions)? {
                break (counted, read.rejected);
            }
            ledger.clear().await?;
        };
        let mut reader = Reader::Table(self.table.rows(&of_table.names()).await?);
        let counting = Counting {
            side: Side::Table,
            columns: &of_table,
            digits: &self.names.digits,
            only: None,
            values: None,
        };
        count(&mut reader, ledger, &counting, progress(terminal, "table")).await?;
        Ok((counted, rejected))
    }

    async fn found(&self, ledger: &mut Ledger) -> Result<Found> {
        let sums = self.names.sums.len() + self.names.checks.len();
        let mut found = Found {
            source: Totals::of(sums),
            table: Totals::of(sums),
            keys: 0,
            keys_that_differ: 0,
            keys_not_compared: 0,
            differences: Vec::new(),
            keys_looked_for: Vec::new(),
        };
        ledger
            .each(|entry| {
                found.keys += 1;
                found.source.join(&entry.source);
                found.table.join(&entry.table);
                if entry.place.as_deref() == Some(ANY_OF_SEVERAL) {
                    found.keys_not_compared += 1;
                    return Ok(());
                }
                let Some(difference) = self.names.difference(&entry) else { return Ok(()) };
                found.keys_that_differ += 1;
                if found.differences.len() < SHOWN_MAX {
                    found.differences.push(Difference { at: None, ..difference });
                }
                if found.keys_looked_for.len() < LOOKED_FOR_MAX {
                    found.keys_looked_for.push(entry.key);
                }
                Ok(())
            })
            .await?;
        Ok(found)
    }

    /// Reads both sides once more for the keys that differ: which rows, and which records.
    async fn look_for_rows(
        &self,
        ledger: &mut Ledger,
        found: &mut Found,
        epochs: Option<&Epochs>,
        terminal: &Terminal,
    ) -> Result<()> {
        let only: HashSet<String> = found.keys_looked_for.iter().cloned().collect();
        let digits = &self.names.digits;
        let columns = &self.of_source;
        let values = [RefCell::new(Values::new()), RefCell::new(Values::new())];
        let kept = |side: usize| Some(&values[side]).filter(|_| !columns.checks.is_empty());
        let only = Some(&only);
        let counting = Counting { side: Side::Source, columns, digits, only, values: kept(0) };
        let mut reader = self.truth.open(&columns.names()).await?;
        count(&mut reader, ledger, &counting, progress(terminal, "source, once more")).await?;
        if self.of_source.row.is_some() || !columns.checks.is_empty() {
            let columns = &self.of_table;
            let counting = Counting { side: Side::Table, columns, digits, only, values: kept(1) };
            let mut reader = Reader::Table(self.table.rows(&columns.names()).await?);
            count(&mut reader, ledger, &counting, progress(terminal, "table, once more")).await?;
        }
        if let Some(row) = &self.of_source.row {
            return self.name_rows(ledger, found, row, epochs).await;
        }
        let values = values.map(RefCell::into_inner);
        let places: HashMap<&String, usize> =
            found.keys_looked_for.iter().enumerate().map(|(at, key)| (key, at)).collect();
        let differences = &mut found.differences;
        ledger
            .each(|entry| {
                if let Some(difference) =
                    places.get(&entry.key).and_then(|at| differences.get_mut(*at))
                {
                    place_of(difference, entry.place, epochs);
                    difference.values = values_of(&values, &entry.key);
                }
                Ok(())
            })
            .await
    }

    async fn name_rows(
        &self,
        ledger: &mut Ledger,
        found: &mut Found,
        row: &str,
        epochs: Option<&Epochs>,
    ) -> Result<()> {
        let mut key = self.names.key.clone();
        key.push(row.to_owned());
        let names = Names {
            key,
            sums: self.names.sums.clone(),
            digits: self.names.digits.clone(),
            checks: self.names.checks.clone(),
        };
        let places: HashMap<&str, usize> = found
            .keys_looked_for
            .iter()
            .enumerate()
            // Without the bracket at the end, it begins the keys of its rows.
            .map(|(at, key)| (&key[..key.len() - 1], at))
            .collect();
        let differences = &mut found.differences;
        ledger
            .each(|entry| {
                let Some(mut difference) = names.difference(&entry) else { return Ok(()) };
                let of = key_of_row(&entry.key, self.names.key.len());
                let whole = places.get(of.as_str()).and_then(|at| differences.get_mut(*at));
                let Some(whole) = whole else { return Ok(()) };
                if whole.rows.len() >= ROWS_MAX {
                    whole.more_rows += 1;
                    return Ok(());
                }
                let place = difference.at.take();
                place_of(&mut difference, place, epochs);
                difference.key.retain(|name, _| name == row);
                whole.rows.push(difference);
                Ok(())
            })
            .await
    }
}

/// The first values of a list, as the list of them alone would begin.
fn key_of_row(text: &str, values: usize) -> String {
    let mut all: Vec<serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
    all.truncate(values);
    let mut text = serde_json::Value::Array(all).to_string();
    text.pop();
    text
}

/// A record's place, or the task and the epoch that a row was made by: "payments/0 in epoch 17".
fn place_of(difference: &mut Difference, place: Option<String>, epochs: Option<&Epochs>) {
    let made = place.as_deref().and_then(|it| {
        let (task, epoch) = it.rsplit_once(" in epoch ")?;
        Some((task.to_owned(), epoch.parse().ok()?))
    });
    match made {
        Some((task, epoch)) => {
            difference.at = Some(task);
            difference.epochs = Some((epoch, epoch));
        }
        None => {
            difference.epochs = place.as_ref().and_then(|it| epochs_of(epochs, it));
            difference.at = place;
        }
    }
}

/// Those that differ, where each side has one row.
fn values_of(values: &[Values; 2], key: &str) -> Vec<ValueDifference> {
    let [Some(Some(source)), Some(Some(table))] = values.each_ref().map(|it| it.get(key)) else {
        return Vec::new();
    };
    let both = source.iter().filter_map(|(name, it)| Some((name, it, table.get(name)?)));
    both.filter(|(_, source, table)| source != table)
        .map(|(column, source, table)| ValueDifference {
            column: column.clone(),
            source: source.clone(),
            table: table.clone(),
        })
        .collect()
}

/// "payments/0 @ 17" as it was written for the ledger.
fn epochs_of(epochs: Option<&Epochs>, place: &str) -> Option<(u64, u64)> {
    let (task, offset) = place.rsplit_once(" @ ")?;
    epochs?.of(&TopicPartition::parse(task)?, offset.parse().ok()?)
}

fn progress<'a>(terminal: &'a Terminal, what: &'a str) -> impl FnMut(&Reader, u64) + 'a {
    let begin = Instant::now();
    move |reader, rows| {
        let left = match reader {
            Reader::Source(source) => {
                format!(", {} offsets left", crate::show::count(source.left()))
            }
            Reader::Lines(_)
            | Reader::Csv(_)
            | Reader::Parquet(..)
            | Reader::Recomputed(_)
            | Reader::Table(_) => String::new(),
        };
        let rate = rows as f64 / begin.elapsed().as_secs_f64().max(0.001);
        let (rows, rate) = (crate::show::count(rows), crate::show::count(rate as u64));
        terminal.progress(&format!("verify  {what}  {rows} rows  {rate} rows/s{left}"));
    }
}
