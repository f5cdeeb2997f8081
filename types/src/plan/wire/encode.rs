//! From the plan to messages.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_expr::PhysicalExpr;
use datafusion_proto::physical_plan::DefaultPhysicalExtensionCodec;
use datafusion_proto::physical_plan::to_proto::serialize_physical_expr;
use datafusion_proto::protobuf;
use prost::Message;

use super::{FORMAT_VERSION, WireError, messages as m};
use crate::connector::OnError;
use crate::plan::{
    Aggregate, AggregateCall, AggregateFunction, AggregateWindow, ChangelogKind, Distribution,
    EmitMode, Fragment, FragmentGraph, Node, Operator, Output, Properties, SourceScan, StateKind,
};
use crate::window::WindowSpec;

/// Writes a plan. Fails only on an expression that DataFusion cannot carry.
pub fn encode(graph: &FragmentGraph) -> Result<Vec<u8>, WireError> {
    let fragments = graph.fragments.iter().map(fragment).collect::<Result<_, _>>()?;
    Ok(m::Graph { format_version: FORMAT_VERSION, fragments }.encode_to_vec())
}

fn fragment(f: &Fragment) -> Result<m::Fragment, WireError> {
    Ok(m::Fragment {
        id: f.id.0,
        nodes: f.nodes.iter().map(node).collect::<Result<_, _>>()?,
        exchange: match &f.output {
            Output::Exchange { id, keys } => {
                Some(m::ExchangeOutput { id: id.0, keys: positions(keys) })
            }
            Output::None => None,
        },
    })
}

fn node(n: &Node) -> Result<m::Node, WireError> {
    Ok(m::Node {
        id: n.id.0,
        inputs: positions(&n.inputs),
        schema: schema(&n.schema)?,
        properties: Some(properties(&n.properties)),
        operator: Some(operator(&n.operator)?),
    })
}

fn operator(o: &Operator) -> Result<m::Operator, WireError> {
    Ok(match o {
        Operator::Source(s) => m::Operator::Source(source(s)?),
        Operator::ExchangeInput { exchange } => {
            m::Operator::ExchangeInput(m::ExchangeInput { exchange: exchange.0 })
        }
        Operator::Filter { predicate } => {
            m::Operator::Filter(m::Filter { predicate_expression: expression(predicate)? })
        }
        Operator::Project { expressions } => m::Operator::Project(m::Project {
            expressions: expressions.iter().map(expression).collect::<Result<_, _>>()?,
        }),
        Operator::AssignSlices(a) => m::Operator::AssignSlices(m::Assign {
            window: Some(window(&a.window)),
            time_column: a.time_column as u64,
            watermark_column: a.watermark_column.map(|c| c as u64),
            allowed_lateness: a.allowed_lateness,
        }),
        Operator::AssignWindows(a) => m::Operator::AssignWindows(m::Assign {
            window: Some(window(&a.window)),
            time_column: a.time_column as u64,
            watermark_column: a.watermark_column.map(|c| c as u64),
            allowed_lateness: a.allowed_lateness,
        }),
        Operator::LocalAggregate(a) => m::Operator::LocalAggregate(aggregate(a)?),
        Operator::GlobalAggregate(a) => m::Operator::GlobalAggregate(aggregate(a)?),
        Operator::Materialize(v) => m::Operator::Materialize(m::Materialize {
            view: v.view.0,
            key: positions(&v.key),
            append_only: v.append_only,
        }),
        Operator::Sink(s) => m::Operator::Sink(m::Sink {
            sink: s.sink.0,
            name: s.name.clone(),
            connector: s.connector.clone(),
            options: s.options.clone(),
            columns: positions(&s.columns),
            key: positions(&s.key),
            log: s.log.map(|log| m::SinkLog {
                lanes: log.lanes,
                incarnation: log.incarnation,
                rolling_rows: log.rolling_rows,
                rolling_bytes: log.rolling_bytes,
                memory_bytes: log.memory_bytes,
                max_bytes: log.max_bytes,
            }),
        }),
    })
}

fn source(s: &SourceScan) -> Result<m::SourceScan, WireError> {
    let computed: Vec<Field> = s.computed.iter().map(|(field, _)| field.clone()).collect();
    Ok(m::SourceScan {
        source: s.source.0,
        name: s.name.clone(),
        connector: s.connector.clone(),
        options: s.options.clone(),
        columns_schema: schema(&Schema::new(s.columns.clone()))?,
        physical_names: s.physical_names.clone(),
        declared_schema: schema(&Schema::new(s.declared.clone()))?,
        computed_schema: schema(&Schema::new(computed))?,
        computed_expressions: s
            .computed
            .iter()
            .map(|(_, e)| expression(e))
            .collect::<Result<_, _>>()?,
        watermark_expression: s.watermark.as_ref().map(expression).transpose()?,
        row_id: s.row_id,
        row_watermark: s.row_watermark,
        watermark_slot: s.watermark_slot as u64,
        on_error: match s.on_error {
            OnError::Drop => m::OnError::Drop,
            OnError::Fail => m::OnError::Fail,
        } as i32,
        bounded: s.bounded,
    })
}

fn aggregate(a: &Aggregate) -> Result<m::Aggregate, WireError> {
    Ok(m::Aggregate {
        group: positions(&a.group),
        window: a.window.as_ref().map(aggregate_window).transpose()?,
        calls: a.calls.iter().map(call).collect::<Result<_, _>>()?,
        emit: match a.emit {
            EmitMode::OnUpdate => m::EmitMode::OnUpdate,
            EmitMode::OnWindowClose => m::EmitMode::OnWindowClose,
        } as i32,
    })
}

fn aggregate_window(w: &AggregateWindow) -> Result<m::AggregateWindow, WireError> {
    Ok(m::AggregateWindow {
        spec: Some(window(&w.spec)),
        slice_end_column: w.slice_end_column as u64,
        first_window_end_column: w.first_window_end_column as u64,
        time_type: data_type(&w.time_type)?,
        watermark_slot: w.watermark_slot as u64,
        allowed_lateness: w.allowed_lateness,
    })
}

fn call(c: &AggregateCall) -> Result<m::AggregateCall, WireError> {
    Ok(m::AggregateCall {
        function: match c.function {
            AggregateFunction::Count => m::AggregateFunction::Count,
            AggregateFunction::Sum => m::AggregateFunction::Sum,
            AggregateFunction::Min => m::AggregateFunction::Min,
            AggregateFunction::Max => m::AggregateFunction::Max,
            AggregateFunction::Avg => m::AggregateFunction::Avg,
        } as i32,
        argument: c.argument.map(|a| a as u64),
        filter: c.filter.map(|f| f as u64),
        input_type: data_type(&c.input_type)?,
        output_type: data_type(&c.output_type)?,
        output_name: c.output_name.clone(),
    })
}

fn properties(p: &Properties) -> m::Properties {
    let (distribution, keys): (_, &[usize]) = match &p.distribution {
        Distribution::Split => (m::Distribution::Split, &[]),
        Distribution::Hash(keys) => (m::Distribution::Hash, keys),
        Distribution::Single => (m::Distribution::Single, &[]),
    };
    m::Properties {
        changelog: match p.changelog {
            ChangelogKind::AppendOnly => m::ChangelogKind::AppendOnly,
            ChangelogKind::Retract => m::ChangelogKind::Retract,
            ChangelogKind::Upsert => m::ChangelogKind::Upsert,
        } as i32,
        stream_key: positions(&p.stream_key),
        watermarks: p
            .watermarks
            .iter()
            .map(|w| m::WatermarkColumn {
                column: w.column as u64,
                slot: w.slot as u64,
                lag: w.lag,
            })
            .collect(),
        distribution: distribution as i32,
        distribution_keys: positions(keys),
        row_watermark: p.row_watermark.map(|c| c as u64),
        state: match p.state {
            StateKind::None => m::StateKind::None,
            StateKind::Epoch => m::StateKind::Epoch,
            StateKind::Window => m::StateKind::Window,
            StateKind::Unbounded => m::StateKind::Unbounded,
        } as i32,
    }
}

fn window(w: &WindowSpec) -> m::Window {
    m::Window { size: w.size, slide: w.slide, offset: w.offset }
}

fn positions(columns: &[usize]) -> Vec<u64> {
    columns.iter().map(|c| *c as u64).collect()
}

fn expression(e: &Arc<dyn PhysicalExpr>) -> Result<Vec<u8>, WireError> {
    let node = serialize_physical_expr(e, &DefaultPhysicalExtensionCodec {})?;
    Ok(node.encode_to_vec())
}

fn schema(s: &Schema) -> Result<Vec<u8>, WireError> {
    let message: protobuf::Schema =
        s.try_into().map_err(|e: protobuf::ToProtoError| WireError::Expression(e.into()))?;
    Ok(message.encode_to_vec())
}

fn data_type(t: &DataType) -> Result<Vec<u8>, WireError> {
    let message: protobuf::ArrowType =
        t.try_into().map_err(|e: protobuf::ToProtoError| WireError::Expression(e.into()))?;
    Ok(message.encode_to_vec())
}
