//! The engine end to end, below SQL: hand-made plans over the Nexmark source,
//! compared with reading the source directly.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::prelude::SessionContext;
use support::{bid_columns, counting_plan, options};
use tidemill_connectors::source::{Read, ReadRequest};
use tidemill_connectors::{ConnectorConfig, Connectors};
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::{Engine, EngineConfig, JobKind, JobSpec, JobState, RestartStrategy};
use tidemill_storage::views::{ViewSchema, ViewStore};
use tidemill_types::{Epoch, JobId, ObjectId, Options, TableId};

struct Setup {
    engine: Engine,
    views: Arc<ViewStore>,
    connectors: Connectors,
}

fn setup(workers: usize, batch_rows: usize, tick_ms: u64) -> Setup {
    let connectors = Connectors::new(&ConnectorConfig::default());
    let views = Arc::new(ViewStore::new());
    let engine = Engine::start(
        EngineConfig {
            workers,
            batch_rows,
            tick: Duration::from_millis(tick_ms),
            restart: RestartStrategy::default(),
        },
        connectors.clone(),
        SessionContext::new().task_ctx(),
        Arc::clone(&views),
        Arc::new(SystemClock),
        None,
    )
    .unwrap();
    Setup { engine, views, connectors }
}

impl Setup {
    fn start(&self, id: u32, options: &Options, grouped: bool) {
        let view = ObjectId(100 + id);
        let mut fields = vec![Field::new("n", DataType::Int64, false)];
        if grouped {
            fields.insert(0, Field::new("auction", DataType::Int64, false));
        }
        let stored = Arc::new(Schema::new(fields));
        let key = if grouped { vec![0] } else { vec![] };
        let parallelism = self.engine.workers();
        self.views
            .create(
                view,
                ViewSchema { stored, key, append_only: false },
                self.engine.parts(parallelism),
            )
            .unwrap();
        let plan = counting_plan(&self.connectors, options, view, grouped);
        let spec = JobSpec {
            job: JobId(id),
            name: format!("job{id}"),
            kind: JobKind::MaterializedView,
            plan,
            parallelism,
            view: Some(view),
            first_table: TableId(1),
            restored: None,
        };
        self.engine.create_job(spec).unwrap();
    }

    fn rows(&self, id: u32, epoch: Epoch) -> Vec<Vec<i64>> {
        let snapshot = self.views.get(ObjectId(100 + id)).unwrap().read(epoch).unwrap();
        let mut rows = Vec::new();
        for part in 0..snapshot.parts() {
            for batch in snapshot.scan(part, None, 1000) {
                let batch = batch.unwrap();
                for i in 0..batch.num_rows() {
                    let value = |c: &arrow::array::ArrayRef| c.as_primitive::<Int64Type>().value(i);
                    rows.push(batch.columns().iter().map(value).collect());
                }
            }
        }
        rows.sort();
        rows
    }

    async fn finished(&self, id: u32) {
        let mut status = self.engine.status(JobId(id)).unwrap();
        let done = status.wait_for(|s| s.state.is_final());
        let done = tokio::time::timeout(Duration::from_secs(60), done).await.unwrap().unwrap();
        assert_eq!(done.state, JobState::Finished);
    }
}

fn direct_counts(connectors: &Connectors, options: &Options) -> BTreeMap<i64, i64> {
    use tidemill_types::ConnectorFacts;
    let shape = connectors.source_shape("nexmark", options, &[]).unwrap();
    let source = connectors.open_source("nexmark", &shape.options).unwrap();
    let request = Arc::new(ReadRequest {
        columns: bid_columns()[..1].to_vec(),
        physical_names: vec!["auction".into()],
        declared: bid_columns(),
    });
    let mut counts = BTreeMap::new();
    for split in 0..source.splits().unwrap().len() {
        let mut reader = source.open(split, 0, &request).unwrap();
        while let Read::Records(records) = reader.read(1000, i64::MAX).unwrap() {
            for auction in records.rows.column(0).as_primitive::<Int64Type>().values() {
                *counts.entry(*auction).or_default() += 1;
            }
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_grouped_count_equals_reading_the_source() {
    let options = options(50_000, 0);
    for (workers, batch_rows) in [(1, 8192), (2, 7), (3, 1000), (2, 8192)] {
        let setup = setup(workers, batch_rows, 20);
        setup.start(1, &options, true);
        setup.finished(1).await;
        // A job that has ended is read at its last epoch, whatever epoch it is now.
        let pin = setup.engine.pin(&[JobId(1)], Epoch::ZERO).await.unwrap();
        let last = setup.engine.status(JobId(1)).unwrap().borrow().visible.unwrap();
        assert!(last <= pin.epoch());
        let expected: Vec<Vec<i64>> = direct_counts(&setup.connectors, &options)
            .into_iter()
            .map(|(k, v)| vec![k, v])
            .collect();
        assert_eq!(setup.rows(1, last), expected, "{workers} workers, {batch_rows} rows");
        let jobs = setup.engine.jobs_at(pin.epoch());
        assert_eq!(jobs[0].summary.records_read(), 46_000);
        setup.engine.drop_job(JobId(1)).unwrap();
        setup.engine.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn two_views_of_one_source_agree_at_every_epoch() {
    let options = options(0, 2_000_000);
    let setup = setup(2, 512, 10);
    setup.start(1, &options, true);
    tokio::time::sleep(Duration::from_millis(150)).await;
    // The second starts while the first is far ahead, and has to catch up.
    setup.start(2, &options, false);
    let mut last = Epoch::ZERO;
    for _ in 0..40 {
        let pin = setup.engine.pin(&[JobId(1), JobId(2)], last).await.unwrap();
        let grouped: i64 = setup.rows(1, pin.epoch()).iter().map(|r| r[1]).sum();
        let total = setup.rows(2, pin.epoch());
        assert_eq!(vec![vec![grouped]], total, "at epoch {}", pin.epoch());
        let read: Vec<u64> =
            setup.engine.jobs_at(pin.epoch()).iter().map(|j| j.summary.records_read()).collect();
        assert_eq!(read, [grouped as u64, grouped as u64]);
        last = pin.epoch();
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    setup.engine.drop_job(JobId(1)).unwrap();
    let alone = setup.engine.pin(&[JobId(2)], last).await.unwrap();
    assert!(alone.epoch() >= last);
    setup.engine.stop();
}
