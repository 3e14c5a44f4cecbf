//! A27: a module whose columns depend on its configuration.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use floe_core::image::Capture;
use floe_core::ports::{Operator, OperatorFactory};
use floe_core::{ErrorKind, EventTime, TopicPartition};

use super::wat_module::{RUNNING_SUM, batch, limits, load, module};
use crate::Factory;

/// Emits running sums that begin at the length of the configuration plus a hundred times the number of
/// columns before it; without such columns it fails.
fn text() -> String {
    let more = r#"
  (global $total (mut i64) (i64.const 0))
  (global $configured (mut i32) (i32.const 0))
  (data (i32.const 0x120) "no columns")
  (data (i32.const 0x480) "\00\01\00\00\03\00\00\00\04\01\00\00\01\00\00\00\01\00\00\00")
  (func (export "floe_v1_configure") (param $config i32) (param $len i32) (param $schema i32) (result i32)
    (if (i32.eqz (local.get $schema)) (then (call $fail (i32.const 0x120) (i32.const 10))))
    (global.set $configured (i32.const 1))
    (global.set $total (i64.add (i64.extend_i32_u (local.get $len))
      (i64.mul (i64.const 100) (i64.load offset=24 (local.get $schema)))))
    i32.const 0)"#;
    module(RUNNING_SUM, more).replace(
        "(func (export \"floe_v1_describe\") (result i32) i32.const 0x400)",
        "(func (export \"floe_v1_describe\") (result i32)
           (select (i32.const 0x400) (i32.const 0x480) (global.get $configured)))",
    )
}

fn columns(count: usize) -> Option<SchemaRef> {
    let field = |index| Field::new(format!("c{index}"), DataType::Utf8, true);
    Some(Arc::new(Schema::new((0..count).map(field).collect::<Vec<_>>())))
}

fn sums(operator: &mut Box<dyn Operator>, values: &[i64]) -> String {
    let staged = operator.process(&batch(values), EventTime(0)).unwrap();
    format!("{:?}", staged.emitted[0].1.column(0))
}

#[test]
fn a27_columns_follow_from_the_configuration_and_what_comes_before() {
    let module = load(&text());
    assert!(module.is_configurable());
    assert_eq!(module.inspection().input.len(), 0);
    let make = |config: &str, upstream| {
        Factory::configured("sum", Arc::clone(&module), config.to_owned(), upstream, limits())
    };
    let factory = make("{}", columns(3)).unwrap();
    let description = factory.describe();
    assert_eq!(description.input.field(0).name(), "v");
    assert_eq!(description.outputs[0].0, "sum");
    let task = TopicPartition { topic: "t".into(), partition: 0 };
    let mut operator = factory.open(&task, 1).unwrap();
    let first = sums(&mut operator, &[1]);
    assert!(first.contains("303"), "{first}");

    // What it learned is in its image.
    let image = operator.capture(Capture::Whole).unwrap();
    let mut restored = factory.restore(&task, &image).unwrap();
    assert_eq!(sums(&mut operator, &[5]), sums(&mut restored, &[5]));

    // Configuration and columns both are its configuration to a checkpoint.
    let hashes = [("{}", 3), ("{}", 2), ("{ }", 3)]
        .map(|(config, count)| make(config, columns(count)).unwrap().describe().config_hash);
    assert_eq!(hashes[0], description.config_hash);
    assert!(hashes[0] != hashes[1] && hashes[0] != hashes[2] && hashes[1] != hashes[2]);

    let error = make("{}", None).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("no columns"), "{error}");
}

#[test]
fn a27_a_configurable_module_has_no_columns_of_its_own() {
    let text = text().replace(
        "(select (i32.const 0x400) (i32.const 0x480) (global.get $configured))",
        "i32.const 0x400",
    );
    let error =
        super::wat_module::engine().load("test.wat", text.as_bytes(), &limits()).err().unwrap();
    assert!(error.message.contains("A27"), "{error}");
}
