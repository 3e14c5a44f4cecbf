//! Values of every type go in and come out as they are (A7, A12, A16, A19).

use super::{Case, case};
use crate::lab::{Lab, Shown, emitted, ensure};
use crate::rows::{Row, SAMPLES};

pub(super) const CASES: &[Case] = &[
    case(&["A7", "A11", "A15"], "every type at its ends comes out as it went in", each_sample),
    case(&["A7", "A12"], "a row of nulls", |lab| echoes(lab, vec![Row::new("echo")])),
    case(&["A7", "A12"], "values and nulls in turn", |lab| echoes(lab, mixed(100))),
    case(&["A12"], "a null for the first time after many rows", late_null),
    case(&["A7"], "a text of a megabyte beside short ones", long_texts),
    case(&["A19"], "columns whose every text, list and binary is empty", empty),
];

fn each_sample(lab: &Lab) -> Shown<()> {
    for sample in 0..SAMPLES {
        echoes(lab, vec![Row::new("echo").sample(sample)])
            .map_err(|it| format!("sample {sample}: {it}"))?;
    }
    echoes(lab, (0..SAMPLES).map(|it| Row::new("echo").sample(it)).collect())
}

fn mixed(rows: usize) -> Vec<Row> {
    let row = |it: usize| match it % 3 {
        0 => Row::new("echo"),
        _ => Row::new("echo").sample(it),
    };
    (0..rows).map(row).collect()
}

fn late_null(lab: &Lab) -> Shown<()> {
    for before in [7, 8, 9, 300] {
        let mut rows: Vec<Row> = (0..before).map(|it| Row::new("echo").sample(it)).collect();
        rows.push(Row::new("echo"));
        rows.push(Row::new("echo").sample(0));
        echoes(lab, rows).map_err(|it| format!("after {before} rows: {it}"))?;
    }
    Ok(())
}

fn long_texts(lab: &Lab) -> Shown<()> {
    let long = "नमस्ते ".repeat(60_000);
    let rows = vec![
        Row::new("echo").text("a"),
        Row::new("echo").text(long),
        Row::new("echo").text(""),
        Row::new("echo").text("z"),
    ];
    echoes(lab, rows)
}

fn empty(lab: &Lab) -> Shown<()> {
    let row = || Row::new("echo").sample(1).text("");
    echoes(lab, vec![row()])?;
    echoes(lab, vec![row(); 9])
}

pub(super) fn echoes(lab: &Lab, rows: Vec<Row>) -> Shown<()> {
    let expected = lab.batch(0, &rows);
    let staged = lab.rows(&rows)?;
    let mut row = 0;
    for found in emitted(&staged, 0) {
        let rows = found.num_rows();
        ensure(row + rows <= expected.num_rows(), || "more rows came out than went in".to_owned())?;
        for (column, field) in found.columns().iter().zip(expected.schema().fields()) {
            let want = expected.column_by_name(field.name()).expect("it is a column");
            let want = want.slice(row, rows);
            ensure(**column == *want, || {
                let show = |it: &dyn std::fmt::Debug| -> String {
                    format!("{it:?}").chars().take(200).collect()
                };
                format!("column {}: {} came out of {}", field.name(), show(column), show(&want))
            })?;
        }
        row += rows;
    }
    ensure(row == expected.num_rows(), || format!("{row} rows came out of {}", expected.num_rows()))
}
