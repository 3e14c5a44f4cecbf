//! Every SDK against every clause of ABI.md that a guest can show; the table of it stands in sdk/README.md.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Int64Array, RecordBatch};
use floe_conformance::{CLAUSES, Outcome, Report};
use floe_core::image::Capture;
use floe_core::ports::OperatorFactory;
use floe_core::{EventTime, TopicPartition};
use floe_operator::{Engine, Factory, Limits};
use floe_tests::sdks::{SDKS, Sdk, guests, report, root};

#[test]
fn every_sdk_keeps_every_clause() {
    let engine = Engine::new(Some(guests().join("compiled"))).unwrap();
    let mut reports = Vec::new();
    for sdk @ Sdk { language, file, .. } in SDKS {
        let Some(report) = report(&engine, sdk).unwrap() else {
            assert!(std::env::var_os("CI").is_none(), "{file} is not built");
            eprintln!("skipped: {file} is not built (cargo xtask guests)");
            continue;
        };
        let failed: Vec<_> =
            report.checks.iter().filter(|it| matches!(it.outcome, Outcome::Failed(_))).collect();
        assert!(failed.is_empty(), "{language}: {failed:#?}");
        reports.push((*language, report));
    }
    if reports.len() == SDKS.len() {
        compare_with_readme(&table(&reports));
    }
}

fn table(reports: &[(&str, Report)]) -> String {
    let names: Vec<&str> = reports.iter().map(|(language, _)| *language).collect();
    let mut table = format!(
        "| clause | about | {} |\n|---|---|{}\n",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    let results: Vec<_> = reports.iter().map(|(_, report)| report.clauses()).collect();
    for (index, (clause, about)) in CLAUSES.iter().enumerate() {
        let cells: Vec<String> = results.iter().map(|it| cell(&it[index].outcome)).collect();
        table += &format!("| {clause} | {about} | {} |\n", cells.join(" | "));
    }
    table
}

fn cell(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed => "✓".to_owned(),
        Outcome::Failed(_) => "✗".to_owned(),
        Outcome::NotShown(why) => format!("– {why}"),
    }
}

const BEGIN: &str = "<!-- written by the test every_sdk_keeps_every_clause -->\n";
const END: &str = "<!-- end -->\n";

/// `FLOE_WRITE=1` writes it anew.
fn compare_with_readme(table: &str) {
    let path = root().join("sdk/README.md");
    let text = std::fs::read_to_string(&path).expect("the README can be read and written");
    let (before, rest) = text.split_once(BEGIN).expect("the README has the table's begin");
    let (found, after) = rest.split_once(END).expect("the README has the table's end");
    if found == table {
        return;
    }
    assert!(
        std::env::var_os("FLOE_WRITE").is_some(),
        "the table in sdk/README.md is another (FLOE_WRITE=1 writes it):\n{table}"
    );
    std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}"))
        .expect("the README can be read and written");
}

/// The operator of sdk/abi/BRING-YOUR-OWN.md, as it stands.
#[test]
fn the_example_without_a_language_runs() {
    let text = std::fs::read(root().join("sdk/abi/sum.wat")).unwrap();
    let engine = Engine::new(None).unwrap();
    let module = engine.load("sum.wat", &text, &Limits::default()).unwrap();
    let input = Arc::clone(module.input());
    let factory = Factory::new("sum", module, "{}".to_owned(), Limits::default());
    let task = TopicPartition::new("t", 0);
    let mut operator = factory.open(&task, 1).unwrap();
    let mut total = 0;
    for rows in [1, 65_536, 3] {
        let values = Int64Array::from_iter_values((0..rows).map(|it| it * 3 - 1));
        let batch = RecordBatch::try_new(Arc::clone(&input), vec![Arc::new(values)]).unwrap();
        let staged = operator.process(&batch, EventTime(1)).unwrap();
        let sums = staged.emitted[0].1.column(0).as_primitive::<Int64Type>();
        for row in 0..rows {
            total += row * 3 - 1;
            assert_eq!(sums.value(row as usize), total);
        }
        let image = operator.capture(Capture::Whole).unwrap();
        operator = factory.restore(&task, &image).unwrap();
    }
}
