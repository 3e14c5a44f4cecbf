//! Several connections to a catalog that is just being made, and ends of connections among them.

use floe_sink::iceberg::connect;

use super::catalog;

/// A pipeline opens the catalog for its table and for its dead letters at the same time, and the command
/// before it may be closing the database: SQLite then says that it is locked, and does not wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_open_a_new_catalog_at_once() {
    for round in 0..50 {
        let folder = tempfile::tempdir().unwrap();
        let config = catalog(folder.path());
        let opens: Vec<_> = (0..6)
            .map(|_| {
                let config = config.clone();
                tokio::spawn(async move { connect(&config).await.map(drop) })
            })
            .collect();
        for open in opens {
            open.await.unwrap().unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
}
