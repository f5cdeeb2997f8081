//! A graph with every operator goes over the wire and comes back the same.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, Operator as Op, ScalarUDF, Volatility, create_udf};
use datafusion::physical_expr::expressions::{binary, cast, col, lit};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::prelude::SessionContext;

use super::{FORMAT_VERSION, WireError, decode, encode};
use crate::connector::OnError;
use crate::ids::{ExchangeId, FragmentId, ObjectId, OperatorId};
use crate::plan::*;
use crate::window::WindowSpec;

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn twice() -> ScalarUDF {
    create_udf(
        "tm_test_twice",
        vec![DataType::Int64],
        DataType::Int64,
        Volatility::Immutable,
        Arc::new(|args: &[ColumnarValue]| Ok(args[0].clone())),
    )
}

fn session() -> SessionContext {
    let session = SessionContext::new();
    session.register_udf(twice());
    session
}

fn properties(state: StateKind) -> Properties {
    Properties {
        changelog: ChangelogKind::Upsert,
        stream_key: vec![0, 3],
        watermarks: vec![WatermarkColumn { column: 1, slot: 0, lag: -7 }],
        distribution: Distribution::Hash(vec![2]),
        row_watermark: Some(4),
        state,
    }
}

fn node(id: u32, operator: Operator, inputs: Vec<usize>, schema: &Schema) -> Node {
    Node {
        id: OperatorId(id),
        operator,
        inputs,
        schema: Arc::new(schema.clone()),
        properties: properties(StateKind::Window),
    }
}

fn aggregate() -> Aggregate {
    let call = |function, argument, input_type: DataType| AggregateCall {
        function,
        argument,
        filter: argument.map(|_| 3),
        output_type: function.output_type(&input_type).unwrap_or(DataType::Int64),
        input_type,
        output_name: format!("{}(x)", function.name()),
    };
    Aggregate {
        group: vec![0],
        window: Some(AggregateWindow {
            spec: WindowSpec::hop(10, 5, 1),
            slice_end_column: 2,
            first_window_end_column: 3,
            time_type: timestamp(),
            watermark_slot: 0,
            allowed_lateness: 17,
        }),
        calls: vec![
            call(AggregateFunction::Count, None, DataType::Null),
            call(AggregateFunction::Sum, Some(1), DataType::Decimal128(20, 4)),
            call(AggregateFunction::Min, Some(1), DataType::Utf8View),
            call(AggregateFunction::Max, Some(1), timestamp()),
            call(AggregateFunction::Avg, Some(1), DataType::Float32),
        ],
        emit: EmitMode::OnWindowClose,
    }
}

fn source_scan(schema: &Schema) -> SourceScan {
    let fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    let options = BTreeMap::from([("nexmark.event.num".to_owned(), "7".to_owned())]);
    let five = lit(ScalarValue::new_interval_mdn(0, 0, 5_000_000_000));
    let watermark = binary(col("ts", schema).unwrap(), Op::Minus, five, schema).unwrap();
    SourceScan {
        source: ObjectId(3),
        name: "bid".into(),
        connector: "nexmark".into(),
        options,
        columns: fields.clone(),
        physical_names: vec!["dateTime".into(), "price".into()],
        declared: fields,
        computed: vec![(
            Field::new("cents", DataType::Int64, true),
            cast(col("price", schema).unwrap(), schema, DataType::Int64).unwrap(),
        )],
        watermark: Some(watermark),
        row_id: true,
        row_watermark: true,
        watermark_slot: 0,
        on_error: OnError::Fail,
        bounded: true,
    }
}

fn assigned(window: WindowSpec) -> (AssignSlices, AssignWindows) {
    let slices =
        AssignSlices { window, time_column: 0, watermark_column: None, allowed_lateness: 9 };
    let windows =
        AssignWindows { window, time_column: 0, watermark_column: Some(4), allowed_lateness: 0 };
    (slices, windows)
}

fn logged_sink() -> Sink {
    Sink {
        sink: ObjectId(11),
        name: "out".into(),
        connector: "file".into(),
        options: BTreeMap::from([("path".to_owned(), "out".to_owned())]),
        columns: vec![1],
        key: vec![],
        log: Some(SinkLog {
            lanes: 3,
            incarnation: 1 << 50,
            rolling_rows: 5,
            rolling_bytes: 6,
            memory_bytes: 7,
            max_bytes: 8,
        }),
    }
}

fn graph() -> FragmentGraph {
    let schema = Schema::new(vec![
        Field::new("ts", timestamp(), false),
        Field::new("price", DataType::Decimal128(38, 10), true)
            .with_metadata([("varchar".to_owned(), "10".to_owned())].into()),
    ]);
    let integers = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
    let function: Arc<dyn PhysicalExpr> = Arc::new(ScalarFunctionExpr::new(
        "tm_test_twice",
        Arc::new(twice()),
        vec![col("n", &integers).unwrap()],
        Arc::new(Field::new("tm_test_twice", DataType::Int64, true)),
        Arc::default(),
    ));
    let predicate = binary(function, Op::Gt, lit(ScalarValue::Int64(Some(3))), &integers).unwrap();
    let price = col("price", &schema).unwrap();
    let integer = cast(price, &schema, DataType::Int64).unwrap();
    let (slices, windows) = assigned(WindowSpec::tumble(60, 3));
    let first = vec![
        node(0, Operator::Source(source_scan(&schema)), vec![], &schema),
        node(1, Operator::Project { expressions: vec![integer] }, vec![0], &integers),
        node(2, Operator::Filter { predicate }, vec![1], &integers),
        node(3, Operator::AssignSlices(slices), vec![2], &schema),
        node(4, Operator::AssignWindows(windows), vec![3], &schema),
        node(5, Operator::LocalAggregate(aggregate()), vec![4], &schema),
    ];
    let second = vec![
        node(6, Operator::ExchangeInput { exchange: ExchangeId(2) }, vec![], &schema),
        node(7, Operator::GlobalAggregate(aggregate().global()), vec![0], &schema),
        node(
            8,
            Operator::Materialize(Materialize {
                view: ObjectId(9),
                key: vec![1, 0],
                append_only: true,
            }),
            vec![1],
            &schema,
        ),
        node(
            9,
            Operator::Sink(Sink {
                sink: ObjectId(10),
                name: "k".into(),
                connector: "blackhole".into(),
                options: BTreeMap::new(),
                columns: vec![0],
                key: vec![1],
                log: None,
            }),
            vec![1],
            &schema,
        ),
        node(10, Operator::Sink(logged_sink()), vec![1], &schema),
    ];
    FragmentGraph {
        fragments: vec![
            Fragment {
                id: FragmentId(0),
                nodes: first,
                output: Output::Exchange { id: ExchangeId(2), keys: vec![2, 0] },
            },
            Fragment { id: FragmentId(1), nodes: second, output: Output::None },
        ],
    }
}

#[test]
fn every_operator_survives_the_wire() {
    let before = graph();
    let bytes = encode(&before).unwrap();
    let after = decode(&bytes, &session().task_ctx()).unwrap();
    for (a, b) in before.fragments.iter().zip(&after.fragments) {
        assert_eq!((a.id, &a.output, a.nodes.len()), (b.id, &b.output, b.nodes.len()));
        for (x, y) in a.nodes.iter().zip(&b.nodes) {
            assert_eq!(
                (x.id, &x.inputs, &x.schema, &x.properties),
                (y.id, &y.inputs, &y.schema, &y.properties)
            );
            assert_eq!(describe(&x.operator), describe(&y.operator));
        }
    }
    assert_eq!(before.fragments.len(), after.fragments.len());
    // A second trip gives the same bytes, so nothing was lost by the first.
    assert_eq!(encode(&after).unwrap(), bytes);
}

/// Debug output, with expressions as SQL-like text (their Debug form shows
/// function objects by address).
fn describe(operator: &Operator) -> String {
    match operator {
        Operator::Filter { predicate } => predicate.to_string(),
        Operator::Project { expressions } => {
            expressions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn a_log_that_cannot_be_is_an_error() {
    let spoil: [fn(&mut SinkLog); 4] = [
        |log| log.lanes = 0,
        |log| log.lanes = 1025,
        |log| log.rolling_rows = 0,
        |log| log.max_bytes = 0,
    ];
    for spoil in spoil {
        let mut graph = graph();
        let node = graph.fragments[1].nodes.last_mut().unwrap();
        let Operator::Sink(Sink { log: Some(log), .. }) = &mut node.operator else { panic!() };
        spoil(log);
        let decoded = decode(&encode(&graph).unwrap(), &session().task_ctx());
        assert!(matches!(decoded, Err(WireError::Invalid(_))));
    }
}

#[test]
fn lanes_share_the_vnodes() {
    for lanes in [1, 2, 3, 7, 1000, 1024] {
        let log = SinkLog { lanes, ..logged_sink().log.unwrap() };
        for vnode in 0..1024 {
            let lane = log.lane_of(vnode);
            assert!(lane < lanes && log.first_vnode(lane) <= vnode);
            assert_eq!(vnode == log.first_vnode(lane), vnode == 0 || log.lane_of(vnode - 1) < lane);
        }
    }
}

#[test]
fn a_logged_sink_has_a_state_table() {
    let graph = graph();
    let (tables, next) = graph.number_tables(crate::ids::TableId(20));
    let with_tables: Vec<(u32, u32)> = tables.iter().map(|(o, t)| (o.0, t.0)).collect();
    assert_eq!(with_tables.last(), Some(&(10, next.0 - 1)));
    assert!(!tables.contains_key(&OperatorId(9)), "a sink without a log has none");
}

#[test]
fn an_unknown_function_is_an_error() {
    let bytes = encode(&graph()).unwrap();
    let error = decode(&bytes, &SessionContext::new().task_ctx()).unwrap_err();
    assert!(matches!(error, WireError::Expression(_)), "{error}");
    assert!(error.to_string().contains("tm_test_twice"), "{error}");
}

#[test]
fn foreign_bytes_are_an_error() {
    let context = session().task_ctx();
    assert!(matches!(decode(b"\xff\xff\xff", &context), Err(WireError::Malformed(_))));
    assert!(matches!(decode(b"", &context), Err(WireError::Version { found: 0 })));
    let mut bytes = encode(&graph()).unwrap();
    bytes[1] = (FORMAT_VERSION + 1) as u8;
    assert!(matches!(decode(&bytes, &context), Err(WireError::Version { .. })));
    // No cut of a valid message may panic.
    let bytes = encode(&graph()).unwrap();
    for cut in (0..bytes.len()).step_by(7) {
        let _ = decode(&bytes[..cut], &context);
    }
}
