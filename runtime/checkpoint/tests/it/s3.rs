//! The same promises over S3: put-if-absent, the log, the parts, and what is said when it is away.
//!
//! `FLOE_TEST_S3=http://127.0.0.1:PORT` with key `test`, secret `testtest` and bucket `checkpoints`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use floe_checkpoint::{open_store, read_log, read_parts};
use floe_core::ErrorKind;
use floe_core::ports::{CheckpointLog, ObjectStore, Put};

use crate::support::*;

fn properties(endpoint: &str, secret: &str) -> BTreeMap<String, String> {
    [
        ("s3.endpoint", endpoint),
        ("s3.access-key-id", "test"),
        ("s3.secret-access-key", secret),
        ("s3.path-style-access", "true"),
        ("client.region", "us-east-1"),
        ("uri", "http://a.catalog"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn endpoint() -> Option<String> {
    let endpoint = std::env::var("FLOE_TEST_S3").ok();
    if endpoint.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI runs this: set FLOE_TEST_S3");
        eprintln!("skipped: FLOE_TEST_S3 is not set");
    }
    endpoint
}

/// A prefix of its own for each run.
fn bucket_url(name: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("s3://checkpoints/{name}-{}/a b", now.as_nanos())
}

#[tokio::test]
async fn the_log_and_the_parts_work_over_s3() {
    let Some(endpoint) = endpoint() else { return };
    let store = open_store(&bucket_url("log"), &properties(&endpoint, "testtest")).unwrap();
    assert_eq!(store.get("nothing").await.unwrap(), None);
    store.delete("nothing").await.unwrap();

    let mut first = take_and_complete(&store, 1, 12).await;
    first.sweep(2, &[]).await.unwrap();
    let mut second = take_and_complete(&store, 2, 1).await;
    let fenced = first.complete(draft(13)).await.unwrap_err();
    assert!(matches!(fenced.kind, ErrorKind::Fenced { .. }), "{fenced}");
    complete(&mut second, 1).await;
    let reading = read_log(&*store, PIPELINE).await.unwrap();
    assert!(reading.entries == second.reading().entries);
    let (at, manifest) = reading.newest_manifest().unwrap();
    let tasks = read_parts(&*store, PIPELINE, manifest).await.unwrap();
    assert_eq!(tasks, draft(at.epoch.0).tasks);
    assert_eq!(at.epoch.0, 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_writers_wins_each_name() {
    let Some(endpoint) = endpoint() else { return };
    let url = bucket_url("race");
    for round in 0..10 {
        let writers = (0..8u8).map(|writer| {
            let store: Arc<dyn ObjectStore> =
                open_store(&url, &properties(&endpoint, "testtest")).unwrap();
            tokio::spawn(async move {
                let content = Bytes::from(vec![writer; 100]);
                (writer, store.put_if_absent(&format!("{round}"), content).await)
            })
        });
        let mut winners = Vec::new();
        for joined in futures::future::join_all(writers).await {
            let (writer, put) = joined.unwrap();
            if put.unwrap() == Put::Created {
                winners.push(writer);
            }
        }
        let store = open_store(&url, &properties(&endpoint, "testtest")).unwrap();
        let stands = store.get(&format!("{round}")).await.unwrap().unwrap();
        assert_eq!(winners, [stands[0]]);
    }
}

#[tokio::test]
async fn a_wrong_secret_and_a_wrong_bucket_are_told_without_the_secret() {
    let Some(endpoint) = endpoint() else { return };
    let store = open_store("s3://checkpoints/x", &properties(&endpoint, "hunter2hunter2")).unwrap();
    let error = store.get("a").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.message.contains(&endpoint), "{error}");
    assert!(!error.message.contains("hunter2"), "{error}");

    let store = open_store("s3://no-such-bucket/x", &properties(&endpoint, "testtest")).unwrap();
    for error in [
        store.get("a").await.unwrap_err(),
        store.put_if_absent("a", Bytes::new()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(error.message.contains("no-such-bucket"), "{error}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_named() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let store = open_store("s3://checkpoints/x", &properties(&endpoint, "testtest")).unwrap();
    let error = read_log(&*store, PIPELINE).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Retry, "{error}");
    assert!(error.message.contains(&endpoint), "{error}");
    let lost = store.put_if_absent("a", Bytes::new()).await.unwrap_err();
    assert_eq!(lost.kind, ErrorKind::Unknown, "{lost}");
}

#[test]
fn wrong_urls_and_properties_are_told() {
    let none = BTreeMap::new();
    for (url, part) in [("ftp://x", "ftp://"), ("s3:///x", "bucket"), ("", "empty")] {
        let error = open_store(url, &none).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.contains(part), "{error}");
    }
    let unknown = [("s3.endpiont".to_owned(), "x".to_owned())].into();
    let error = open_store("s3://b/x", &unknown).err().unwrap();
    assert!(error.message.contains("s3.endpiont") && error.message.contains("s3.endpoint"));
}
