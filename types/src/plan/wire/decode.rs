//! From messages to the plan.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion_proto::physical_plan::DefaultPhysicalExtensionCodec;
use datafusion_proto::physical_plan::from_proto::parse_physical_expr;
use datafusion_proto::protobuf;
use prost::Message;

use super::{FORMAT_VERSION, WireError, messages as m};
use crate::connector::OnError;
use crate::ids::{ExchangeId, FragmentId, ObjectId, OperatorId};
use crate::plan::{
    Aggregate, AggregateCall, AggregateFunction, AggregateWindow, AssignSlices, AssignWindows,
    ChangelogKind, Distribution, EmitMode, Fragment, FragmentGraph, Materialize, Node, Operator,
    Output, Properties, Sink, SinkLog, SourceScan, StateKind, WatermarkColumn,
};
use crate::vnode::VNODE_COUNT;
use crate::window::WindowSpec;

/// Reads a plan; `context` resolves functions by name and supplies the settings
/// that they see.
pub fn decode(bytes: &[u8], context: &TaskContext) -> Result<FragmentGraph, WireError> {
    let graph = m::Graph::decode(bytes)?;
    if graph.format_version != FORMAT_VERSION {
        return Err(WireError::Version { found: graph.format_version });
    }
    let decoder = Decoder { context };
    let fragments =
        graph.fragments.into_iter().map(|f| decoder.fragment(f)).collect::<Result<_, _>>()?;
    Ok(FragmentGraph { fragments })
}

struct Decoder<'a> {
    context: &'a TaskContext,
}

impl Decoder<'_> {
    fn fragment(&self, f: m::Fragment) -> Result<Fragment, WireError> {
        let mut nodes: Vec<Node> = Vec::with_capacity(f.nodes.len());
        for message in f.nodes {
            let node = self.node(message, &nodes)?;
            nodes.push(node);
        }
        if nodes.is_empty() {
            return Err(WireError::Invalid("a fragment without operators"));
        }
        let output = match f.exchange {
            Some(e) => Output::Exchange { id: ExchangeId(e.id), keys: positions(&e.keys)? },
            None => Output::None,
        };
        Ok(Fragment { id: FragmentId(f.id), nodes, output })
    }

    fn node(&self, n: m::Node, before: &[Node]) -> Result<Node, WireError> {
        let inputs = positions(&n.inputs)?;
        if inputs.iter().any(|i| *i >= before.len()) {
            return Err(WireError::Invalid("an input that does not stand before its operator"));
        }
        let input = inputs.first().map(|i| Arc::clone(&before[*i].schema));
        let operator = n.operator.ok_or(WireError::Invalid("a node without an operator"))?;
        let properties = n.properties.ok_or(WireError::Invalid("a node without properties"))?;
        Ok(Node {
            id: OperatorId(n.id),
            operator: self.operator(operator, input.as_ref())?,
            inputs,
            schema: Arc::new(schema(&n.schema)?),
            properties: decode_properties(&properties)?,
        })
    }

    fn operator(&self, o: m::Operator, input: Option<&SchemaRef>) -> Result<Operator, WireError> {
        let input = || input.ok_or(WireError::Invalid("an operator without its input"));
        Ok(match o {
            m::Operator::Source(s) => Operator::Source(self.source(s)?),
            m::Operator::ExchangeInput(e) => {
                Operator::ExchangeInput { exchange: ExchangeId(e.exchange) }
            }
            m::Operator::Filter(f) => {
                Operator::Filter { predicate: self.expression(&f.predicate_expression, input()?)? }
            }
            m::Operator::Project(p) => {
                let input = input()?;
                let expressions = p
                    .expressions
                    .iter()
                    .map(|e| self.expression(e, input))
                    .collect::<Result<_, _>>()?;
                Operator::Project { expressions }
            }
            m::Operator::AssignSlices(a) => Operator::AssignSlices(AssignSlices {
                window: window(a.window)?,
                time_column: position(a.time_column)?,
                watermark_column: a.watermark_column.map(position).transpose()?,
                allowed_lateness: a.allowed_lateness,
            }),
            m::Operator::AssignWindows(a) => Operator::AssignWindows(AssignWindows {
                window: window(a.window)?,
                time_column: position(a.time_column)?,
                watermark_column: a.watermark_column.map(position).transpose()?,
                allowed_lateness: a.allowed_lateness,
            }),
            m::Operator::LocalAggregate(a) => Operator::LocalAggregate(aggregate(a)?),
            m::Operator::GlobalAggregate(a) => Operator::GlobalAggregate(aggregate(a)?),
            m::Operator::Materialize(v) => Operator::Materialize(Materialize {
                view: ObjectId(v.view),
                key: positions(&v.key)?,
                append_only: v.append_only,
            }),
            m::Operator::Sink(s) => Operator::Sink(Sink {
                sink: ObjectId(s.sink),
                name: s.name,
                connector: s.connector,
                options: s.options,
                columns: positions(&s.columns)?,
                key: positions(&s.key)?,
                log: s.log.map(sink_log).transpose()?,
            }),
        })
    }

    fn source(&self, s: m::SourceScan) -> Result<SourceScan, WireError> {
        let columns = fields(&s.columns_schema)?;
        let computed_fields = fields(&s.computed_schema)?;
        if computed_fields.len() != s.computed_expressions.len()
            || columns.len() != s.physical_names.len()
        {
            return Err(WireError::Invalid("a source whose columns do not match their names"));
        }
        let decoded = Schema::new(columns.clone());
        let mut all = columns.clone();
        all.extend(computed_fields.iter().cloned());
        let computed = computed_fields
            .into_iter()
            .zip(&s.computed_expressions)
            .map(|(field, e)| Ok((field, self.expression(e, &decoded)?)))
            .collect::<Result<_, WireError>>()?;
        let watermark = s
            .watermark_expression
            .as_ref()
            .map(|e| self.expression(e, &Schema::new(all)))
            .transpose()?;
        Ok(SourceScan {
            source: ObjectId(s.source),
            name: s.name,
            connector: s.connector,
            options: s.options,
            declared: fields(&s.declared_schema)?,
            columns,
            physical_names: s.physical_names,
            computed,
            watermark,
            row_id: s.row_id,
            row_watermark: s.row_watermark,
            watermark_slot: position(s.watermark_slot)?,
            on_error: match enumeration::<m::OnError>(s.on_error)? {
                m::OnError::Drop => OnError::Drop,
                m::OnError::Fail => OnError::Fail,
                m::OnError::Unspecified => return Err(UNSPECIFIED),
            },
            bounded: s.bounded,
        })
    }

    fn expression(&self, bytes: &[u8], input: &Schema) -> Result<Arc<dyn PhysicalExpr>, WireError> {
        let node = protobuf::PhysicalExprNode::decode(bytes)?;
        let codec = DefaultPhysicalExtensionCodec {};
        Ok(parse_physical_expr(&node, self.context, input, &codec)?)
    }
}

fn sink_log(log: m::SinkLog) -> Result<SinkLog, WireError> {
    let limits = [log.rolling_rows, log.rolling_bytes, log.memory_bytes, log.max_bytes];
    if !(1..=VNODE_COUNT).contains(&log.lanes) || limits.contains(&0) {
        return Err(WireError::Invalid("a sink's log without lanes or with a limit of 0"));
    }
    Ok(SinkLog {
        lanes: log.lanes,
        incarnation: log.incarnation,
        rolling_rows: log.rolling_rows,
        rolling_bytes: log.rolling_bytes,
        memory_bytes: log.memory_bytes,
        max_bytes: log.max_bytes,
    })
}

const UNSPECIFIED: WireError = WireError::Invalid("an enumeration without a value");

fn aggregate(a: m::Aggregate) -> Result<Aggregate, WireError> {
    Ok(Aggregate {
        group: positions(&a.group)?,
        window: a.window.map(aggregate_window).transpose()?,
        calls: a.calls.into_iter().map(call).collect::<Result<_, _>>()?,
        emit: match enumeration::<m::EmitMode>(a.emit)? {
            m::EmitMode::OnUpdate => EmitMode::OnUpdate,
            m::EmitMode::OnWindowClose => EmitMode::OnWindowClose,
            m::EmitMode::Unspecified => return Err(UNSPECIFIED),
        },
    })
}

fn aggregate_window(w: m::AggregateWindow) -> Result<AggregateWindow, WireError> {
    Ok(AggregateWindow {
        spec: window(w.spec)?,
        slice_end_column: position(w.slice_end_column)?,
        first_window_end_column: position(w.first_window_end_column)?,
        time_type: data_type(&w.time_type)?,
        watermark_slot: position(w.watermark_slot)?,
        allowed_lateness: w.allowed_lateness,
    })
}

fn call(c: m::AggregateCall) -> Result<AggregateCall, WireError> {
    Ok(AggregateCall {
        function: match enumeration::<m::AggregateFunction>(c.function)? {
            m::AggregateFunction::Count => AggregateFunction::Count,
            m::AggregateFunction::Sum => AggregateFunction::Sum,
            m::AggregateFunction::Min => AggregateFunction::Min,
            m::AggregateFunction::Max => AggregateFunction::Max,
            m::AggregateFunction::Avg => AggregateFunction::Avg,
            m::AggregateFunction::Unspecified => return Err(UNSPECIFIED),
        },
        argument: c.argument.map(position).transpose()?,
        filter: c.filter.map(position).transpose()?,
        input_type: data_type(&c.input_type)?,
        output_type: data_type(&c.output_type)?,
        output_name: c.output_name,
    })
}

fn decode_properties(p: &m::Properties) -> Result<Properties, WireError> {
    let watermarks = p.watermarks.iter().map(|w| {
        Ok(WatermarkColumn { column: position(w.column)?, slot: position(w.slot)?, lag: w.lag })
    });
    Ok(Properties {
        changelog: match enumeration::<m::ChangelogKind>(p.changelog)? {
            m::ChangelogKind::AppendOnly => ChangelogKind::AppendOnly,
            m::ChangelogKind::Retract => ChangelogKind::Retract,
            m::ChangelogKind::Upsert => ChangelogKind::Upsert,
            m::ChangelogKind::Unspecified => return Err(UNSPECIFIED),
        },
        stream_key: positions(&p.stream_key)?,
        watermarks: watermarks.collect::<Result<_, WireError>>()?,
        distribution: match enumeration::<m::Distribution>(p.distribution)? {
            m::Distribution::Split => Distribution::Split,
            m::Distribution::Hash => Distribution::Hash(positions(&p.distribution_keys)?),
            m::Distribution::Single => Distribution::Single,
            m::Distribution::Unspecified => return Err(UNSPECIFIED),
        },
        row_watermark: p.row_watermark.map(position).transpose()?,
        state: match enumeration::<m::StateKind>(p.state)? {
            m::StateKind::None => StateKind::None,
            m::StateKind::Epoch => StateKind::Epoch,
            m::StateKind::Window => StateKind::Window,
            m::StateKind::Unbounded => StateKind::Unbounded,
            m::StateKind::Unspecified => return Err(UNSPECIFIED),
        },
    })
}

/// A [`WindowSpec`] asserts what is checked here, so the check comes first.
fn window(w: Option<m::Window>) -> Result<WindowSpec, WireError> {
    match w {
        Some(w) if w.size > 0 && w.slide > 0 => Ok(WindowSpec::hop(w.size, w.slide, w.offset)),
        _ => Err(WireError::Invalid("a window without a positive size and slide")),
    }
}

fn enumeration<E: TryFrom<i32>>(value: i32) -> Result<E, WireError> {
    E::try_from(value).map_err(|_| WireError::Invalid("an unknown value of an enumeration"))
}

fn position(value: u64) -> Result<usize, WireError> {
    usize::try_from(value).map_err(|_| WireError::Invalid("a position out of range"))
}

fn positions(values: &[u64]) -> Result<Vec<usize>, WireError> {
    values.iter().map(|v| position(*v)).collect()
}

fn schema(bytes: &[u8]) -> Result<Schema, WireError> {
    let message = protobuf::Schema::decode(bytes)?;
    (&message).try_into().map_err(|e: protobuf::FromProtoError| WireError::Expression(e.into()))
}

fn fields(bytes: &[u8]) -> Result<Vec<Field>, WireError> {
    Ok(schema(bytes)?.fields().iter().map(|f| f.as_ref().clone()).collect())
}

fn data_type(bytes: &[u8]) -> Result<DataType, WireError> {
    let message = protobuf::ArrowType::decode(bytes)?;
    (&message).try_into().map_err(|e: protobuf::FromProtoError| WireError::Expression(e.into()))
}
