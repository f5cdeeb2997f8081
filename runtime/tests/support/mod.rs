//! Hand-made plans over the Nexmark source, for tests and measurements.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::physical_expr::expressions::col;
use tidemill_connectors::Connectors;
use tidemill_types::plan::{
    Aggregate, AggregateCall, AggregateFunction, ChangelogKind, Distribution, EmitMode, Fragment,
    FragmentGraph, Materialize, Node, Operator, Output, Properties, SourceScan, StateKind, wire,
};
use tidemill_types::{ExchangeId, FragmentId, ObjectId, OnError, OperatorId, Options};

/// The one source of all plans.
pub const SOURCE: ObjectId = ObjectId(1);

/// Bids of `events` events (0: without end) at `rate` events a second (0: no limit).
pub fn options(events: u64, rate: u64) -> Options {
    let text = |k: &str, v: String| (k.to_owned(), v);
    [
        text("nexmark.table.type", "bid".into()),
        text("nexmark.event.num", events.to_string()),
        text("nexmark.event.rate", rate.to_string()),
        text("nexmark.split.num", "3".into()),
    ]
    .into()
}

/// The columns that the plans read.
pub fn bid_columns() -> Vec<Field> {
    vec![
        Field::new("auction", DataType::Int64, false),
        Field::new("date_time", DataType::Timestamp(TimeUnit::Microsecond, None), false),
    ]
}

fn properties(changelog: ChangelogKind, distribution: Distribution) -> Properties {
    Properties {
        changelog,
        stream_key: vec![],
        watermarks: vec![],
        distribution,
        row_watermark: None,
        state: StateKind::None,
    }
}

fn node(id: u32, operator: Operator, inputs: Vec<usize>, schema: &SchemaRef) -> Node {
    let upsert = matches!(operator, Operator::GlobalAggregate(_) | Operator::Materialize(_));
    let kind = if upsert { ChangelogKind::Upsert } else { ChangelogKind::AppendOnly };
    let distribution = match schema.fields().len() {
        _ if !upsert => Distribution::Split,
        1 => Distribution::Single,
        _ => Distribution::Hash(vec![0]),
    };
    Node {
        id: OperatorId(id),
        operator,
        inputs,
        schema: Arc::clone(schema),
        properties: properties(kind, distribution),
    }
}

/// `SELECT auction, count(*) FROM bid GROUP BY auction`, or without the grouping.
pub fn counting_plan(
    connectors: &Connectors,
    options: &Options,
    view: ObjectId,
    grouped: bool,
) -> Vec<u8> {
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
