//! What a scrape gives for a known status.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use floe_core::TopicPartition;

use super::*;
use crate::guarantee::HeldGuarantee;
use crate::telemetry::facts::{Facts, OperatorFacts};

fn watched() -> Watched {
    let facts = Facts {
        version: "0",
        pipeline: "payments".into(),
        file: "payments.toml".into(),
        guarantee: HeldGuarantee { name: "exactly-once", rests_on: vec![], limits: vec![] },
        source: "recording r".into(),
        operators: vec![OperatorFacts {
            name: "totals".into(),
            version: "1".into(),
            file: "totals.wasm".into(),
            module_hash: "00".into(),
            on_error: "fail",
        }],
        sink: "lake.payments".into(),
        table: "lake.payments".into(),
        dead_letters: None,
        checkpoint_store: "file:///x".into(),
        interval_seconds: 10.0,
        started_ms: 0,
    };
    let status = Status::default();
    status.rows_out.store(7, Ordering::Relaxed);
    status.reject(Class::Trap);
    status.guest_calls.observe(std::time::Duration::from_millis(2));
    status.alignments.observe(std::time::Duration::from_millis(3));
    status.update_task(&TopicPartition::new("payments", 3), |it| {
        it.records = 9;
        it.next_offset = 9;
        it.end_offset = 12;
    });
    status.push_epoch(EpochStatus {
        epoch: 4,
        pause_seconds: 0.004,
        completed_ms: 1,
        ..EpochStatus::default()
    });
    status.push_epoch(EpochStatus { epoch: 5, ..EpochStatus::default() });
    status.update_epoch(4, |it| it.commit_seconds = Some(0.4));
    Watched {
        facts: Arc::new(facts),
        status: Arc::new(status),
        rates: Arc::default(),
        verified: Arc::default(),
    }
}

#[test]
fn a_scrape_has_every_name_and_the_real_values() {
    let watched = watched();
    let metrics = Metrics::new(watched.clone());
    metrics.observe(&watched.status);
    metrics.observe(&watched.status);
    let text = metrics.text().unwrap();
    for wanted in [
        r#"floe_records_total{pipeline="payments",operator="totals",task="payments/3",direction="in"} 9"#,
        r#"task="",direction="out"} 7"#,
        r#"floe_source_lag_records{pipeline="payments",task="payments/3"} 3"#,
        "floe_checkpoint_pause_seconds_count{pipeline=\"payments\"} 1",
        "floe_commit_seconds_sum{pipeline=\"payments\"} 0.4",
        "floe_checkpoint_epoch{pipeline=\"payments\"} 4",
        "floe_commit_age_seconds",
        "floe_commits_pending",
        r#"floe_commit_retries_total{pipeline="payments",reason="outcome-unknown"} 0"#,
        "floe_store_retries_total{pipeline=\"payments\"} 0",
        "floe_guest_seconds_total",
        "floe_backpressure_seconds_total",
        r#"floe_dead_letters_total{pipeline="payments",class="trap"} 1"#,
        r#"floe_batch_seconds_bucket{pipeline="payments",le="0.002097152"} 1"#,
        r#"floe_alignment_seconds_count{pipeline="payments"} 1"#,
        "floe_barriers_overtook_total",
        "floe_overtaken_bytes_total",
        "floe_source_lag_seconds",
        "floe_guest_memory_bytes",
        "floe_checkpoint_bytes",
        "# EOF",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
}
