//! The sink operators against what they were given.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use tidemill_connectors::error::ConnectorError;
use tidemill_storage::state::{Delta, ModelBackend, StateError};
use tidemill_types::plan::{self, ChangelogKind, Distribution, Properties, SinkLog, StateKind};
use tidemill_types::{
    ChangeBatch, Diagnostic, Epoch, ObjectId, OperatorId, Ops, SqlState, TableId, VnodeMap,
    WorkerIndex,
};

use crate::operators::{Barrier, BuildContext, Operator, OperatorError, Output, build};
use crate::sink_log::{LogTable, SinkProgress};

const TABLE: TableId = TableId(5);

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8View, true),
        Field::new("n", DataType::Int64, false),
    ]))
}

fn node(changelog: ChangelogKind, lanes: u32) -> plan::Node {
    let log = SinkLog {
        lanes,
        incarnation: 1,
        rolling_rows: 2,
        rolling_bytes: u64::MAX,
        memory_bytes: 1 << 20,
        max_bytes: 1 << 30,
    };
    let sink = plan::Sink {
        sink: ObjectId(1),
        name: "k".into(),
        connector: "file".into(),
        options: BTreeMap::new(),
        columns: vec![0, 1],
        key: vec![0],
        log: Some(log),
    };
    plan::Node {
        id: OperatorId(1),
        operator: plan::Operator::Sink(sink),
        inputs: vec![0],
        schema: input(),
        properties: Properties {
            changelog,
            stream_key: vec![0],
            watermarks: vec![],
            distribution: Distribution::Hash(vec![0]),
            row_watermark: None,
            state: StateKind::Epoch,
        },
    }
}

fn make(
    node: &plan::Node,
    worker: u32,
    workers: u32,
    progress: &Arc<SinkProgress>,
    durable: bool,
) -> Result<Box<dyn Operator>, OperatorError> {
    let cx = BuildContext {
        worker: WorkerIndex(worker),
        vnodes: VnodeMap::new(workers),
        table: TABLE,
        views: &|_, _, _| Err(OperatorError::internal("no views here")),
        sinks: &|_, _| Err(ConnectorError::Options(Diagnostic::internal("no sinks here"))),
        sink_progress: Some(Arc::clone(progress)),
        durable,
        batch_rows: 100,
    };
    build(node, &[input()], &cx)
}

fn batch(rows: &[(&str, i64, bool)]) -> ChangeBatch {
    let names = StringViewArray::from_iter_values(rows.iter().map(|r| r.0));
    let numbers = Int64Array::from_iter_values(rows.iter().map(|r| r.1));
    let rows_of = RecordBatch::try_new(input(), vec![Arc::new(names), Arc::new(numbers)]).unwrap();
    let neg: BooleanBuffer = rows.iter().map(|r| r.2).collect();
    ChangeBatch { rows: rows_of, ops: Ops::Signs { neg }, hash: None }
}

fn end(operator: &mut dyn Operator, epoch: u64, backend: &ModelBackend) {
    let barrier = Barrier {
        epoch: Epoch(epoch),
        now: 0,
        watermarks: Arc::from([]),
        end: false,
        checkpoint: true,
    };
    let mut out = Output::default();
    let _ = operator.barrier(&barrier, &mut out).unwrap();
    let mut delta = Delta::new();
    operator.checkpoint(&mut delta).unwrap();
    for (family, run) in delta.into_runs() {
        backend.apply(family, &run);
    }
}

fn push(operator: &mut dyn Operator, rows: &[(&str, i64, bool)]) {
    let _ = operator.push(0, batch(rows), &mut Output::default()).unwrap();
}

/// The rows of a slice in order, with `-` before those that are taken back.
fn slice(backend: &ModelBackend, changelog: ChangelogKind, epoch: u64) -> Vec<String> {
    let table = LogTable::new(TABLE, &input(), changelog).unwrap();
    let mut rows = Vec::new();
    let each = |_, batch: ChangeBatch| {
        for row in 0..batch.num_rows() {
            let Ops::Signs { neg } = &batch.ops else { panic!("rows have signs") };
            let number = batch.rows.column(1);
            let number = match number.is_null(row) {
                true => "NULL".to_owned(),
                false => number.as_primitive::<Int64Type>().value(row).to_string(),
            };
            let sign = if neg.value(row) { "-" } else { "" };
            let name = batch.rows.column(0).as_string_view().value(row);
            rows.push(format!("{sign}{name}={number}"));
        }
        Ok::<(), StateError>(())
    };
    table.read(backend, Epoch(epoch), each).unwrap();
    rows
}

#[test]
fn rows_are_logged_in_order_with_what_they_do() {
    let changes = [("a", 1, false), ("b", 2, false), ("a", 1, true), ("b", 3, false)];
    for (changelog, expected) in [
        (ChangelogKind::Retract, ["a=1", "b=2", "-a=1", "b=3"]),
        // Of a row that goes away only its key is known.
        (ChangelogKind::Upsert, ["a=1", "b=2", "-a=NULL", "b=3"]),
    ] {
        let backend = ModelBackend::new();
        let progress = Arc::new(SinkProgress::new(1 << 20));
        let mut operator = make(&node(changelog, 1), 0, 1, &progress, true).unwrap();
        push(&mut *operator, &changes[..1]);
        push(&mut *operator, &changes[1..]);
        assert!(operator.state_bytes() > 0);
        end(&mut *operator, 7, &backend);
        assert_eq!(slice(&backend, changelog, 7), expected);
        assert_eq!((operator.state_bytes(), operator.counters().rows_in), (0, 4));
    }
}

#[test]
fn a_key_stays_in_its_lane_on_any_worker() {
    let changelog = ChangelogKind::Upsert;
    let names: Vec<String> = (0..200).map(|i| format!("key {i}")).collect();
    let rows: Vec<(&str, i64, bool)> = names.iter().map(|n| (n.as_str(), 0, false)).collect();
    let mut seen: Vec<Vec<String>> = Vec::new();
    for workers in [1, 3] {
        let backend = ModelBackend::new();
        let progress = Arc::new(SinkProgress::new(1 << 20));
        for worker in 0..workers {
            let mut operator = make(&node(changelog, 4), worker, workers, &progress, true).unwrap();
            for row in &rows {
                // Rows come only to the owner of their vnode.
                let hashes = crate::operators::placement::Placement::Columns(vec![0])
                    .hashes(&batch(&[*row]).rows)
                    .unwrap();
                let vnode = tidemill_types::vnode::vnode_of(hashes[0]);
                if VnodeMap::new(workers).owner(vnode) == WorkerIndex(worker) {
                    push(&mut *operator, &[*row]);
                }
            }
            end(&mut *operator, 1, &backend);
        }
        let mut lanes = vec![Vec::new(); 4];
        let table = LogTable::new(TABLE, &input(), changelog).unwrap();
        let node = node(changelog, 4);
        let plan::Operator::Sink(plan::Sink { log: Some(log), .. }) = node.operator else {
            panic!()
        };
        let each = |part: crate::sink_log::PartKey, batch: ChangeBatch| {
            assert!(batch.num_rows() <= 2);
            let names = batch.rows.column(0).as_string_view();
            let names = names.iter().flatten().map(str::to_owned);
            lanes[log.lane_of(part.writer) as usize].extend(names);
            Ok::<(), StateError>(())
        };
        table.read(&backend, Epoch(1), each).unwrap();
        assert!(lanes.iter().all(|lane| !lane.is_empty()));
        lanes.iter_mut().for_each(|lane| lane.sort());
        seen.extend(lanes);
    }
    assert_eq!(seen[..4], seen[4..]);
}

#[test]
fn delivered_slices_expire_and_a_restored_sink_loads_nothing() {
    let changelog = ChangelogKind::Retract;
    let backend = ModelBackend::new();
    let progress = Arc::new(SinkProgress::new(1 << 20));
    let mut operator = make(&node(changelog, 1), 0, 1, &progress, true).unwrap();
    for epoch in 1..4 {
        push(&mut *operator, &[("a", 1, false)]);
        end(&mut *operator, epoch, &backend);
    }
    progress.set_delivered(Epoch(2));
    end(&mut *operator, 4, &backend);
    let rows = |epoch| slice(&backend, changelog, epoch).len();
    assert_eq!((rows(1), rows(2), rows(3), rows(4)), (0, 0, 1, 0));

    let progress = Arc::new(SinkProgress::new(1 << 20));
    let mut operator = make(&node(changelog, 1), 0, 2, &progress, true).unwrap();
    let restored = crate::operators::Restored {
        backend: &backend,
        vnodes: 0..512,
        epoch: Epoch(4),
        watermarks: &[],
    };
    operator.restore(&restored).unwrap();
    assert_eq!(operator.state_bytes(), 0);
    end(&mut *operator, 5, &backend);
    assert_eq!(rows(3), 1, "what is not known to be delivered stays");
}

#[test]
fn without_checkpoints_there_is_no_such_sink() {
    let progress = Arc::new(SinkProgress::new(1 << 20));
    let made = make(&node(ChangelogKind::Retract, 1), 0, 1, &progress, false);
    let Err(error) = made else { panic!("it was made") };
    let diagnostic = error.diagnostic();
    assert_eq!(diagnostic.state, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert!(diagnostic.hint.is_some());
}
