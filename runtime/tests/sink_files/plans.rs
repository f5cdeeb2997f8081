//! Plans that end in a file sink.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::physical_expr::expressions::col;
use tidemill_connectors::Connectors;
use tidemill_types::plan::{
    Aggregate, AggregateCall, AggregateFunction, ChangelogKind, Distribution, EmitMode, Fragment,
    FragmentGraph, Node, Operator, Output, Properties, Sink, SourceScan, StateKind, wire,
};
use tidemill_types::{
    ConnectorFacts, ExchangeId, FragmentId, ObjectId, OnError, OperatorId, Options,
};

use crate::support::{SOURCE, bid_columns};

fn node(
    id: u32,
    operator: Operator,
    inputs: &[usize],
    schema: &SchemaRef,
    changelog: ChangelogKind,
    distribution: Distribution,
) -> Node {
    let properties = Properties {
        changelog,
        stream_key: vec![],
        watermarks: vec![],
        distribution,
        row_watermark: None,
        state: StateKind::None,
    };
    let (inputs, schema) = (inputs.to_vec(), Arc::clone(schema));
    Node { id: OperatorId(id), operator, inputs, schema, properties }
}

fn scan(connectors: &Connectors, options: &Options, schema: &SchemaRef) -> SourceScan {
    let shape = connectors.source_shape("nexmark", options, &[]).unwrap();
    SourceScan {
        source: SOURCE,
        name: "bid".into(),
        connector: "nexmark".into(),
        options: shape.options,
        columns: bid_columns(),
        physical_names: vec!["auction".into(), "date_time".into()],
        declared: bid_columns(),
        computed: vec![],
        watermark: Some(col("date_time", schema).unwrap()),
        row_id: false,
        row_watermark: false,
        watermark_slot: 0,
        on_error: OnError::Drop,
        bounded: shape.bounded,
    }
}

fn sink(connectors: &Connectors, options: &Options, key: Vec<usize>) -> Operator {
    let options = connectors.sink_options("file", options).unwrap();
    let log = connectors.sink_log("file", &options, 1_700_000_000_000_000).unwrap();
    Operator::Sink(Sink {
        sink: ObjectId(9),
        name: "out".into(),
        connector: "file".into(),
        options,
        columns: vec![0, 1],
        key,
        log,
    })
}

/// `SELECT auction, date_time FROM bid`.
pub fn rows_plan(connectors: &Connectors, source: &Options, into: &Options) -> Vec<u8> {
    let schema: SchemaRef = Arc::new(Schema::new(bid_columns()));
    let scan = Operator::Source(scan(connectors, source, &schema));
    let make = |id, operator, inputs: &[usize]| {
        node(id, operator, inputs, &schema, ChangelogKind::AppendOnly, Distribution::Split)
    };
    let nodes = vec![make(0, scan, &[]), make(1, sink(connectors, into, vec![]), &[0])];
    let fragment = Fragment { id: FragmentId(0), nodes, output: Output::None };
    wire::encode(&FragmentGraph { fragments: vec![fragment] }).unwrap()
}

/// `SELECT auction, count(*) AS n FROM bid GROUP BY auction`.
pub fn counts_plan(connectors: &Connectors, source: &Options, into: &Options) -> Vec<u8> {
    let schema: SchemaRef = Arc::new(Schema::new(bid_columns()));
    let scan = Operator::Source(scan(connectors, source, &schema));
    let aggregate = Aggregate {
        group: vec![0],
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
    let (partial, result) = (aggregate.partial_schema(&schema), aggregate.output_schema(&schema));
    let (added, upsert) = (ChangelogKind::AppendOnly, ChangelogKind::Upsert);
    let by_key = || Distribution::Hash(vec![0]);
    let exchange = ExchangeId(0);
    let global = Operator::GlobalAggregate(aggregate.global());
    let local = Operator::LocalAggregate(aggregate);
    let into = sink(connectors, into, vec![0]);
    let fragments = vec![
        Fragment {
            id: FragmentId(0),
            nodes: vec![
                node(0, scan, &[], &schema, added, Distribution::Split),
                node(1, local, &[0], &partial, added, Distribution::Split),
            ],
            output: Output::Exchange { id: exchange, keys: vec![0] },
        },
        Fragment {
            id: FragmentId(1),
            nodes: vec![
                node(2, Operator::ExchangeInput { exchange }, &[], &partial, added, by_key()),
                node(3, global, &[0], &result, upsert, by_key()),
                node(4, into, &[1], &result, upsert, by_key()),
            ],
            output: Output::None,
        },
    ];
    wire::encode(&FragmentGraph { fragments }).unwrap()
}
