//! Checkpoints and recovery below SQL: an engine is stopped in the middle of its
//! work, and another one, with another number of workers, goes on from what the
//! first had committed. What comes out is what reading the source directly gives.
#![allow(clippy::unwrap_used)]

#[path = "support/disk.rs"]
mod disk;
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::prelude::SessionContext;
use disk::{Commits, Disk};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use support::{bid_columns, counting_plan, options};
use tidemill_connectors::source::{Read, ReadRequest};
use tidemill_connectors::{ConnectorConfig, Connectors};
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::{
    CheckpointStore, Durability, Engine, EngineConfig, JobKind, JobSpec, JobState, RestartStrategy,
};
use tidemill_storage::state::StateBackend;
use tidemill_storage::views::{ViewSchema, ViewStore};
use tidemill_types::{ConnectorFacts, Epoch, JobId, ObjectId, Options, TableId};

const EVENTS: u64 = 60_000;
const GROUPED: JobId = JobId(1);
const TOTAL: JobId = JobId(2);

struct Server {
    engine: Engine,
    views: Arc<ViewStore>,
}

impl Server {
    /// Boots over what is on `disk`.
    fn start(disk: &Arc<Disk>, workers: usize, options: &Options) -> Self {
        Self::start_on(disk, workers, workers, options)
    }

    fn start_on(disk: &Arc<Disk>, workers: usize, parallelism: usize, options: &Options) -> Self {
        let connectors = Connectors::new(&ConnectorConfig::default());
        let views = Arc::new(ViewStore::new());
        let mut commits = Commits::new(disk);
        let epochs = commits.reserve_epochs().unwrap();
        let durability = Durability { store: Box::new(commits), interval: 30_000, epochs };
        let state: Arc<dyn StateBackend> = disk.state.clone();
        let engine = Engine::start(
            EngineConfig {
                workers,
                batch_rows: 512,
                tick: Duration::from_millis(10),
                restart: RestartStrategy::default(),
            },
            connectors.clone(),
            SessionContext::new().task_ctx(),
            Arc::clone(&views),
            Arc::new(SystemClock),
            Some((state, durability)),
        )
        .unwrap();
        for (job, grouped) in [(GROUPED, true), (TOTAL, false)] {
            let view = ObjectId(100 + job.0);
            let mut fields = vec![Field::new("n", DataType::Int64, false)];
            if grouped {
                fields.insert(0, Field::new("auction", DataType::Int64, false));
            }
            let schema = ViewSchema {
                stored: Arc::new(Schema::new(fields)),
                key: if grouped { vec![0] } else { vec![] },
                append_only: false,
            };
            views.create(view, schema, parallelism).unwrap();
            let spec = JobSpec {
                job,
                name: format!("job{}", job.0),
                kind: JobKind::MaterializedView,
                plan: counting_plan(&connectors, options, view, grouped),
                parallelism,
                view: Some(view),
                first_table: TableId(10 * job.0),
                restored: disk.images.lock().get(&job).cloned(),
            };
            engine.create_job(spec).unwrap();
        }
        Server { engine, views }
    }

    fn rows(&self, job: JobId, epoch: Epoch) -> BTreeMap<i64, i64> {
        // A job that has ended is read at its last epoch.
        let newest = self.engine.status(job).unwrap().borrow().visible;
        let epoch = newest.map_or(epoch, |newest| newest.min(epoch));
        let snapshot = self.views.get(ObjectId(100 + job.0)).unwrap().read(epoch).unwrap();
        let mut rows = BTreeMap::new();
        for part in 0..snapshot.parts() {
            for batch in snapshot.scan(part, None, 1000) {
                let batch = batch.unwrap();
                let column = |c: usize| batch.column(c).as_primitive::<Int64Type>();
                let last = batch.num_columns() - 1;
                for row in 0..batch.num_rows() {
                    let key = if last == 0 { 0 } else { column(0).value(row) };
                    assert_eq!(rows.insert(key, column(last).value(row)), None, "a key twice");
                }
            }
        }
        rows
    }

    /// Each view at the job's newest epoch is what the splits' positions say.
    async fn check(&self, connectors: &Connectors, options: &Options) {
        for job in [GROUPED, TOTAL] {
            let Ok(pin) = self.engine.pin(&[job], Epoch::ZERO).await else { continue };
            let snapshots = self.engine.jobs_at(pin.epoch());
            let snapshot = snapshots.into_iter().find(|s| s.job == job).unwrap();
            let offsets: Vec<u64> = snapshot.summary.splits.iter().map(|s| s.offset).collect();
            let expected = counts(connectors, options, &offsets, job == GROUPED);
            assert_eq!(self.rows(job, pin.epoch()), expected, "{job} at {}", pin.epoch());
        }
    }

    async fn finished(&self, job: JobId) {
        let mut status = self.engine.status(job).unwrap();
        let done = status.wait_for(|s| s.state.is_final());
        let done = tokio::time::timeout(Duration::from_secs(60), done).await.unwrap().unwrap();
        assert_eq!(done.state, JobState::Finished);
    }
}

/// What the first `offsets` records of each split give.
fn counts(
    connectors: &Connectors,
    options: &Options,
    offsets: &[u64],
    grouped: bool,
) -> BTreeMap<i64, i64> {
    // The same records, without waiting for them.
    let mut options = options.clone();
    options.insert("nexmark.event.rate".into(), "0".into());
    let shape = connectors.source_shape("nexmark", &options, &[]).unwrap();
    let source = connectors.open_source("nexmark", &shape.options).unwrap();
    let request = Arc::new(ReadRequest {
        columns: bid_columns()[..1].to_vec(),
        physical_names: vec!["auction".into()],
        declared: bid_columns(),
    });
    let mut counts = BTreeMap::new();
    if !grouped {
        counts.insert(0, 0);
    }
    for (split, offset) in offsets.iter().enumerate() {
        let mut reader = source.open(split, 0, &request).unwrap();
        let mut left = *offset;
        while left > 0 {
            let most = usize::try_from(left.min(1000)).unwrap();
            let Read::Records(records) = reader.read(most, i64::MAX).unwrap() else { break };
            left -= records.end - records.start;
            for auction in records.rows.column(0).as_primitive::<Int64Type>().values() {
                *counts.entry(if grouped { *auction } else { 0 }).or_default() += 1;
            }
        }
        assert_eq!(left, 0, "split {split} is shorter");
    }
    counts
}

async fn survives(seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let options = options(EVENTS, 100_000);
    let connectors = Connectors::new(&ConnectorConfig::default());
    let disk = Arc::new(Disk::default());
    let mut last_epoch = 0;
    for round in 0..4 {
        let workers = rng.random_range(1..4);
        let pause = rng.random_range(20..250);
        eprintln!("seed {seed}, round {round}: {workers} workers, {pause} ms");
        if rng.random_range(0..3) == 0 {
            disk.failures.store(rng.random_range(1..5), Ordering::Relaxed);
        }
        let server = Server::start(&disk, workers, &options);
        assert!(server.engine.current_epoch().0 >= last_epoch, "an epoch number came again");
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.check(&connectors, &options).await;
        last_epoch = server.engine.current_epoch().0;
        // What has not been committed is lost.
        server.engine.stop();
    }
    let server = Server::start(&disk, 2, &options);
    for job in [GROUPED, TOTAL] {
        server.finished(job).await;
    }
    server.check(&connectors, &options).await;
    assert!(server.engine.checkpoint_all(Duration::from_secs(10)).is_empty());
    let total = server.rows(TOTAL, server.engine.current_epoch());
    assert_eq!(total, BTreeMap::from([(0, i64::try_from(EVENTS / 50 * 46).unwrap())]));
    let grouped = server.rows(GROUPED, server.engine.current_epoch());
    server.engine.stop();

    // What had ended is there again, and nothing runs.
    let server = Server::start(&disk, 3, &options);
    assert_eq!(server.rows(GROUPED, server.engine.current_epoch()), grouped);
    assert_eq!(server.rows(TOTAL, server.engine.current_epoch()), total);
    server.engine.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn jobs_go_on_from_their_last_checkpoint_on_any_number_of_workers() {
    for seed in 0..6 {
        survives(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_store_that_fails_loses_nothing_once_it_works_again() {
    let options = options(EVENTS, 0);
    let connectors = Connectors::new(&ConnectorConfig::default());
    let disk = Arc::new(Disk::default());
    disk.failures.store(3, Ordering::Relaxed);
    let server = Server::start(&disk, 2, &options);
    server.finished(GROUPED).await;
    server.finished(TOTAL).await;
    server.engine.stop();
    let server = Server::start(&disk, 1, &options);
    server.finished(GROUPED).await;
    server.finished(TOTAL).await;
    server.check(&connectors, &options).await;
    server.engine.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_checkpoint_is_taken_when_asked_for() {
    let options = options(0, 20_000);
    let disk = Arc::new(Disk::default());
    let server = Server::start(&disk, 2, &options);
    let mut status = server.engine.status(GROUPED).unwrap();
    status.wait_for(|s| s.visible.is_some()).await.unwrap();
    let mut status = server.engine.status(TOTAL).unwrap();
    status.wait_for(|s| s.visible.is_some()).await.unwrap();
    let engine = server.engine.clone();
    let asked = engine.current_epoch();
    let failed =
        tokio::task::spawn_blocking(move || engine.checkpoint_all(Duration::from_secs(20)));
    assert!(failed.await.unwrap().is_empty());
    let images = disk.images.lock();
    assert!(images.values().all(|i| i.epoch > asked) && images.len() == 2);
    drop(images);
    server.engine.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_job_is_rescaled_while_it_runs() {
    let options = options(EVENTS, 60_000);
    let connectors = Connectors::new(&ConnectorConfig::default());
    let disk = Arc::new(Disk::default());
    let server = Server::start_on(&disk, 3, 1, &options);
    for (round, parallelism) in [2, 3, 1].into_iter().enumerate() {
        tokio::time::sleep(Duration::from_millis(60)).await;
        // The store may fail at the worst of times.
        disk.failures.store(round as u64 % 2, Ordering::Relaxed);
        let engine = server.engine.clone();
        let rescaled = tokio::task::spawn_blocking(move || engine.rescale(GROUPED, parallelism));
        let pause = rescaled.await.unwrap().unwrap();
        eprintln!("to {parallelism} workers: paused for {pause:?}");
        server.check(&connectors, &options).await;
        let jobs = server.engine.jobs_at(server.engine.current_epoch());
        let job = jobs.into_iter().find(|j| j.job == GROUPED).unwrap();
        if job.state == JobState::Running {
            assert_eq!(job.parallelism, parallelism as u32);
        }
    }
    for job in [GROUPED, TOTAL] {
        server.finished(job).await;
    }
    server.check(&connectors, &options).await;
    server.engine.stop();
}
