//! `floe verify`: what is counted and added up, and what the table is held against.

use std::path::PathBuf;

use clap::Args as ClapArgs;

/// How it is used.
const HELP: &str = "\
Example:
  floe verify payments.toml --key merchant_id --sum amount_minor --distinct txn_id

The source is read again from where the pipeline began up to exactly where the table's newest epoch
ends. --against names something else to hold the table against, with the source's column names: a file
FILE.parquet, FILE.jsonl or FILE.csv, or a table of the same catalog, namespace.table; all of it is read.
--recompute reads the source again and runs the operators again, as far back as checkpoints are kept, and
compares every column of what comes out: for tables whose rows are not the source's, such as totals and upserts.
Integers and decimals are added up exactly; of floating-point numbers nine decimals count.
Exit code 0: the same; 5: keys differ, and each was shown.";

/// A column, and what it is called in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) source: String,
    pub(crate) table: String,
}

#[derive(ClapArgs)]
#[command(after_help = HELP)]
pub(crate) struct VerifyArgs {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// The column by which rows are grouped; several with commas; of a recomputed table of mode "upsert" its key
    /// unless named
    #[arg(long, value_name = "COLUMN[=TABLE_COLUMN]", required_unless_present = "recompute", value_delimiter = ',', value_parser = pair)]
    pub(crate) key: Vec<Pair>,
    /// A column to add up for each key; several with commas
    #[arg(long, value_name = "COLUMN[=TABLE_COLUMN]", value_delimiter = ',', value_parser = pair)]
    pub(crate) sum: Vec<Pair>,
    /// Count a record of the source once for each value of this column; where the table has the column, too,
    /// rows that differ are named by it
    #[arg(long, value_name = "COLUMN[=TABLE_COLUMN]", value_parser = pair)]
    pub(crate) distinct: Option<Pair>,
    /// What the table is held against, in place of the pipeline's source
    #[arg(long, value_name = "FILE or TABLE")]
    pub(crate) against: Option<String>,
    /// Hold the table against what the operators make of the source, run again
    #[arg(long, conflicts_with_all = ["against", "source"])]
    pub(crate) recompute: bool,
    /// The table snapshot; the newest of the pipeline's branch unless named
    #[arg(long, value_name = "ID")]
    pub(crate) snapshot: Option<i64>,
    /// The sink; the first unless named
    #[arg(long, value_name = "NAME")]
    pub(crate) sink: Option<String>,
    /// The source, where there are several
    #[arg(long, value_name = "NAME", conflicts_with = "against")]
    pub(crate) source: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a report in Markdown, too
    #[arg(long, value_name = "FILE.md")]
    pub(crate) report: Option<PathBuf>,
}

fn pair(text: &str) -> Result<Pair, String> {
    let (source, table) = text.split_once('=').unwrap_or((text, text));
    if source.is_empty() || table.is_empty() {
        return Err(format!("{text:?} is not COLUMN or COLUMN=TABLE_COLUMN"));
    }
    Ok(Pair { source: source.to_owned(), table: table.to_owned() })
}
