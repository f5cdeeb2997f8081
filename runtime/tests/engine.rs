//! The engine end to end, below SQL: hand-made plans over the Nexmark source,
//! compared with reading the source directly.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion::physical_expr::expressions::col;
use datafusion::prelude::SessionContext;
use tidemill_connectors::source::{Read, ReadRequest};
use tidemill_connectors::{ConnectorConfig, Connectors};
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::{Engine, EngineConfig, JobKind, JobSpec, JobState};
use tidemill_storage::views::{ViewSchema, ViewStore};
use tidemill_types::plan::{
    Aggregate, AggregateCall, AggregateFunction, ChangelogKind, Distribution, EmitMode, Fragment,
    FragmentGraph, Materialize, Node, Operator, Output, Properties, SourceScan, StateKind, wire,
};
use tidemill_types::{Epoch, ExchangeId, FragmentId, JobId, ObjectId, OnError, OperatorId, Options};

const SOURCE: ObjectId = ObjectId(1);

fn options(events: u64, rate: u64) -> Options {
    let text = |k: &str, v: String| (k.to_owned(), v);
    [
        text("nexmark.table.type", "bid".into()),
        text("nexmark.event.num", events.to_string()),
        text("nexmark.event.rate", rate.to_string()),
        text("nexmark.split.num", "3".into()),
    ]
    .into()
}

fn bid_columns() -> Vec<Field> {
    vec![
        Field::new("auction", DataType::Int64, false),
        Field::new("date_time", DataType::Timestamp(TimeUnit::Microsecond, None), false),
    ]
}

fn properties(changelog: ChangelogKind, stream_key: Vec<usize>) -> Properties {
    Properties {
        changelog,
        stream_key,
        watermarks: vec![],
        distribution: Distribution::Split,
        row_watermark: None,
        state: StateKind::None,
    }
}

fn node(id: u32, operator: Operator, inputs: Vec<usize>, schema: &SchemaRef) -> Node {
    let upsert = matches!(operator, Operator::GlobalAggregate(_) | Operator::Materialize(_));
    let kind = if upsert { ChangelogKind::Upsert } else { ChangelogKind::AppendOnly };
    Node {
        id: OperatorId(id),
        operator,
        inputs,
        schema: Arc::clone(schema),
        properties: properties(kind, vec![]),
    }
}

/// `SELECT auction, count(*) FROM bid GROUP BY auction`, or without the grouping.
fn counting_plan(connectors: &Connectors, options: &Options, view: ObjectId, grouped: bool) -> Vec<u8> {
    use tidemill_types::ConnectorFacts;
    let shape = connectors.source_shape("nexmark", options, &[]).unwrap();
    let schema: SchemaRef = Arc::new(Schema::new(bid_columns()));
    let scan = SourceScan {
        source: SOURCE,
        name: "bid".into(),
        connector: "nexmark".into(),
        options: shape.options,
        columns: bid_columns(),
        physical_names: vec!["auction".into(), "date_time".into()],
        declared: bid_columns(),
        computed: vec![],
        watermark: Some(col("date_time", &schema).unwrap()),
        row_id: false,
        row_watermark: false,
        watermark_slot: 0,
        on_error: OnError::Drop,
        bounded: shape.bounded,
    };
    let aggregate = Aggregate {
        group: if grouped { vec![0] } else { vec![] },
        window: None,
        calls: vec![AggregateCall {
            function: AggregateFunction::Count,
            argument: None,
            filter: None,
            input_type: DataType::Null,
            output_type: DataType::Int64,
            output_name: "n".into(),
        }],
        emit: EmitMode::OnUpdate,
    };
    let partial = aggregate.partial_schema(&schema);
    let result = aggregate.output_schema(&schema);
    let keys: Vec<usize> = if grouped { vec![0] } else { vec![] };
    let materialize = Materialize { view, key: keys.clone(), append_only: false };
    let graph = FragmentGraph {
        fragments: vec![
            Fragment {
                id: FragmentId(0),
                nodes: vec![
                    node(0, Operator::Source(scan), vec![], &schema),
                    node(1, Operator::LocalAggregate(aggregate.clone()), vec![0], &partial),
                ],
                output: Output::Exchange { id: ExchangeId(0), keys },
            },
            Fragment {
                id: FragmentId(1),
                nodes: vec![
                    node(2, Operator::ExchangeInput { exchange: ExchangeId(0) }, vec![], &partial),
                    node(3, Operator::GlobalAggregate(aggregate.global()), vec![0], &result),
                    node(4, Operator::Materialize(materialize), vec![1], &result),
                ],
                output: Output::None,
            },
        ],
    };
    wire::encode(&graph).unwrap()
}

struct Setup {
    engine: Engine,
    views: Arc<ViewStore>,
    connectors: Connectors,
}

fn setup(workers: usize, batch_rows: usize, tick_ms: u64) -> Setup {
    let connectors = Connectors::new(&ConnectorConfig::default());
    let views = Arc::new(ViewStore::new());
    let engine = Engine::start(
        EngineConfig { workers, batch_rows, tick: Duration::from_millis(tick_ms) },
        connectors.clone(),
        SessionContext::new().task_ctx(),
        Arc::clone(&views),
        Arc::new(SystemClock),
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
            .create(view, ViewSchema { stored, key, append_only: false }, self.engine.parts(parallelism))
            .unwrap();
        let plan = counting_plan(&self.connectors, options, view, grouped);
        let spec = JobSpec {
            job: JobId(id),
            name: format!("job{id}"),
            kind: JobKind::MaterializedView,
            plan,
            parallelism,
            view: Some(view),
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
        let pin = setup.engine.pin(&[JobId(1)], Epoch::ZERO).await.unwrap();
        let expected: Vec<Vec<i64>> =
            direct_counts(&setup.connectors, &options).into_iter().map(|(k, v)| vec![k, v]).collect();
        assert_eq!(setup.rows(1, pin.epoch()), expected, "{workers} workers, {batch_rows} rows");
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
