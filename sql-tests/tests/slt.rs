//! The `.slt` files against the real server.
//!
//! `batch` runs once. `streaming` runs at several numbers of workers and sizes
//! of batches: the answer is a function of the input alone, so every run must
//! give the same rows.

use tidemill_sql_tests::disturb::Mode;
use tidemill_sql_tests::server::ServerOptions;
use tidemill_sql_tests::suite;

async fn check(directory: &str, threads: Option<usize>, batch_rows: Option<usize>) {
    let options = ServerOptions { threads, batch_rows, ..ServerOptions::default() };
    if let Err(failures) = suite::run(suite::files(directory), &options).await {
        panic!("{directory} at threads {threads:?}, batch rows {batch_rows:?}\n{failures}");
    }
}

#[tokio::test]
async fn batch() {
    check("batch", None, None).await;
}

#[tokio::test]
async fn streaming_with_defaults() {
    check("streaming", None, None).await;
}

#[tokio::test]
async fn streaming_on_one_worker_row_by_row() {
    check("streaming", Some(1), Some(1)).await;
}

#[tokio::test]
async fn streaming_on_two_workers_in_small_batches() {
    check("streaming", Some(2), Some(7)).await;
}

#[tokio::test]
async fn streaming_on_three_workers_in_large_batches() {
    check("streaming", Some(3), Some(8192)).await;
}

#[tokio::test]
async fn streaming_on_one_worker_in_large_batches() {
    check("streaming", Some(1), Some(8192)).await;
}

#[tokio::test]
async fn streaming_on_three_workers_row_by_row() {
    check("streaming", Some(3), Some(1)).await;
}

async fn check_disturbed(mode: Mode) {
    let options = ServerOptions {
        threads: Some(3),
        checkpoint_interval: Some("200ms"),
        batch_rows: Some(64),
    };
    if let Err(failures) = suite::run_disturbed(suite::files("streaming"), &options, mode).await {
        panic!("streaming, {mode:?}\n{failures}");
    }
}

#[tokio::test]
async fn streaming_through_kills() {
    check_disturbed(Mode::Kill).await;
}

#[tokio::test]
async fn streaming_through_rescales() {
    check_disturbed(Mode::Rescale).await;
}
