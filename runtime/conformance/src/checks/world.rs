//! What an operator sees of the world: configuration, log, time, random numbers (A4, A20).

use tracing::Level;

use super::{Case, case, not_shown};
use crate::lab::{Lab, Shown, Step, emitted, ensure, one, time_of};
use crate::lines::caught;
use crate::rows::{Row, big_at, text_at, ubig_at};

pub(super) const CASES: &[Case] = &[
    case(&["config"], "a text of the configuration", config),
    case(&["config"], "a failure of open has its message", open_fails),
    case(&["config"], "a key that nobody knows is refused", unknown_key),
    case(&["A4"], "log lines with their levels", log),
    case(&["A20"], "now is the virtual time", now),
    case(&["A20"], "the language's own clock is the virtual time", clock),
    case(&["A20", "A21"], "random numbers follow from the seed", random),
    case(&["watermark"], "a watermark is told, and may emit", watermark),
];

fn config(lab: &Lab) -> Shown<()> {
    let config = r#"{"greeting": "h\u00e9 \"नम\" \ud83d\ude00\n"}"#;
    let lab = Lab::new(&lab.module_arc()).config(config);
    let staged = lab.rows(&[Row::new("config")])?;
    let found = text_at(one(&staged)?, 0);
    ensure(found.as_deref() == Some("hé \"नम\" 😀\n"), || format!("greeting is {found:?}"))
}

fn open_fails(lab: &Lab) -> Shown<()> {
    let lab = Lab::new(&lab.module_arc()).config(r#"{"fail": "no such currency"}"#);
    match lab.open() {
        Ok(_) => Err("open succeeds".to_owned()),
        Err(message) => {
            ensure(message.contains("no such currency"), || format!("the message is {message:?}"))
        }
    }
}

fn unknown_key(lab: &Lab) -> Shown<()> {
    let lab = Lab::new(&lab.module_arc()).config(r#"{"greting": "a"}"#);
    match lab.open() {
        Ok(_) => Err("open takes a key that it does not know".to_owned()),
        Err(message) => {
            ensure(message.contains("greting"), || format!("the message is {message:?}"))
        }
    }
}

fn log(lab: &Lab) -> Shown<()> {
    let rows: Vec<Row> =
        (0..4).map(|it| Row::new("log").medium(it).text(format!("line {it} ü"))).collect();
    let mut operator = lab.open()?;
    let (done, lines) = caught(|| lab.call(&mut *operator, 0, &Step::Rows(0, rows)));
    done?;
    let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG];
    let expected: Vec<_> =
        levels.into_iter().enumerate().map(|(it, level)| (level, format!("line {it} ü"))).collect();
    ensure(lines == expected, || format!("logged was {lines:?}"))
}

fn now(lab: &Lab) -> Shown<()> {
    let step = || Step::Rows(0, vec![Row::new("now")]);
    let ran = lab.run(&[step(), step(), step()])?;
    for (index, staged) in ran.staged.iter().enumerate() {
        let (found, time) = (big_at(one(staged)?, 0), time_of(index).0);
        ensure(found == Some(time), || format!("now is {found:?}, not {time}"))?;
    }
    Ok(())
}

fn clock(lab: &Lab) -> Shown<()> {
    let step = || Step::Rows(0, vec![Row::new("clock")]);
    let ran = lab.run(&[step(), step()])?;
    for (index, staged) in ran.staged.iter().enumerate() {
        match big_at(one(staged)?, 0) {
            // Some languages have none here: then there is nothing that could be wrong.
            None => return Ok(()),
            Some(found) => ensure(found == time_of(index).0, || {
                format!("the clock says {found}, not {}", time_of(index).0)
            })?,
        }
    }
    Ok(())
}

fn random(lab: &Lab) -> Shown<()> {
    let numbers = |seed| -> Shown<Vec<Option<u64>>> {
        let lab = Lab::new(&lab.module_arc()).seed(seed);
        let step = || Step::Rows(0, vec![Row::new("random"); 3]);
        let ran = lab.run(&[step(), step()])?;
        Ok(ran
            .staged
            .iter()
            .flat_map(|it| emitted(it, 0))
            .flat_map(|batch| (0..batch.num_rows()).map(|row| ubig_at(batch, row)))
            .collect())
    };
    let (first, again, other) = (numbers(1)?, numbers(1)?, numbers(2)?);
    ensure(first == again, || "one seed gives different numbers".to_owned())?;
    ensure(first != other, || "two seeds give the same numbers".to_owned())?;
    let mut different = first.clone();
    different.sort_unstable();
    different.dedup();
    ensure(first.len() == 6 && different.len() == 6, || format!("they are {first:?}"))
}

fn watermark(lab: &Lab) -> Shown<()> {
    if !lab.module().inspection().exports.iter().any(|it| it == "floe_v1_watermark") {
        return not_shown("it exports no floe_v1_watermark");
    }
    let rows = || Step::Rows(0, vec![Row::new("keep").text("a")]);
    let steps = [rows(), Step::Watermark(-5), rows(), Step::Watermark(1 << 50)];
    let ran = lab.run(&steps)?;
    for (index, time) in [(1, -5), (3, 1 << 50)] {
        let found = big_at(one(&ran.staged[index])?, 0);
        ensure(found == Some(time), || format!("watermark {time} emitted {found:?}"))?;
    }
    Ok(())
}
