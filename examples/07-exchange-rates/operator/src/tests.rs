use floe_sdk::testing::Tester;
use floe_sdk::types::Timestamp;

use crate::{Pricing, Record};

fn order(id: &'static str, currency: &'static str, ts: i64, amount: i64) -> Record<'static> {
    Record {
        source: "orders",
        currency,
        ts,
        order_id: Some(id),
        amount_minor: Some(amount),
        rate_micro: None,
    }
}

fn rate(currency: &'static str, ts: i64, rate: i64) -> Record<'static> {
    Record {
        source: "rates",
        currency,
        ts,
        order_id: None,
        amount_minor: None,
        rate_micro: Some(rate),
    }
}

/// Id, when its rate began, and the amount at home of what comes out at these watermarks.
fn priced(
    records: Vec<Record<'static>>,
    watermarks: &[i64],
) -> Vec<(String, Option<i64>, Option<i64>)> {
    let mut operator = Tester::<Pricing>::open("{}").unwrap();
    assert_eq!(operator.process_batch(records).rejected, []);
    let all = watermarks.iter().flat_map(|it| operator.watermark(Timestamp(*it)).unwrap());
    all.map(|it| (it.order_id, it.rate_ts.map(|it| it.0), it.home_minor)).collect()
}

#[test]
fn whichever_source_was_faster_the_rows_are_the_same() {
    let orders_first = vec![
        order("b", "EUR", 20, 1000),
        order("a", "EUR", 15, 1000),
        order("c", "INR", 20, 1000),
        rate("EUR", 10, 2_000_000),
        rate("EUR", 20, 3_000_000),
        rate("EUR", 30, 9_000_000),
    ];
    let mut rates_first =
        vec![rate("EUR", 30, 9_000_000), rate("EUR", 10, 2_000_000), rate("EUR", 20, 3_000_000)];
    rates_first.extend([
        order("c", "INR", 20, 1000),
        order("a", "EUR", 15, 1000),
        order("b", "EUR", 20, 1000),
    ]);
    let expected = [
        ("a".to_owned(), Some(10), Some(2000)),
        ("b".to_owned(), Some(20), Some(3000)),
        ("c".to_owned(), None, None),
    ];
    assert_eq!(priced(orders_first, &[16, 21]), expected);
    assert_eq!(priced(rates_first, &[100]), expected);
}

/// The promise of a watermark is for times before it alone.
#[test]
fn an_order_waits_until_the_watermark_has_passed_it() {
    assert_eq!(priced(vec![order("a", "EUR", 20, 1)], &[20]), []);
    assert_eq!(priced(vec![order("a", "EUR", 20, 1)], &[20, 21]).len(), 1);
}

#[test]
fn a_rate_holds_until_the_next_however_far_time_has_come() {
    let mut operator = Tester::<Pricing>::open("{}").unwrap();
    operator.process_batch(vec![rate("EUR", 1, 1), rate("EUR", 2, 2_000_000), rate("EUR", 90, 4)]);
    assert!(operator.watermark(Timestamp(50)).unwrap().is_empty());
    operator.process(order("a", "EUR", 60, 10)).unwrap();
    let rows = operator.watermark(Timestamp(61)).unwrap();
    assert_eq!((rows[0].rate_ts, rows[0].home_minor), (Some(Timestamp(2)), Some(20)));
}

#[test]
fn a_record_that_is_neither_is_rejected() {
    let mut operator = Tester::<Pricing>::open("{}").unwrap();
    let strange = Record { source: "prices", ..rate("EUR", 1, 1) };
    let error = operator.process(strange).unwrap_err().to_string();
    assert!(error.contains("no record of source prices"), "{error}");
}
