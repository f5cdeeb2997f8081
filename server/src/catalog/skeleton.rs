//! The stateful skeleton of a job: what its state means, and nothing else of its
//! plan.
//!
//! A job's state outlives the plan that made it. After an upgrade the statement
//! is planned anew, and the state may be given to the new plan only where both
//! agree on what is stored: which operators have state, under which numbers, how
//! its rows are keyed, dealt out and laid out. Filters, projections and names may
//! differ; they have no state.
//!
//! Invariant: plans with equal skeletons can go on with each other's state.

use std::fmt;

use arrow::datatypes::{DataType, Schema};
use tidemill_types::plan::{
    Aggregate, Distribution, EmitMode, Fragment, FragmentGraph, Node, Operator,
};
use tidemill_types::{ObjectId, OperatorId};

/// The operators with state, in plan order.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Skeleton(pub Vec<StatefulOperator>);

/// A source of the skeleton.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SkeletonSource {
    pub operator: OperatorId,
    pub source: ObjectId,
}

/// One operator's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatefulOperator {
    pub operator: OperatorId,
    pub kind: String,
    /// What identifies a row of its state.
    pub keys: Vec<DataType>,
    /// What is kept for each key.
    pub values: Vec<DataType>,
    /// Which worker has a row.
    pub distribution: String,
    /// State tables, numbered one after another.
    pub tables: u32,
    /// What a source reads.
    pub source: Option<ObjectId>,
    /// What else decides about the meaning of its rows.
    pub detail: String,
}

impl Skeleton {
    /// The skeleton of a plan.
    #[must_use]
    pub fn of(graph: &FragmentGraph) -> Self {
        let nodes = graph.fragments.iter().flat_map(|f| f.nodes.iter().map(move |n| (f, n)));
        Skeleton(nodes.filter_map(|(fragment, node)| stateful(fragment, node)).collect())
    }

    /// The operators that read sources.
    pub fn sources(&self) -> impl Iterator<Item = SkeletonSource> + '_ {
        self.0
            .iter()
            .filter_map(|o| Some(SkeletonSource { operator: o.operator, source: o.source? }))
    }

    /// Line by line what this skeleton has and `planned` has not (`-`), and the
    /// other way round (`+`); empty where they are equal.
    #[must_use]
    pub fn difference(&self, planned: &Skeleton) -> String {
        let missing = |of: &Skeleton, from: &Skeleton, sign: char| -> Vec<String> {
            let absent = of.0.iter().filter(|o| !from.0.contains(o));
            absent.map(|o| format!("{sign} {o}")).collect()
        };
        let mut lines = missing(self, planned, '-');
        lines.extend(missing(planned, self, '+'));
        if lines.is_empty() && self != planned {
            lines.push("the operators stand in another order".to_owned());
        }
        lines.join("\n")
    }
}

fn stateful(fragment: &Fragment, node: &Node) -> Option<StatefulOperator> {
    let input = node.inputs.first().map(|i| &fragment.nodes[*i]);
    let (keys, values, detail) = match &node.operator {
        Operator::Source(scan) => (
            Vec::new(),
            Vec::new(),
            format!("watermark {} of {}", scan.watermark_slot, scan.source),
        ),
        Operator::GlobalAggregate(aggregate) => aggregate_state(aggregate, &input?.schema),
        Operator::Materialize(view) => {
            let rows = &input?.schema;
            let key = if view.append_only { Vec::new() } else { view.key.clone() };
            let columns = 0..rows.fields().len();
            let value: Vec<usize> = columns.filter(|c| !key.contains(c)).collect();
            let detail = format!("columns {key:?} {value:?}, append-only: {}", view.append_only);
            (types(rows, &key), types(rows, &value), detail)
        }
        Operator::Sink(sink) => {
            // Without a log its rows are the connector's.
            let log = sink.log.as_ref()?;
            let detail = format!("log of {} lanes, incarnation {}", log.lanes, log.incarnation);
            (Vec::new(), types(&input?.schema, &sink.columns), detail)
        }
        // Time operators and filters keep nothing between epochs.
        Operator::ExchangeInput { .. }
        | Operator::Filter { .. }
        | Operator::Project { .. }
        | Operator::AssignSlices(_)
        | Operator::AssignWindows(_)
        | Operator::LocalAggregate(_) => return None,
    };
    Some(StatefulOperator {
        operator: node.id,
        kind: node.operator.name().to_owned(),
        keys,
        values,
        distribution: distribution(input.unwrap_or(node)),
        tables: node.operator.state_tables(),
        source: match &node.operator {
            Operator::Source(scan) => Some(scan.source),
            _ => None,
        },
        detail,
    })
}

fn aggregate_state(
    aggregate: &Aggregate,
    partials: &Schema,
) -> (Vec<DataType>, Vec<DataType>, String) {
    let calls = aggregate.calls.iter().enumerate();
    let values = calls.flat_map(|(i, c)| c.state_fields(i)).map(|f| f.data_type().clone());
    let functions: Vec<_> = aggregate.calls.iter().map(|c| c.function.name()).collect();
    let window = aggregate.window.as_ref().map_or_else(
        || "no window".to_owned(),
        |w| {
            let (size, slide, offset) = (w.spec.size, w.spec.slide, w.spec.offset);
            format!("window of {size} us every {slide} us from {offset} us")
        },
    );
    let emit = match aggregate.emit {
        EmitMode::OnUpdate => "on update",
        EmitMode::OnWindowClose => "on window close",
    };
    let detail = format!("{}, {window}, {emit}", functions.join(", "));
    (types(partials, &aggregate.group), values.collect(), detail)
}

fn types(schema: &Schema, columns: &[usize]) -> Vec<DataType> {
    columns.iter().map(|c| schema.field(*c).data_type().clone()).collect()
}

fn distribution(input: &Node) -> String {
    match &input.properties.distribution {
        Distribution::Split => "by split".to_owned(),
        Distribution::Hash(columns) => format!("by the hash of {columns:?}"),
        Distribution::Single => "on one worker".to_owned(),
    }
}

impl fmt::Display for StatefulOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |types: &[DataType]| {
            types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        write!(f, "{} ({}): {}", self.kind, self.operator, self.detail)?;
        if self.tables > 0 {
            let (keys, values) = (list(&self.keys), list(&self.values));
            write!(f, "; key ({keys}), value ({values}), {} table(s)", self.tables)?;
        }
        write!(f, "; {}", self.distribution)
    }
}
