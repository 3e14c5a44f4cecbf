//! `floe rows`: the rows of a pipeline's table, read as any reader of the table would.

pub(crate) mod value;

use std::io::{BufWriter, Write};

use arrow_array::{RecordBatch, StructArray};
use floe_core::Error;

use crate::args::RowsArgs;
use crate::command::dead_letters;
use crate::{load, show, wire};

/// Lines of a table for people. All rows come with `--json`.
const SHOWN_MAX: usize = 1000;

pub(crate) fn rows(args: RowsArgs) -> anyhow::Result<()> {
    let spec = load::pipeline(&args.pipeline)?;
    let sink = match (&spec.dead_letters, args.dead_letters) {
        (Some(dead_letters), true) => &dead_letters.sink,
        (None, true) => {
            return Err(Error::invalid("the pipeline has no [dead-letters]").into());
        }
        (_, false) => {
            let sink = &spec.sink_named(args.sink.as_deref())?.spec;
            if sink.table().is_none() {
                return Err(Error::invalid(format!(
                    "the pipeline's sink is topic {}, not a table\n→ read it with a Kafka consumer, isolation.level=read_committed",
                    sink.name()
                ))
                .into());
            }
            sink
        }
    };
    super::block_on(async move {
        let batches = match sink.table() {
            Some(table) => wire::rows(table, args.snapshot).await?,
            None => dead_letters::rows(sink).await?,
        };
        let mut out = BufWriter::new(std::io::stdout().lock());
        if args.json {
            for batch in batches {
                print_json(&mut out, batch)?;
            }
        } else {
            let mut shown = Shown::default();
            for batch in &batches {
                shown.take(batch);
            }
            shown.print(&mut out)?;
        }
        Ok(out.flush()?)
    })
}

fn print_json(out: &mut impl Write, batch: RecordBatch) -> anyhow::Result<()> {
    let batch = StructArray::from(batch);
    for row in 0..arrow_array::Array::len(&batch) {
        serde_json::to_writer(&mut *out, &value::object(&batch, row))
            .map_err(std::io::Error::from)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

#[derive(Default)]
struct Shown {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    more: usize,
}

impl Shown {
    fn take(&mut self, batch: &RecordBatch) {
        if self.header.is_empty() {
            self.header = batch.schema().fields().iter().map(|it| it.name().clone()).collect();
        }
        let take = batch.num_rows().min(SHOWN_MAX - self.rows.len());
        for row in 0..take {
            let cells = batch.columns().iter().map(|it| cell(&value::json(it, row)));
            self.rows.push(cells.collect());
        }
        self.more += batch.num_rows() - take;
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let header: Vec<&str> = self.header.iter().map(String::as_str).collect();
        write!(out, "{}", show::table(&header, &self.rows))?;
        match self.more {
            0 => Ok(()),
            more => {
                writeln!(out, "… and {} rows more; --json prints all", show::grouped(more as u64))
            }
        }
    }
}

/// Texts without their quotes.
fn cell(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.replace('\n', "⏎"),
        serde_json::Value::Null => "–".to_owned(),
        other => other.to_string(),
    }
}
