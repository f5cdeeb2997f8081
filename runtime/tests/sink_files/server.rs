//! An engine with one sink over what earlier engines have left.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use datafusion::prelude::SessionContext;
use tempfile::TempDir;
use tidemill_connectors::source::{Read, ReadRequest};
use tidemill_connectors::{ConnectorConfig, Connectors, formats};
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::{
    CheckpointStore, Durability, Engine, EngineConfig, JobKind, JobSnapshot, JobSpec, JobState,
    RestartStrategy,
};
use tidemill_storage::state::{Family, StateBackend};
use tidemill_storage::views::ViewStore;
use tidemill_types::{ConnectorFacts, JobId, Options, TableId};

use crate::disk::{Commits, Disk};
use crate::plans::{counts_plan, rows_plan};
use crate::support::bid_columns;

pub const SINK: JobId = JobId(7);
const PATIENCE: Duration = Duration::from_secs(120);

/// What there is before and after every engine.
pub struct World {
    pub disk: Arc<Disk>,
    root: TempDir,
    pub connectors: Connectors,
    pub source: Options,
    pub into: Options,
    pub views: Arc<ViewStore>,
    /// Counts by auction instead of rows as they are.
    pub counting: bool,
    /// Between two checkpoints, in microseconds.
    pub interval: i64,
}

impl World {
    pub fn new(source: Options, into: &[(&str, &str)]) -> Self {
        let root = TempDir::new().unwrap();
        let roots = ConnectorConfig { file_roots: vec![root.path().to_path_buf()] };
        let mut options: Options =
            into.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        options.insert("path".into(), "out".into());
        let world = World {
            disk: Arc::new(Disk::default()),
            connectors: Connectors::new(&roots),
            root,
            source,
            into: options,
            views: Arc::new(ViewStore::new()),
            counting: false,
            interval: 30_000,
        };
        std::fs::create_dir(world.directory()).unwrap();
        world.mend_directory();
        world
    }

    /// Where the files are; the sink's path is a link to it.
    pub fn directory(&self) -> PathBuf {
        self.root.path().join("real")
    }

    /// Makes the directory unusable, from one moment to the next.
    pub fn break_directory(&self) {
        self.link(&self.root.path().join("nowhere"));
    }

    pub fn mend_directory(&self) {
        self.link(&self.directory());
    }

    fn link(&self, target: &Path) {
        let new = self.root.path().join("new");
        std::os::unix::fs::symlink(target, &new).unwrap();
        std::fs::rename(&new, self.root.path().join("out")).unwrap();
    }

    pub fn start(&self, workers: usize, parallelism: usize) -> Engine {
        let engine = self.engine(workers);
        engine.create_job(self.spec(parallelism)).unwrap();
        engine
    }

    pub fn engine(&self, workers: usize) -> Engine {
        let mut commits = Commits::new(&self.disk);
        let epochs = commits.reserve_epochs().unwrap();
        let store = Box::new(commits);
        let durability = Durability { store, interval: self.interval, epochs };
        let state: Arc<dyn StateBackend> = self.disk.state.clone();
        let config = EngineConfig {
            workers,
            batch_rows: 256,
            tick: Duration::from_millis(10),
            restart: RestartStrategy::default(),
        };
        Engine::start(
            config,
            self.connectors.clone(),
            SessionContext::new().task_ctx(),
            Arc::clone(&self.views),
            Arc::new(SystemClock),
            Some((state, durability)),
        )
        .unwrap()
    }

    pub fn spec(&self, parallelism: usize) -> JobSpec {
        let plan = if self.counting { counts_plan } else { rows_plan };
        JobSpec {
            job: SINK,
            name: "out".into(),
            kind: JobKind::Sink,
            plan: plan(&self.connectors, &self.source, &self.into),
            parallelism,
            view: None,
            first_table: TableId(40),
            restored: self.disk.images.lock().get(&SINK).cloned(),
        }
    }

    /// Every row of the source, as a file has it.
    pub fn expected(&self) -> BTreeMap<String, usize> {
        let mut options = self.source.clone();
        // The same records, without waiting for them.
        options.insert("nexmark.event.rate".into(), "0".into());
        let shape = self.connectors.source_shape("nexmark", &options, &[]).unwrap();
        let source = self.connectors.open_source("nexmark", &shape.options).unwrap();
        let request = Arc::new(ReadRequest {
            columns: bid_columns(),
            physical_names: vec!["auction".into(), "date_time".into()],
            declared: bid_columns(),
        });
        let mut text = Vec::new();
        for split in 0..source.splits().unwrap().len() {
            let mut reader = source.open(split, 0, &request).unwrap();
            while let Read::Records(records) = reader.read(1000, i64::MAX).unwrap() {
                assert!(formats::json::encode::rows(&records.rows, None, &mut text));
            }
        }
        let mut rows = BTreeMap::new();
        for line in String::from_utf8(text).unwrap().lines() {
            *rows.entry(line.to_owned()).or_default() += 1;
        }
        rows
    }

    /// Entries of the log that no checkpoint has expired.
    pub fn logged(&self) -> u64 {
        self.disk.state.stats(Family::Window).unwrap().entries
    }
}

pub fn snapshot(engine: &Engine) -> JobSnapshot {
    let jobs = engine.jobs_at(engine.current_epoch());
    jobs.into_iter().find(|j| j.job == SINK).unwrap()
}

/// Waits until `done` is so.
pub async fn until(engine: &Engine, what: &str, done: impl Fn(&JobSnapshot) -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let now = snapshot(engine);
        if done(&now) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "not {what}: {now:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the job has ended and its last checkpoint is delivered.
pub async fn delivered(engine: &Engine) {
    until(engine, "delivered", |job| {
        job.state == JobState::Finished
            && job.durable.is_some()
            && job.durable == Some(job.summary.epoch)
            && job.delivered_epoch == job.durable
    })
    .await;
}

/// Every row of every file, as text, with how often it is there. Panics where a file is
/// not whole.
pub fn rows_of_files(directory: &Path) -> BTreeMap<String, usize> {
    let mut rows = BTreeMap::new();
    for (name, text) in files(directory) {
        assert!(text.ends_with('\n'), "{name} is cut off");
        for line in text.lines() {
            assert!(line.starts_with('{') && line.ends_with('}'), "{name}: {line}");
            *rows.entry(line.to_owned()).or_default() += 1;
        }
    }
    rows
}

/// Names and contents of the files that have their names.
pub fn files(directory: &Path) -> BTreeMap<String, String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return BTreeMap::new() };
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    let finished = names.filter(|name| !name.starts_with('.'));
    finished.map(|n| (n.clone(), std::fs::read_to_string(directory.join(n)).unwrap())).collect()
}
