//! What people are told about checkpoints.

use floe_checkpoint::{list_checkpoints, memory_store, show_checkpoint};
use floe_core::{Epoch, ErrorKind};

use crate::support::*;

#[tokio::test]
async fn it_lists_and_shows() {
    let store = memory_store();
    assert_eq!(list_checkpoints(&*store, PIPELINE).await.unwrap(), []);
    let nothing = show_checkpoint(&*store, PIPELINE, None).await.unwrap_err();
    assert_eq!(nothing.message, "pipeline \"payments\" has no checkpoint yet");
    take_and_complete(&store, 1, 3).await;
    let all = list_checkpoints(&*store, PIPELINE).await.unwrap();
    assert_eq!(all.iter().map(|it| it.epoch).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((all[2].tasks, all[2].records, all[2].rows), (2, 60, 12));
    let newest = show_checkpoint(&*store, PIPELINE, None).await.unwrap();
    assert_eq!(newest.summary, all[2]);
    assert_eq!(newest.summary.predecessor_epoch, Some(2));
    assert_eq!(newest.task_details[1].task, "payments/1");
    assert_eq!(newest.task_details[1].watermark_ms, None);
    let error = show_checkpoint(&*store, PIPELINE, Some(Epoch(9))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("it has 1 to 3"), "{error}");
}
