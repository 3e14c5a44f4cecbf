//! The state in the operator's own words (A24 to A26).

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use bytes::Bytes;
use floe_core::image::Capture;
use floe_core::ports::{ExportedState, OperatorFactory};
use floe_core::{EventTime, TopicPartition};

use super::wat_module::{RUNNING_SUM, batch, factory, module};

const TOTAL: &str = "(global $total (mut i64) (i64.const 0))";

/// The state is one digit: `{"d":5}` at 0x500, told by a `floe_state` at 0x4c0.
fn digit(export: &str, import: &str) -> String {
    format!(
        r#"{TOTAL}
  (data (i32.const 0x4c0) "\01\00\00\00\00\05\00\00\07\00\00\00")
  (data (i32.const 0x500) "{{\"d\":0}}")
  (func (export "floe_v1_export_state") (result i32)
    (i32.store8 (i32.const 0x505) (i32.add (i32.const 48) (i32.wrap_i64 (global.get $total))))
    {export}
    i32.const 0x4c0)
  (func (export "floe_v1_import_state") (param $states i32) (param $count i32) (result i32)
    (local $text i32)
    {import}
    (local.set $text (i32.load offset=4 (local.get $states)))
    (global.set $total (i64.extend_i32_u (i32.sub (i32.load8_u offset=5 (local.get $text)) (i32.const 48))))
    i32.const 0)"#
    )
}

fn task() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn told(version: u32, json: &'static str) -> ExportedState {
    ExportedState { version, json: Bytes::from_static(json.as_bytes()) }
}

#[test]
fn a_state_is_told_and_taken_and_the_telling_changes_nothing() {
    let factory = factory(&module(RUNNING_SUM, &digit("", "")));
    let description = factory.describe();
    assert!(description.exports_state && description.imports_state);
    let mut operator = factory.open(&task(), 1).unwrap();
    operator.process(&batch(&[2, 3]), EventTime(7)).unwrap();
    let image = operator.capture(Capture::Whole).unwrap();
    let exported = factory.restore(&task(), &image).unwrap().export().unwrap();
    assert_eq!(exported, told(1, r#"{"d":5}"#));
    assert_eq!(operator.capture(Capture::Whole).unwrap(), image);

    let mut other = factory.import(&task(), 2, &exported).unwrap();
    let staged = other.process(&batch(&[3]), EventTime(8)).unwrap();
    let sums = staged.emitted[0].1.column(0).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(sums, [8]);
    assert_eq!(other.export().unwrap().json, exported_digit(b'8'));
}

fn exported_digit(letter: u8) -> Bytes {
    Bytes::from([b"{\"d\":".as_slice(), &[letter], b"}"].concat())
}

/// The host takes a text that it checked, and nothing else.
#[test]
fn what_is_told_is_checked() {
    let store = |at: u32, value: u32| format!("(i32.store (i32.const {at}) (i32.const {value}))");
    for (export, expected) in [
        (store(0x4c0, 2), "state version 2"),
        (store(0x4c4, u32::MAX - 2), "outside of the guest's memory"),
        (store(0x4c8, u32::MAX), "over 536870912"),
        (store(0x4c8, 3), "no JSON"),
        ("(i32.store8 (i32.const 0x505) (i32.const 255))".to_owned(), "no"),
        (
            "(memory.fill (i32.const 0x500) (i32.const 91) (i32.const 1000))".to_owned()
                + &store(0x4c8, 1000),
            "nested deeper than 128",
        ),
        ("(call $emit (i32.const 0) (i32.const 0x600))".to_owned(), "handed out during process"),
        ("(call $reject (i32.const 0) (i32.const 0) (i32.const 0))".to_owned(), "reject"),
        ("(call $fail (i32.const 0x100) (i32.const 3))".to_owned(), "export_state: sum"),
        ("unreachable".to_owned(), "export_state: unreachable"),
        ("(loop $on (br $on))".to_owned(), "out of fuel"),
    ] {
        let factory = factory(&module(RUNNING_SUM, &digit(&export, "")));
        let error = factory.open(&task(), 1).unwrap().export().unwrap_err();
        assert!(error.message.contains(expected), "{export}: {error}");
    }
}

#[test]
fn an_import_that_fails_names_what_the_operator_said() {
    for (import, expected) in [
        ("(call $fail (i32.const 0x100) (i32.const 3))", "import_state: sum"),
        ("unreachable", "unreachable"),
        ("(return (i32.const 3))", "it returned 3"),
        ("(call $emit (i32.const 0) (i32.const 0x600))", "handed out during process"),
        ("(loop $on (br $on))", "out of fuel"),
    ] {
        let factory = factory(&module(RUNNING_SUM, &digit("", import)));
        let error = factory.import(&task(), 1, &told(1, r#"{"d":5}"#)).err().unwrap();
        assert!(error.message.contains(expected), "{import}: {error}");
        assert!(error.message.contains("import the state of sum for t/0"), "{error}");
    }
}

#[test]
fn an_operator_without_them_says_so() {
    let factory = factory(&module(RUNNING_SUM, TOTAL));
    assert!(!factory.describe().exports_state && !factory.describe().imports_state);
    let error = factory.open(&task(), 1).unwrap().export().unwrap_err();
    assert!(error.message.contains("sum has no export_state"), "{error}");
    let error = factory.import(&task(), 1, &told(1, "{}")).err().unwrap();
    assert!(error.message.contains("sum has no import_state"), "{error}");
}

/// A text larger than the region, and the memory that the module begins with.
#[test]
fn a_large_state_fits_as_it_is() {
    let state: &'static str = Box::leak(format!("{{\"d\":7{}}}", " ".repeat(900_000)).into());
    let factory = factory(&module(RUNNING_SUM, &digit("", "")));
    let mut operator = factory.import(&task(), 1, &told(1, state)).unwrap();
    let image = operator.capture(Capture::Whole).unwrap();
    assert!(
        !image.memory.to_vec().windows(8).any(|it| it == [b' '; 8]),
        "A13: the text is no state"
    );
    assert_eq!(operator.export().unwrap().json, exported_digit(b'7'));
}
