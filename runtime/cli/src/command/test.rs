//! `floe test`: an operator's cases and recordings through the real sandbox, in three ways.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use floe_core::{Error, ErrorKind};
use floe_operator::{Engine, Limits, Module};
use serde::Serialize;

use crate::args::TestArgs;
use crate::case::{self, Case, Outcome, Subject, Way};
use crate::command::build;
use crate::exit::Differs;
use crate::{plugin, wire};

#[derive(Serialize)]
pub(crate) struct Report {
    module: String,
    pub(crate) cases: Vec<CaseReport>,
}

#[derive(Serialize)]
pub(crate) struct CaseReport {
    pub(crate) case: String,
    records: usize,
    rows: usize,
    passed: bool,
    /// The rows, each as text.
    #[serde(skip)]
    pub(crate) emitted: Vec<String>,
    /// What is wrong, each with the way in which it was seen.
    wrong: Vec<String>,
}

pub(crate) fn test(args: TestArgs) -> anyhow::Result<()> {
    let mut reports = Vec::new();
    for folder in &args.folders {
        let module = match &args.module {
            Some(module) => module.clone(),
            None => module_of(folder)?,
        };
        reports.push(test_folder(folder, &module)?);
    }
    if args.json {
        super::print_json(&reports)?;
    } else {
        reports.iter().for_each(print);
    }
    let cases = || reports.iter().flat_map(|it| &it.cases);
    match cases().filter(|it| !it.passed).count() {
        0 => Ok(()),
        wrong => Err(Differs(format!("{wrong} of {} cases differ", cases().count())).into()),
    }
}

/// A plugin's folder is tested with the plugin that is here; any other with what `floe build` made.
fn module_of(folder: &Path) -> anyhow::Result<PathBuf> {
    if folder.join("plugin.toml").is_file() {
        let about = plugin::read_about(&folder.join("plugin.toml"))?;
        return match plugin::find(&about.name) {
            Ok(found) => Ok(found.module),
            Err(plugin::Missing::Broken(error)) => Err(error.into()),
            Err(plugin::Missing::Unknown { message, help }) => {
                Err(Error::invalid(format!("{message}\n→ {help}")).into())
            }
        };
    }
    build::module(folder)
}

pub(crate) fn test_folder(folder: &Path, module: &Path) -> anyhow::Result<Report> {
    let engine = Engine::new(Some(wire::module_cache()))?;
    let loaded = wire::load_module(&engine, module, &Limits::default())?;
    let cases = cases_of(folder)?;
    if cases.is_empty() {
        let cases = folder.join("cases");
        let text = format!("{} has no .case and no .jsonl file", cases.display());
        return Err(Error::invalid(text).into());
    }
    let mut reports = Vec::new();
    for case in cases {
        let (emitted, wrong) = match test_case(&loaded, &case) {
            Ok(done) => done,
            // The operator stopped, or would not take the configuration: that is a result.
            Err(error) if matches!(error.kind, ErrorKind::Operator | ErrorKind::Invalid) => {
                (Vec::new(), vec![error.message])
            }
            Err(error) => return Err(error.into()),
        };
        reports.push(CaseReport {
            case: case.file.display().to_string(),
            records: case.steps.iter().filter(|it| matches!(it, case::Step::Record(_))).count(),
            rows: emitted.len(),
            emitted,
            passed: wrong.is_empty(),
            wrong,
        });
    }
    Ok(Report { module: module.display().to_string(), cases: reports })
}

fn cases_of(folder: &Path) -> anyhow::Result<Vec<Case>> {
    let Ok(entries) = std::fs::read_dir(folder.join("cases")) else { return Ok(Vec::new()) };
    let mut files: Vec<PathBuf> = entries.flatten().map(|it| it.path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in &files {
        let name = file.to_string_lossy();
        if name.ends_with(".case") {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Error::invalid(format!("{name} cannot be read: {error}")))?;
            cases.push(case::parse(&text, file)?);
        } else if name.ends_with(".jsonl") && !name.ends_with(".expect.jsonl") {
            let expected = file.with_extension("expect.jsonl");
            cases.push(case::recorded(file, expected.is_file().then_some(expected.as_path()))?);
        }
    }
    Ok(cases)
}

/// The rows, and what is wrong.
fn test_case(module: &Arc<Module>, case: &Case) -> floe_core::Result<(Vec<String>, Vec<String>)> {
    let subject = Subject::new(module, case)?;
    let straight = case::run(&subject, case, Way::Straight)?;
    let mut wrong = case::differences(case, &straight, subject.first_output());
    for way in Way::ALL.into_iter().filter(|it| *it != Way::Straight) {
        let other = case::run(&subject, case, way)?;
        if other == straight {
            continue;
        }
        wrong.push(format!("{}: {}", way.name(), first_difference(&straight, &other)));
        if way == Way::BetweenRecords && case::run(&subject, case, Way::OneByOne)? == other {
            wrong.push(
                "it is the same without restoring: the rows depend on how records are cut into batches (now() is the time of a batch)"
                    .to_owned(),
            );
        }
    }
    let rows = straight.rows.iter().map(|(output, row)| {
        format!("{output} {}", serde_json::to_string(row).unwrap_or_default())
    });
    Ok((rows.collect(), wrong))
}

fn first_difference(straight: &Outcome, other: &Outcome) -> String {
    let show = |row: Option<&(String, serde_json::Map<String, serde_json::Value>)>| match row {
        Some((_, row)) => serde_json::to_string(row).unwrap_or_default(),
        None => "nothing".to_owned(),
    };
    let most = straight.rows.len().max(other.rows.len());
    match (0..most).find(|it| straight.rows.get(*it) != other.rows.get(*it)) {
        Some(index) => format!(
            "row {} is {}, and straight it is {}",
            index + 1,
            show(other.rows.get(index)),
            show(straight.rows.get(index))
        ),
        None => format!(
            "{} records are rejected, and straight {}; or for another reason",
            other.rejected.len(),
            straight.rejected.len()
        ),
    }
}

pub(crate) fn print(report: &Report) {
    for case in &report.cases {
        let mark = if case.passed { '✓' } else { '✗' };
        println!("{mark} {}  {} records, {} rows", case.case, case.records, case.rows);
        for line in case.wrong.iter().flat_map(|it| it.lines()) {
            println!("    {line}");
        }
    }
    let ways = Way::ALL.map(Way::name).join(", ");
    println!("  {}: each {ways}", report.module);
}
