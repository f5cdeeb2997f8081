//! The process is killed at every named point, and what it acknowledged is there when
//! it comes back.
//!
//! Runs with `--features crash-points`. The test starts itself as a child that commits
//! checkpoints until it dies, and then looks at what the child left.

#![cfg(feature = "crash-points")]
// A test that panics has failed: that is what it should do.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use tidemill_storage::checkpoint::{
    FileBody, GroupCheckpoints, GroupSettings, LocalFile, ManifestParts,
};
use tidemill_storage::crash;
use tidemill_storage::records::{EpochBlocks, WriterId};
use tidemill_storage::store::{DataDirLock, Store};

const DIRECTORY: &str = "TIDEMILL_CRASH_TEST_DIRECTORY";
const COMMITS: usize = 8;
const SETTINGS: GroupSettings =
    GroupSettings { retain: 2, age_floor: Duration::ZERO, fold_after: 3 };

fn file(epoch: u64) -> LocalFile {
    LocalFile {
        family: "agg".to_owned(),
        body: FileBody::Bytes(format!("state of epoch {epoch}").into()),
        first_key: Bytes::new(),
        last_key: Bytes::new(),
        entries: 1,
    }
}

/// The child: prints what is acknowledged, a line each.
#[tokio::test]
#[ignore = "run by the test below, as a process of its own"]
async fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let _lock = DataDirLock::acquire(directory).unwrap();
    let store = Store::open(None, directory).await.unwrap();
    let mut epochs = EpochBlocks::take_over(&store, "epochs", WriterId::draw(), 3).await.unwrap();
    let taken = GroupCheckpoints::take_over(&store, 1, WriterId::draw(), SETTINGS).await;
    let mut checkpoints = taken.unwrap();
    for _ in 0..COMMITS {
        let epoch = epochs.next().await.unwrap().0;
        println!("epoch {epoch}");
        let parts = ManifestParts { epoch, ..ManifestParts::default() };
        checkpoints.commit(vec![file(epoch)], parts).await.unwrap();
        println!("committed {epoch}");
        checkpoints.collect_garbage(i64::MAX - 1).await.unwrap();
    }
}

/// Runs the child; returns what it printed, and whether it lived to its end.
fn run_child(directory: &Path, point: &str) -> (Vec<String>, bool) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env("TIDEMILL_CRASH_POINT", point)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (text.lines().map(str::to_owned).collect(), output.status.success())
}

fn numbers(lines: &[String], word: &str) -> Vec<u64> {
    let number = |line: &String| {
        let (_, rest) = line.split_once(word)?;
        rest.trim().parse().ok()
    };
    lines.iter().filter_map(number).collect()
}

#[tokio::test]
async fn every_point() {
    for point in crash::POINTS {
        let directory = tempfile::tempdir().unwrap();
        let mut last_epoch = 0;
        let mut last_committed = 0;
        let mut expected: Vec<u64> = Vec::new();
        for pass in [1, 4] {
            let (lines, finished) = run_child(directory.path(), &format!("{point}:{pass}"));
            assert!(!finished || pass > 1, "{point} was not passed: {lines:?}");
            let epochs = numbers(&lines, "epoch ");
            assert!(epochs.iter().all(|epoch| *epoch > last_epoch), "{point}: {epochs:?} again");
            last_epoch = epochs.last().copied().unwrap_or(last_epoch);
            let committed = numbers(&lines, "committed ");
            last_committed = committed.last().copied().unwrap_or(last_committed);
            expected.extend(&committed);

            let _lock = DataDirLock::acquire(directory.path()).unwrap();
            let store = Store::open(None, directory.path()).await.unwrap();
            let taken = GroupCheckpoints::take_over(&store, 1, WriterId::draw(), SETTINGS).await;
            let restored = taken.unwrap();
            let latest = restored.latest().await.unwrap();
            let found = latest.as_ref().map_or(0, |manifest| manifest.epoch);
            // What was being committed when it died may be in.
            assert!(
                found == last_committed || found == last_epoch,
                "{point}:{pass}: epoch {found}, committed {last_committed}"
            );
            if found > last_committed {
                expected.push(found);
                last_committed = found;
            }
            for (file, epoch) in latest.iter().flat_map(|manifest| manifest.files()).zip(&expected)
            {
                let bytes = restored.fetch_bytes(file).await.unwrap();
                assert_eq!(bytes, format!("state of epoch {epoch}"), "{point}:{pass}");
            }
            let files = latest.map_or(0, |manifest| manifest.files().count());
            assert_eq!(files, expected.len(), "{point}:{pass}");
        }
    }
}
