//! EXPLAIN of a job: its fragments, and for each operator what was inferred.
//!
//! ```text
//! Fragment 1
//!   Materialize  key: carrier, window_end
//!     changelog: upsert; stream key: carrier, window_end; state: unbounded
//!     -> GlobalAggregate  TUMBLE size 1 day; by: carrier; count(*)
//! ```
//!
//! The text is stable: it has names instead of numbers of catalog objects, and
//! nothing in it depends on the machine or on hash order.

use std::fmt::Write;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use tidemill_types::WindowSpec;
use tidemill_types::plan::{
    Aggregate, AggregateCall, ChangelogKind, Distribution, EmitMode, Fragment, FragmentGraph, Node,
    Operator, Output, Properties, SourceScan, StateKind,
};

use crate::rules::{Spelling, spelling};
use crate::types_sql::pg_type_name;

/// Renders a job, the fragment of the root first.
#[must_use]
pub fn explain(graph: &FragmentGraph) -> String {
    let mut text = String::new();
    for fragment in graph.fragments.iter().rev() {
        explain_fragment(fragment, graph, &mut text);
    }
    text
}

fn line(text: &mut String, indent: usize, content: &str) {
    let written = writeln!(text, "{:indent$}{content}", "");
    debug_assert!(written.is_ok(), "writing to a string does not fail");
}

fn explain_fragment(fragment: &Fragment, graph: &FragmentGraph, text: &mut String) {
    let Some(root) = fragment.nodes.len().checked_sub(1) else { return };
    let head = match &fragment.output {
        Output::None => format!("Fragment {}", fragment.id.0),
        Output::Exchange { id, keys } => {
            let by = match keys.is_empty() {
                true => "to one worker".to_owned(),
                false => format!("by hash of {}", columns(keys, &fragment.nodes[root].schema)),
            };
            format!("Fragment {} => exchange {} {by}", fragment.id.0, id.0)
        }
    };
    line(text, 0, &head);
    explain_node(fragment, root, graph, 2, text);
}

fn explain_node(
    fragment: &Fragment,
    at: usize,
    graph: &FragmentGraph,
    indent: usize,
    text: &mut String,
) {
    let node = &fragment.nodes[at];
    let input = node.inputs.first().map(|i| &fragment.nodes[*i]);
    let input_schema = input.map_or_else(|| Arc::new(Schema::empty()), |n| Arc::clone(&n.schema));
    let details = details(node, &input_schema, graph);
    let separator = if details.is_empty() { "" } else { "  " };
    line(text, indent, &format!("-> {}{separator}{details}", node.operator.name()));
    if let Some(columns) = shown_columns(node) {
        line(text, indent + 5, &format!("columns: {columns}"));
    }
    line(text, indent + 5, &properties(&node.properties, &node.schema));
    for child in &node.inputs {
        explain_node(fragment, *child, graph, indent + 2, text);
    }
}

fn details(node: &Node, input: &Schema, graph: &FragmentGraph) -> String {
    match &node.operator {
        Operator::Source(scan) => source(scan),
        Operator::ExchangeInput { exchange } => {
            let from = graph
                .fragments
                .iter()
                .find(|f| matches!(&f.output, Output::Exchange { id, .. } if id == exchange));
            match from {
                Some(f) => format!("exchange {} from fragment {}", exchange.0, f.id.0),
                None => format!("exchange {}", exchange.0),
            }
        }
        Operator::Filter { predicate } => expression(predicate),
        Operator::Project { expressions } => list(expressions.iter().map(expression)),
        Operator::AssignSlices(a) => window(
            &a.window,
            input.field(a.time_column).name(),
            a.watermark_column,
            a.allowed_lateness,
        ),
        Operator::AssignWindows(a) => window(
            &a.window,
            input.field(a.time_column).name(),
            a.watermark_column,
            a.allowed_lateness,
        ),
        Operator::LocalAggregate(a) => aggregate(a, input, true),
        Operator::GlobalAggregate(a) => aggregate(a, input, false),
        Operator::Materialize(m) => {
            let rows = if m.append_only { "append only" } else { "by key" };
            format!("{rows}; key: {}", columns(&m.key, &node.schema))
        }
        Operator::Sink(s) => {
            let key = match s.key.is_empty() {
                true => String::new(),
                false => format!("; key: {}", columns(&s.key, &node.schema)),
            };
            let log = match s.log {
                None => String::new(),
                Some(log) if log.lanes == 1 => "; log of 1 lane".to_owned(),
                Some(log) => format!("; log of {} lanes", log.lanes),
            };
            format!("{} ({}){log}{key}", s.name, s.connector)
        }
    }
}

fn source(scan: &SourceScan) -> String {
    let mut text = format!("{} ({})", scan.name, scan.connector);
    if scan.bounded {
        text.push_str("; bounded");
    }
    for (field, expr) in &scan.computed {
        text.push_str(&format!("; {} = {}", field.name(), expression(expr)));
    }
    if let Some(watermark) = &scan.watermark {
        text.push_str(&format!("; watermark = {}", expression(watermark)));
    }
    text
}

fn window(spec: &WindowSpec, time: &str, watermark: Option<usize>, lateness: i64) -> String {
    let late = match watermark {
        None => "; no row is late".to_owned(),
        Some(_) if lateness == 0 => String::new(),
        Some(_) => format!("; lateness {}", length(lateness)),
    };
    format!("{} on {time}{late}", window_spec(spec))
}

fn window_spec(spec: &WindowSpec) -> String {
    let mut text = match spec.is_tumble() {
        true => format!("TUMBLE size {}", length(spec.size)),
        false => format!("HOP slide {} size {}", length(spec.slide), length(spec.size)),
    };
    if spec.offset != 0 {
        text.push_str(&format!(" offset {}", length(spec.offset)));
    }
    text
}

/// A length in the largest unit that it is a whole number of.
fn length(us: i64) -> String {
    const UNITS: &[(&str, i64)] = &[
        ("day", 86_400_000_000),
        ("hour", 3_600_000_000),
        ("minute", 60_000_000),
        ("second", 1_000_000),
        ("millisecond", 1_000),
        ("microsecond", 1),
    ];
    let (name, unit) = UNITS.iter().find(|(_, unit)| us % unit == 0).unwrap_or(&("microsecond", 1));
    let count = us / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

fn aggregate(a: &Aggregate, input: &Schema, local: bool) -> String {
    let mut parts = vec![];
    if let Some(w) = &a.window {
        let lateness = match w.allowed_lateness {
            0 => String::new(),
            us => format!(" lateness {}", length(us)),
        };
        parts.push(format!("{}{lateness}", window_spec(&w.spec)));
    }
    if !a.group.is_empty() {
        parts.push(format!("by: {}", columns(&a.group, input)));
    }
    if !a.calls.is_empty() {
        let schema = local.then_some(input);
        parts.push(list(a.calls.iter().map(|c| call(c, schema))));
    }
    if !local {
        parts.push(match a.emit {
            EmitMode::OnUpdate => "emit on update".to_owned(),
            EmitMode::OnWindowClose => "emit on window close".to_owned(),
        });
    }
    parts.join("; ")
}

fn call(c: &AggregateCall, input: Option<&Schema>) -> String {
    let Some(input) = input else {
        return c.output_name.clone();
    };
    let argument = c.argument.map_or("*", |a| input.field(a).name());
    let filter = match c.filter {
        Some(f) => format!(" FILTER ({})", input.field(f).name()),
        None => String::new(),
    };
    format!("{}({argument}){filter}", c.function.name())
}

fn properties(p: &Properties, schema: &Schema) -> String {
    let changelog = match p.changelog {
        ChangelogKind::AppendOnly => "append only",
        ChangelogKind::Retract => "retract",
        ChangelogKind::Upsert => "upsert",
    };
    let mut parts = vec![changelog.to_owned()];
    if !p.stream_key.is_empty() {
        parts.push(format!("stream key: {}", columns(&p.stream_key, schema)));
    }
    if !p.watermarks.is_empty() {
        let each = p.watermarks.iter().map(|w| match w.lag {
            0 => schema.field(w.column).name().clone(),
            lag => format!("{} - {}", schema.field(w.column).name(), length(lag)),
        });
        parts.push(format!("watermarks: {}", list(each)));
    }
    parts.push(match &p.distribution {
        Distribution::Split => "distribution: by split".to_owned(),
        Distribution::Hash(keys) => format!("distribution: hash of {}", columns(keys, schema)),
        Distribution::Single => "distribution: one worker".to_owned(),
    });
    parts.push(match p.state {
        StateKind::None => "state: none".to_owned(),
        StateKind::Epoch => "state: within an epoch".to_owned(),
        StateKind::Window => "state: until the window closes".to_owned(),
        StateKind::Unbounded => "state: unbounded".to_owned(),
    });
    parts.join("; ")
}

fn columns(positions: &[usize], schema: &Schema) -> String {
    match positions.is_empty() {
        true => "none".to_owned(),
        false => list(positions.iter().map(|i| schema.field(*i).name().clone())),
    }
}

/// Types where rows come in and go out, names where they change, nothing where
/// they are the input's.
fn shown_columns(node: &Node) -> Option<String> {
    let fields = node.schema.fields().iter();
    match &node.operator {
        Operator::Source(_) | Operator::Materialize(_) | Operator::Sink(_) => {
            Some(list(fields.map(|f| format!("{} {}", f.name(), pg_type_name(f.data_type())))))
        }
        Operator::Filter { .. } | Operator::ExchangeInput { .. } => None,
        _ => Some(list(fields.map(|f| f.name().clone()))),
    }
}

fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// An expression as SQL would have it, as far as it is made of the usual parts.
pub(crate) fn expression(e: &Arc<dyn PhysicalExpr>) -> String {
    if let Some(column) = e.downcast_ref::<Column>() {
        return column.name().to_owned();
    }
    if let Some(literal) = e.downcast_ref::<Literal>() {
        return constant(literal.value());
    }
    if let Some(cast) = e.downcast_ref::<CastExpr>() {
        return format!("{}::{}", operand(cast.expr()), pg_type_name(cast.cast_type()));
    }
    if let Some(binary) = e.downcast_ref::<BinaryExpr>() {
        return format!("{} {} {}", operand(binary.left()), binary.op(), operand(binary.right()));
    }
    if let Some(function) = e.downcast_ref::<ScalarFunctionExpr>() {
        return match (spelling(function.name()), function.args()) {
            (Some(Spelling::Infix(op)), [left, right]) => {
                format!("{} {op} {}", operand(left), operand(right))
            }
            (Some(Spelling::Cast(data_type)), [argument]) => {
                format!("{}::{}", operand(argument), pg_type_name(&data_type))
            }
            (Some(Spelling::Nothing), [argument]) => expression(argument),
            (_, args) => format!("{}({})", function.name(), list(args.iter().map(expression))),
        };
    }
    e.to_string()
}

fn constant(value: &ScalarValue) -> String {
    match value {
        ScalarValue::IntervalMonthDayNano(Some(i)) if i.months == 0 && i.days == 0 => {
            format!("INTERVAL '{}'", length(i.nanoseconds / 1_000))
        }
        v if v.is_null() || v.data_type().is_numeric() || v.data_type() == DataType::Boolean => {
            v.to_string()
        }
        v => {
            let text = v.to_array().and_then(|a| Ok(array_value_to_string(&a, 0)?));
            format!("'{}'", text.unwrap_or_else(|_| v.to_string()))
        }
    }
}

fn operand(e: &Arc<dyn PhysicalExpr>) -> String {
    let text = expression(e);
    let infix = e.downcast_ref::<BinaryExpr>().is_some()
        || e.downcast_ref::<ScalarFunctionExpr>()
            .is_some_and(|f| matches!(spelling(f.name()), Some(Spelling::Infix(_))));
    if infix { format!("({text})") } else { text }
}
