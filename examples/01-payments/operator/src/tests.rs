use floe_sdk::testing::Tester;

use crate::{Payment, Payments, Total};

/// `S2`: the third payment comes twice.
const S2: [(&str, &str, i64); 5] = [
    ("txn-1", "m-A", 1000),
    ("txn-2", "m-A", 500),
    ("txn-3", "m-B", 2000),
    ("txn-3", "m-B", 2000),
    ("txn-4", "m-A", 300),
];

fn payments<'a>(
    payments: &'a [(&'a str, &'a str, i64)],
) -> impl Iterator<Item = Payment<'a>> + use<'a> {
    payments.iter().zip(100..).map(|(&(txn_id, merchant_id, amount_minor), offset)| Payment {
        txn_id,
        merchant_id,
        amount_minor,
        partition: 3,
        offset,
    })
}

/// Checks the running totals that come of payments, row by row.
fn check(config: &str, input: &[(&str, &str, i64)], totals: &[(&str, i64)]) {
    let mut operator = Tester::<Payments>::open(config).unwrap();
    let batch = operator.process_batch(payments(input));
    let rows: Vec<_> = batch.rows.iter().map(|it| (it.merchant_id, it.running_total)).collect();
    assert_eq!(rows, totals);
    assert_eq!(batch.rejected, []);
}

#[test]
fn s2_with_dedup_counts_the_payment_once() {
    check("{}", &S2, &[("m-A", 1000), ("m-A", 1500), ("m-B", 2000), ("m-A", 1800)]);
}

#[test]
fn s2_without_dedup_counts_it_twice() {
    check(
        r#"{"dedup": false}"#,
        &S2,
        &[("m-A", 1000), ("m-A", 1500), ("m-B", 2000), ("m-B", 4000), ("m-A", 1800)],
    );
}

#[test]
fn a_row_tells_its_record() {
    let mut operator = Tester::<Payments>::open("{}").unwrap();
    let amount_minor = (1 << 40) + 1;
    let payment = Payment {
        txn_id: "t",
        merchant_id: "Müller & Söhne",
        amount_minor,
        partition: 2,
        offset: 7,
    };
    let row = Total {
        txn_id: "t",
        merchant_id: "Müller & Söhne",
        amount_minor,
        running_total: amount_minor,
        kafka_partition: 2,
        kafka_offset: 7,
    };
    assert_eq!(operator.process(payment).unwrap(), [row]);
}

#[test]
fn refunds_and_zero_are_payments() {
    check(
        "{}",
        &[("a", "m", 10), ("b", "m", -25), ("c", "m", 0)],
        &[("m", 10), ("m", -15), ("m", -15)],
    );
}

#[test]
fn a_total_beyond_64_bits_is_rejected_and_leaves_no_trace() {
    let mut operator = Tester::<Payments>::open("{}").unwrap();
    let input = [("a", "m", i64::MAX), ("b", "m", 1), ("c", "m", -1), ("b", "m", 1)];
    let batch = operator.process_batch(payments(&input));
    let totals: Vec<_> = batch.rows.iter().map(|it| it.running_total).collect();
    assert_eq!(totals, [i64::MAX, i64::MAX - 1, i64::MAX]);
    let reason = "the total of merchant m leaves 64 bits: 9223372036854775807 + 1";
    assert_eq!(batch.rejected, [(1, reason.to_owned())]);
}

#[test]
fn an_unknown_key_is_refused() {
    let refused = Tester::<Payments>::open(r#"{"dedupe": false}"#).err().unwrap();
    assert_eq!(refused.to_string(), "unknown key config.dedupe; known here: dedup");
}
