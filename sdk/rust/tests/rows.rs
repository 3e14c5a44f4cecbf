//! Every type of column, through the layout that a module has, there and back.

use std::borrow::Cow;
use std::fmt::Debug;

use floe_sdk::prelude::*;
use floe_sdk::row::{Field, Value};
use floe_sdk::testing::Tester;

#[derive(Row, Clone, Debug, PartialEq)]
struct Everything {
    boolean: bool,
    i8: i8,
    i16: i16,
    i32: i32,
    i64: i64,
    u8: u8,
    u16: u16,
    u32: u32,
    u64: u64,
    f32: f32,
    f64: f64,
    text: String,
    boxed: Box<str>,
    binary: Vec<u8>,
    fixed: [u8; 3],
    date: Date,
    time: TimeMicros,
    millis: Timestamp,
    micros: TimestampMicros,
    nanos: TimestampNanos,
    decimal: Decimal<38, 4>,
    nested: Point,
    texts: Vec<String>,
    maybe_boolean: Option<bool>,
    maybe_number: Option<i64>,
    maybe_text: Option<String>,
    maybe_nested: Option<Point>,
    maybe_list: Option<Vec<Option<Point>>>,
    bytes: Vec<Option<u8>>,
    lists: Vec<Vec<i32>>,
    #[row(name = "type")]
    kind: String,
}

#[derive(Row, Clone, Debug, PartialEq)]
struct Point {
    x: i32,
    label: Option<String>,
}

fn everything(n: i64) -> Everything {
    let text = "äöü€😀".repeat(n as usize % 9);
    let point = Point { x: n as i32, label: (n % 2 == 0).then(|| text.clone()) };
    let every = |step| n % step == 0;
    Everything {
        boolean: every(3),
        i8: n as i8,
        i16: -n as i16,
        i32: i32::MIN + n as i32,
        i64: i64::MAX - n,
        u8: n as u8,
        u16: n as u16,
        u32: u32::MAX - n as u32,
        u64: u64::MAX - n as u64,
        f32: n as f32 / 3.0,
        f64: -n as f64 / 7.0,
        text: text.clone(),
        boxed: text.as_str().into(),
        binary: (0..n as u8 % 70).collect(),
        fixed: [n as u8; 3],
        date: Date(n as i32),
        time: TimeMicros(n),
        millis: Timestamp(n),
        micros: TimestampMicros(-n),
        nanos: TimestampNanos(n),
        decimal: Decimal(i128::from(n) * 10_i128.pow(30)),
        nested: point.clone(),
        texts: (0..n % 4).map(|it| format!("{text}{it}")).collect(),
        maybe_boolean: every(2).then_some(every(4)),
        maybe_number: every(5).then_some(n),
        maybe_text: (!every(3)).then(|| text.clone()),
        maybe_nested: every(7).then(|| point.clone()),
        maybe_list: (!every(4))
            .then(|| (0..n % 5).map(|it| (it != 1).then(|| point.clone())).collect()),
        bytes: vec![Some(1), None, Some(n as u8)],
        lists: (0..n % 3).map(|it| vec![it as i32; it as usize]).collect(),
        kind: text,
    }
}

/// Emits each row that it gets, twice, and then changes its mind about every third.
#[derive(Default)]
struct Echo {
    count: usize,
}

#[operator]
impl Operator for Echo {
    type Input = Everything;
    type Output = Everything;

    fn process(&mut self, row: Everything, out: &mut Emit<Everything>) -> Result<()> {
        out.emit(row.clone())?;
        out.emit(row)?;
        self.count += 1;
        ensure!(!self.count.is_multiple_of(3), "row {} is the third", self.count);
        Ok(())
    }
}

#[test]
fn rows_of_every_type_come_out_as_they_went_in() {
    for rows in [0, 1, 8, 300] {
        let batch = Tester::new(Echo::default()).process_batch((0..rows).map(everything));
        let kept = (0..rows).filter(|it| it % 3 != 2);
        let expected: Vec<_> = kept.flat_map(|it| [everything(it), everything(it)]).collect();
        assert_eq!(batch.rows, expected);
        let rejected = (0..rows as usize).filter(|it| it % 3 == 2);
        let rejected: Vec<_> =
            rejected.map(|it| (it, format!("row {} is the third", it + 1))).collect();
        assert_eq!(batch.rejected, rejected);
    }
}

#[test]
fn what_comes_after_a_large_output_is_right_too() {
    let mut row = everything(3);
    row.binary = vec![7; 20_000];
    let rows = vec![row; 2000];
    let batch = Tester::new(Echo::default()).process_batch(rows.iter().cloned());
    assert_eq!(batch.rows.len(), 2 * (2000 - 666));
    assert!(batch.rows.iter().all(|it| *it == rows[0]));
}

#[test]
fn a_row_is_a_schema() {
    fn check(field: &Field, expected: &mut Vec<String>, depth: usize) {
        let nullable = if field.nullable { "?" } else { "" };
        expected.push(format!("{}{} {}{nullable}", " ".repeat(depth), field.name, field.format));
        field.children.iter().for_each(|it| check(it, expected, depth + 1));
    }
    let mut lines = Vec::new();
    check(&Everything::field(""), &mut lines, 0);
    let expected = " +s
 boolean b
 i8 c
 i16 s
 i32 i
 i64 l
 u8 C
 u16 S
 u32 I
 u64 L
 f32 f
 f64 g
 text u
 boxed u
 binary z
 fixed w:3
 date tdD
 time ttu
 millis tsm:UTC
 micros tsu:UTC
 nanos tsn:UTC
 decimal d:38,4
 nested +s
  x i
  label u?
 texts +l
  item u
 maybe_boolean b?
 maybe_number l?
 maybe_text u?
 maybe_nested +s?
  x i
  label u?
 maybe_list +l?
  item +s?
   x i
   label u?
 bytes +l
  item C?
 lists +l
  item +l
   item i
 type u";
    assert_eq!(lines.join("\n"), expected);
    assert_eq!(<Everything as floe_sdk::Row>::NAME, "Everything");
}

/// A row that borrows everything it can, record fields included.
#[derive(Row, Clone, Debug, PartialEq)]
#[row(name = "seen")]
struct Borrowed<'batch> {
    text: &'batch str,
    bytes: Option<&'batch [u8]>,
    cow: Cow<'batch, str>,
    inner: Option<Inner<'batch>>,
    #[row(name = "_headers")]
    headers: Vec<Header<'batch>>,
    #[row(name = "_timestamp")]
    timestamp: Timestamp,
}

#[derive(Row, Clone, Copy, Debug, PartialEq)]
struct Inner<'a> {
    name: &'a str,
}

#[derive(Default)]
struct Window {
    waiting: Vec<String>,
}

#[operator]
impl Operator for Window {
    type Input = Borrowed<'_>;
    type Output = Borrowed<'_>;

    fn process(&mut self, row: Borrowed<'_>, out: &mut Emit<Borrowed<'_>>) -> Result<()> {
        if row.text == "wait" {
            self.waiting.push(row.cow.into_owned());
            return Ok(());
        }
        let number: i64 = row.text.parse()?;
        log::info!("number {number} at {} with {:x}", now().0, random_u64());
        out.emit(row)
    }

    fn watermark(&mut self, time: Timestamp, out: &mut Emit<Borrowed<'_>>) -> Result<()> {
        for text in self.waiting.drain(..) {
            out.emit(Borrowed {
                text: "waited",
                bytes: None,
                cow: Cow::Owned(text),
                inner: None,
                headers: Vec::new(),
                timestamp: time,
            })?;
        }
        Ok(())
    }
}

fn is<T: Debug + PartialEq>(found: T, expected: T) {
    assert_eq!(found, expected);
}

#[test]
fn rows_that_borrow_come_out_as_they_went_in() {
    let mut window = Tester::<Window>::open("{}").unwrap();
    window.set_now(Timestamp(99));
    let text = String::from("41");
    let row = Borrowed {
        text: &text,
        bytes: Some(b"\xff"),
        cow: Cow::Borrowed("moo"),
        inner: Some(Inner { name: "n" }),
        headers: vec![Header { name: "h", value: Some(b"1") }, Header { name: "h", value: None }],
        timestamp: Timestamp(5),
    };
    is(window.process(row.clone()).unwrap(), vec![row.clone()]);
    is(window.take_log()[0].1.as_str(), "number 41 at 99 with e220a8397b1dcdaf");

    let wrong = window.process(Borrowed { text: "x", ..row.clone() }).unwrap_err();
    is(wrong.to_string().as_str(), "invalid digit found in string");

    is(window.process(Borrowed { text: "wait", ..row }).unwrap(), vec![]);
    let rows = window.watermark(Timestamp(60)).unwrap();
    is((rows[0].text, &*rows[0].cow, rows[0].timestamp), ("waited", "moo", Timestamp(60)));
    is(<Borrowed<'_> as floe_sdk::Row>::NAME, "seen");
}

#[derive(Row, Debug, PartialEq)]
struct Even {
    n: i64,
}

#[derive(Row, Debug, PartialEq)]
#[row(name = "odd")]
struct Odd<'a> {
    text: &'a str,
}

#[derive(Default)]
struct Split;

#[operator]
impl Operator for Split {
    type Input = Even;
    type Output = (Even, Odd<'_>);

    fn process(&mut self, row: Even, out: &mut Emit<(Even, Odd<'_>)>) -> Result<()> {
        let n = row.n;
        match n % 2 {
            0 => out.emit(row)?,
            _ => out.emit_to::<1>(Odd { text: &n.to_string() })?,
        }
        ensure!(n < 100, "large");
        Ok(())
    }

    fn watermark(&mut self, time: Timestamp, out: &mut Emit<(Even, Odd<'_>)>) -> Result<()> {
        out.emit_to::<0>(Even { n: time.0 })?;
        out.emit_to::<1>(Odd { text: "watermark" })
    }
}

#[test]
fn several_outputs_have_their_own_rows() {
    let mut split = Tester::new(Split);
    let batch = split.process_batch([1, 2, 101, 102, 4, 3].map(|n| Even { n }));
    is(&batch.rows, &vec![Even { n: 2 }, Even { n: 4 }]);
    is(batch.output::<1>(), vec![Odd { text: "1" }, Odd { text: "3" }]);
    is(&batch.output::<0>(), &batch.rows);
    is(batch.rejected, vec![(2, "large".to_owned()), (3, "large".to_owned())]);
    let batch = split.watermark_batch(Timestamp(7)).unwrap();
    is(&batch.rows, &vec![Even { n: 7 }]);
    is(batch.output::<1>(), vec![Odd { text: "watermark" }]);
}
