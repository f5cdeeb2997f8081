//! Aggregations: per worker and epoch first, then per key.
//!
//! ```text
//! by window:  AssignSlices -> [Project] -> LocalAggregate =hash of the other keys=> GlobalAggregate
//! otherwise:  [AssignWindows ->] [Project] -> LocalAggregate =hash of all keys=> GlobalAggregate
//! ```
//!
//! Slices serve an aggregation whose keys name a bound of a pending window and
//! nothing else reads it. They also need the window to close by the source's
//! watermark, or by its end if it has none: where the time column is another one
//! than the watermark's, a row may come for any window at any time, and windows
//! are keys like any other.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::expr::AggregateFunction as LogicalCall;
use datafusion::logical_expr::{Aggregate as LogicalAggregate, Expr};
use datafusion::physical_expr::PhysicalExpr;
use sqlparser::tokenizer::Span;
use tidemill_types::plan::{
    Aggregate, AggregateCall, AggregateFunction, AggregateWindow, AssignSlices, ChangelogKind,
    Distribution, EmitMode, Operator, Properties, StateKind,
};
use tidemill_types::vnode::is_hashable;
use tidemill_types::{Diagnostic, SqlState, hidden};

use super::project::{Outputs, computed_field};
use super::refuse;
use super::relation::{Builder, PendingWindow, Relation, Slot};
use super::window::{apply_deferred, assign, bounds_watermarks};
use crate::error::PlanError;
use crate::types_sql::pg_type_name;

/// A call as the query has it.
struct Call<'a> {
    function: AggregateFunction,
    argument: Option<&'a Expr>,
    filter: Option<&'a Expr>,
    name: String,
    data_type: DataType,
}

/// Lowers an aggregation.
pub(super) fn lower(
    input: Relation,
    node: &LogicalAggregate,
    builder: &mut Builder,
) -> Result<Relation, PlanError> {
    if input.aggregated || builder.properties().changelog != ChangelogKind::AppendOnly {
        return Err(refuse::in_view("an aggregation over an aggregation", Span::empty()));
    }
    let group: Vec<Expr> =
        node.group_expr.iter().map(|e| e.clone().unalias_nested().data).collect();
    if group.iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
        return Err(refuse::in_view("GROUPING SETS, ROLLUP or CUBE", Span::empty()));
    }
    let calls = calls(node)?;
    let sliced = slices(&input, &group, &calls, builder)?;
    match sliced {
        Some(window) => {
            if builder.emit == EmitMode::OnWindowClose && !window.watermarked {
                return Err(no_watermark(builder));
            }
            push_slices(&window, builder);
            finish(input, node, &group, &calls, Some(window), builder)
        }
        None => {
            if builder.emit == EmitMode::OnWindowClose {
                return Err(never_closes(&input, builder));
            }
            let input = assign(input, builder)?;
            finish(input, node, &group, &calls, None, builder)
        }
    }
}

fn no_watermark(builder: &Builder) -> PlanError {
    let (message, hint) = match builder.source_watermark {
        true => (
            "EMIT ON WINDOW CLOSE needs windows over the column that has the watermark",
            "Name the column of WATERMARK FOR as the window's time, as it comes from the source.",
        ),
        false => (
            "EMIT ON WINDOW CLOSE needs a source with a watermark",
            "Declare WATERMARK FOR the time column in CREATE SOURCE.",
        ),
    };
    PlanError::invalid(SqlState::INVALID_OBJECT_DEFINITION, message, Span::empty()).with_hint(hint)
}

fn never_closes(input: &Relation, builder: &Builder) -> PlanError {
    match &input.window {
        Some(window) if !window.watermarked => no_watermark(builder),
        _ => PlanError::unsupported(
            "EMIT ON WINDOW CLOSE is not supported without a windowed aggregation",
            Span::empty(),
        )
        .with_hint(
            "Group by window_start or window_end of TUMBLE or HOP, not by expressions over them.",
        ),
    }
}

fn calls(node: &LogicalAggregate) -> Result<Vec<Call<'_>>, PlanError> {
    let fields = node.schema.fields().iter().skip(node.group_expr.len());
    node.aggr_expr.iter().zip(fields).map(|(expr, field)| call(expr, field)).collect()
}

fn call<'a>(expr: &'a Expr, field: &Field) -> Result<Call<'a>, PlanError> {
    let unaliased = match expr {
        Expr::Alias(alias) => alias.expr.as_ref(),
        other => other,
    };
    let Expr::AggregateFunction(LogicalCall { func, params }) = unaliased else {
        return Err(PlanError::Internal(format!("{unaliased} is no aggregate")));
    };
    let function = match func.name() {
        "count" => AggregateFunction::Count,
        "sum" => AggregateFunction::Sum,
        "min" => AggregateFunction::Min,
        "max" => AggregateFunction::Max,
        "avg" => AggregateFunction::Avg,
        other => {
            return Err(refuse::in_view(&format!("the aggregate {other}"), Span::empty())
                .with_hint("Supported are count, sum, min, max and avg."));
        }
    };
    if params.distinct {
        return Err(refuse::in_view("an aggregate with DISTINCT", Span::empty()));
    }
    if !params.order_by.is_empty() || params.null_treatment.is_some() {
        return Err(refuse::in_view("an aggregate with ORDER BY", Span::empty()));
    }
    let argument = match (function, params.args.as_slice()) {
        (AggregateFunction::Count, []) => None,
        (AggregateFunction::Count, [Expr::Literal(value, _)]) if !value.is_null() => None,
        (_, [argument]) => Some(argument),
        _ => {
            let what = format!("{} with several arguments", function.name());
            return Err(refuse::in_view(&what, Span::empty()));
        }
    };
    Ok(Call {
        function,
        argument,
        filter: params.filter.as_deref(),
        name: field.name().clone(),
        data_type: field.data_type().clone(),
    })
}

/// The pending window, if the aggregation can be made of slices.
fn slices(
    input: &Relation,
    group: &[Expr],
    calls: &[Call<'_>],
    builder: &Builder,
) -> Result<Option<PendingWindow>, PlanError> {
    let Some(window) = &input.window else { return Ok(None) };
    let mut by_window = false;
    for key in group {
        match key {
            Expr::Column(c) if !matches!(input.slot(c)?, Slot::Column(_)) => by_window = true,
            other if input.reads_window(other)? => return Ok(None),
            _ => {}
        }
    }
    for expr in calls.iter().flat_map(|c| c.argument.into_iter().chain(c.filter)) {
        if input.reads_window(expr)? {
            return Ok(None);
        }
    }
    let closes = window.watermarked || !builder.source_watermark;
    Ok((by_window && closes).then(|| window.clone()))
}

fn push_slices(window: &PendingWindow, builder: &mut Builder) {
    let before = builder.properties().clone();
    let schema = Arc::clone(builder.schema());
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    for name in [hidden::SLICE_END, hidden::FIRST_WINDOW_END] {
        fields.push(Arc::new(Field::new(name, DataType::Int64, false)));
    }
    let operator = Operator::AssignSlices(AssignSlices {
        window: window.spec,
        time_column: window.time,
        watermark_column: before.row_watermark.filter(|_| window.watermarked),
        allowed_lateness: if window.watermarked { builder.allowed_lateness } else { 0 },
    });
    let properties = Properties { row_watermark: None, ..before };
    builder.push(operator, Arc::new(Schema::new(fields)), properties);
}

/// Where the aggregation's inputs are among the newest operator's columns.
struct Inputs {
    group: Vec<usize>,
    arguments: Vec<Option<usize>>,
    filters: Vec<Option<usize>>,
    /// Slice end and first window end.
    slices: Option<(usize, usize)>,
}

/// Appends the two halves. With a `window`, slices have been assigned.
fn finish(
    input: Relation,
    node: &LogicalAggregate,
    group: &[Expr],
    calls: &[Call<'_>],
    window: Option<PendingWindow>,
    builder: &mut Builder,
) -> Result<Relation, PlanError> {
    let keys: Vec<&Expr> =
        group.iter().filter(|e| !matches!(e, Expr::Column(c) if is_bound(&input, c))).collect();
    let inputs = place_inputs(&input, &keys, calls, window.is_some(), builder)?;
    let schema = Arc::clone(builder.schema());
    for key in &inputs.group {
        let data_type = schema.field(*key).data_type();
        if !is_hashable(data_type) {
            let what = format!("a GROUP BY key of type {}", pg_type_name(data_type));
            return Err(refuse::in_view(&what, Span::empty()));
        }
    }
    let local = Aggregate {
        window: aggregate_window(window.as_ref(), &inputs, builder),
        calls: call_plans(calls, &inputs, &schema)?,
        group: inputs.group,
        emit: builder.emit,
    };
    let watermarks = builder.properties().watermarks.clone();
    push_halves(&local, window.as_ref(), &watermarks, &input, group, builder);
    warn(&local, window.as_ref(), builder);
    if let Some(window) = &window {
        apply_deferred(window, (0, 1), builder)?;
    }
    let first_key = if window.is_some() { 2 } else { 0 };
    let mut next = first_key..;
    let mut slots: Vec<Slot> = group
        .iter()
        .map(|e| match e {
            Expr::Column(c) if is_bound(&input, c) => Slot::Column(bound_position(&input, c)),
            _ => Slot::Column(next.next().expect("an endless range")),
        })
        .collect();
    slots.extend(next.take(calls.len()).map(Slot::Column));
    Ok(Relation {
        logical: Arc::clone(&node.schema),
        slots,
        window_pair: window.is_some().then_some((0, 1)),
        window: None,
        time: None,
        aggregated: true,
    })
}

fn is_bound(input: &Relation, column: &datafusion::common::Column) -> bool {
    matches!(input.slot(column), Ok(Slot::WindowStart | Slot::WindowEnd))
}

/// `window_start` is the first column of a windowed result, `window_end` the second.
fn bound_position(input: &Relation, column: &datafusion::common::Column) -> usize {
    usize::from(matches!(input.slot(column), Ok(Slot::WindowEnd)))
}

/// Finds keys, arguments and filters among the columns, or appends a projection
/// that computes them.
fn place_inputs(
    input: &Relation,
    keys: &[&Expr],
    calls: &[Call<'_>],
    windowed: bool,
    builder: &mut Builder,
) -> Result<Inputs, PlanError> {
    let arguments: Vec<Option<&Expr>> = calls.iter().map(|c| c.argument).collect();
    let filters: Vec<Option<&Expr>> = calls.iter().map(|c| c.filter).collect();
    let all = keys.iter().copied().chain(arguments.iter().chain(&filters).flatten().copied());
    let computes = all.clone().any(|e| !matches!(e, Expr::Column(_)));
    let columns = builder.schema().fields().len();
    let slices = windowed.then(|| (columns - 2, columns - 1));
    if !computes {
        let position = |e: &Expr| place(input, e);
        return Ok(Inputs {
            group: keys.iter().map(|e| position(e)).collect::<Result<_, _>>()?,
            arguments: optional(&arguments, position)?,
            filters: optional(&filters, position)?,
            slices,
        });
    }
    let schema = Arc::clone(builder.schema());
    let mut outputs = Outputs::default();
    let slices =
        slices.map(|(s, f)| (outputs.keep(&schema, s, None), outputs.keep(&schema, f, None)));
    let mut computed: Vec<(Expr, usize)> = vec![];
    let mut position = |e: &Expr| -> Result<usize, PlanError> {
        if let Expr::Column(_) = e {
            return Ok(outputs.keep(&schema, place(input, e)?, None));
        }
        if let Some((_, at)) = computed.iter().find(|(known, _)| known == e) {
            return Ok(*at);
        }
        let physical: Arc<dyn PhysicalExpr> = builder.expression(input, e)?;
        let field = computed_field(&crate::explain::expression(&physical), &physical, &schema)?;
        let at = outputs.add(physical, field);
        computed.push((e.clone(), at));
        Ok(at)
    };
    let inputs = Inputs {
        group: keys.iter().map(|e| position(e)).collect::<Result<_, _>>()?,
        arguments: optional(&arguments, &mut position)?,
        filters: optional(&filters, &mut position)?,
        slices,
    };
    outputs.push(builder);
    Ok(inputs)
}

fn optional(
    expressions: &[Option<&Expr>],
    mut position: impl FnMut(&Expr) -> Result<usize, PlanError>,
) -> Result<Vec<Option<usize>>, PlanError> {
    expressions.iter().map(|e| e.map(&mut position).transpose()).collect()
}

fn place(input: &Relation, expr: &Expr) -> Result<usize, PlanError> {
    match expr {
        Expr::Column(c) => match input.slot(c)? {
            Slot::Column(i) => Ok(i),
            _ => Err(PlanError::Internal(format!("{c} is a bound of a window"))),
        },
        other => Err(PlanError::Internal(format!("{other} is no column"))),
    }
}

fn aggregate_window(
    window: Option<&PendingWindow>,
    inputs: &Inputs,
    builder: &Builder,
) -> Option<AggregateWindow> {
    let (window, (slice_end_column, first_window_end_column)) = (window?, inputs.slices?);
    Some(AggregateWindow {
        spec: window.spec,
        slice_end_column,
        first_window_end_column,
        time_type: window.time_type.clone(),
        watermark_slot: 0,
        allowed_lateness: if window.watermarked { builder.allowed_lateness } else { 0 },
    })
}

fn call_plans(
    calls: &[Call<'_>],
    inputs: &Inputs,
    schema: &Schema,
) -> Result<Vec<AggregateCall>, PlanError> {
    calls
        .iter()
        .enumerate()
        .map(|(i, call)| {
            let argument = inputs.arguments[i];
            let input_type =
                argument.map_or(DataType::Null, |a| schema.field(a).data_type().clone());
            let output_type = call.function.output_type(&input_type).ok_or_else(|| {
                let signature = format!("{}({})", call.function.name(), pg_type_name(&input_type));
                refuse::in_view(&signature, Span::empty())
            })?;
            if output_type != call.data_type {
                return Err(PlanError::Internal(format!(
                    "{} was bound as {} and is {output_type}",
                    call.name, call.data_type
                )));
            }
            Ok(AggregateCall {
                function: call.function,
                argument,
                filter: inputs.filters[i],
                input_type,
                output_type,
                output_name: label(call.function, argument, inputs.filters[i], schema),
            })
        })
        .collect()
}

/// What EXPLAIN calls the result.
fn label(
    function: AggregateFunction,
    argument: Option<usize>,
    filter: Option<usize>,
    schema: &Schema,
) -> String {
    let argument = argument.map_or("*", |a| schema.field(a).name());
    let call = format!("{}({argument})", function.name());
    match filter {
        Some(f) => format!("{call} FILTER ({})", schema.field(f).name()),
        None => call,
    }
}

/// Appends local half, exchange and global half.
fn push_halves(
    local: &Aggregate,
    window: Option<&PendingWindow>,
    watermarks: &[tidemill_types::plan::WatermarkColumn],
    input: &Relation,
    group: &[Expr],
    builder: &mut Builder,
) {
    let schema = Arc::clone(builder.schema());
    let partials = Properties {
        changelog: ChangelogKind::AppendOnly,
        stream_key: vec![],
        watermarks: vec![],
        distribution: Distribution::Split,
        row_watermark: None,
        state: StateKind::Epoch,
    };
    let partial_schema = local.partial_schema(&schema);
    builder.push(Operator::LocalAggregate(local.clone()), partial_schema, partials);
    let global = local.global();
    builder.exchange(global.group.clone());
    let keys = global.group.clone();
    let mut stream_key = vec![];
    if window.is_some() {
        let ends = group
            .iter()
            .any(|e| matches!(e, Expr::Column(c) if matches!(input.slot(c), Ok(Slot::WindowEnd))));
        stream_key.push(usize::from(ends));
    }
    stream_key.extend(&keys);
    let output_watermarks = match window {
        Some(window) if window.watermarked => {
            bounds_watermarks(window, (0, 1), builder.allowed_lateness)
        }
        Some(_) => vec![],
        None => local
            .group
            .iter()
            .zip(&keys)
            .filter_map(|(from, to)| {
                let watermark = watermarks.iter().find(|w| w.column == *from)?;
                Some(tidemill_types::plan::WatermarkColumn { column: *to, ..*watermark })
            })
            .collect(),
    };
    let properties = Properties {
        changelog: match builder.emit {
            EmitMode::OnUpdate => ChangelogKind::Upsert,
            EmitMode::OnWindowClose => ChangelogKind::AppendOnly,
        },
        stream_key,
        watermarks: output_watermarks,
        distribution: builder.properties().distribution.clone(),
        row_watermark: None,
        state: match window {
            Some(window) if window.watermarked => StateKind::Window,
            _ => StateKind::Unbounded,
        },
    };
    builder.push(Operator::GlobalAggregate(global), local.output_schema(&schema), properties);
}

/// NOTICEs about state that grows for ever.
fn warn(local: &Aggregate, window: Option<&PendingWindow>, builder: &mut Builder) {
    let bounded = window.is_some_and(|w| w.watermarked);
    if bounded || (local.group.is_empty() && window.is_none()) {
        return;
    }
    let why = match window {
        Some(_) => "its windows have no watermark to close them",
        None => "it keeps every group that has ever been seen",
    };
    builder.notices.push(
        Diagnostic::new(
            SqlState::SUCCESS,
            format!("the state of GlobalAggregate grows for ever: {why}"),
        )
        .with_hint(
            "Group by a window over a column with a watermark, bound the input by an interval \
                 of time, or set state_ttl.",
        ),
    );
}
