//! A relation while it is being lowered, and the fragments made so far.
//!
//! All operators stand in one chain: the newest is the input of the next.
//! Invariant of a [`Relation`]: every [`Slot::Column`], `row_id`, `time` and the
//! properties of the newest operator are positions in that operator's schema.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchemaRef};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use tidemill_types::plan::{
    Distribution, EmitMode, Fragment, FragmentGraph, Node, Operator, Output, Properties, StateKind,
};
use tidemill_types::{Diagnostic, ExchangeId, FragmentId, OperatorId, WindowSpec, hidden};

use crate::error::PlanError;
use crate::logical::WindowTvf;

/// What a logical column is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// A column of the newest operator.
    Column(usize),
    /// A bound of the windows that are still to be assigned.
    WindowStart,
    WindowEnd,
}

/// A window function above which it is not yet known what will be done with it.
#[derive(Clone, Debug)]
pub(super) struct PendingWindow {
    pub spec: WindowSpec,
    /// The event time's physical column.
    pub time: usize,
    pub time_type: DataType,
    /// The time column carries the source's watermark: windows close.
    pub watermarked: bool,
    /// Predicates on the window's bounds alone, over columns `window_start` and
    /// `window_end`; to be applied once these exist.
    pub filters: Vec<Expr>,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub logical: DFSchemaRef,
    /// One per column of `logical`.
    pub slots: Vec<Slot>,
    pub window: Option<PendingWindow>,
    /// The column that the source's watermark is declared for.
    pub time: Option<usize>,
    /// Physical `window_start` and `window_end` that determine each other.
    pub window_pair: Option<(usize, usize)>,
    /// An aggregation is below.
    pub aggregated: bool,
}

impl Relation {
    /// The slot of a column.
    pub fn slot(&self, column: &Column) -> Result<Slot, PlanError> {
        Ok(self.slots[self.logical.index_of_column(column)?])
    }

    /// The slots that an expression reads.
    pub fn slots_of(&self, expr: &Expr) -> Result<Vec<Slot>, PlanError> {
        expr.column_refs().into_iter().map(|c| self.slot(c)).collect()
    }

    /// Whether an expression reads a bound of a pending window.
    pub fn reads_window(&self, expr: &Expr) -> Result<bool, PlanError> {
        Ok(self.slots_of(expr)?.iter().any(|s| !matches!(s, Slot::Column(_))))
    }
}

/// The fragments made so far.
#[derive(Debug)]
pub(super) struct Builder {
    pub emit: EmitMode,
    /// Microseconds.
    pub allowed_lateness: i64,
    /// The source is to number its rows.
    pub row_id: bool,
    /// All window functions of the query, for the source to know which time
    /// matters.
    pub windows: Vec<WindowTvf>,
    /// The source declares a watermark.
    pub source_watermark: bool,
    pub notices: Vec<Diagnostic>,
    fragments: Vec<Fragment>,
    nodes: Vec<Node>,
    operators: u32,
    exchanges: u32,
}

impl Builder {
    pub fn new(emit: EmitMode, allowed_lateness: i64) -> Self {
        Builder {
            emit,
            allowed_lateness,
            row_id: false,
            windows: vec![],
            source_watermark: false,
            notices: vec![],
            fragments: vec![],
            nodes: vec![],
            operators: 0,
            exchanges: 0,
        }
    }

    fn newest(&self) -> &Node {
        self.nodes.last().expect("a source is lowered first")
    }

    /// The columns of the newest operator.
    pub fn schema(&self) -> &SchemaRef {
        &self.newest().schema
    }

    /// What is known of the newest operator's output.
    pub fn properties(&self) -> &Properties {
        &self.newest().properties
    }

    /// The newest operator.
    pub fn operator(&self) -> &Operator {
        &self.newest().operator
    }

    /// Gives the newest operator's columns other names.
    pub fn rename(&mut self, schema: SchemaRef) {
        self.nodes.last_mut().expect("a source is lowered first").schema = schema;
    }

    /// Appends an operator over the newest one.
    pub fn push(&mut self, operator: Operator, schema: SchemaRef, properties: Properties) {
        let inputs = self.nodes.len().checked_sub(1).into_iter().collect();
        let id = OperatorId(self.operators);
        self.operators += 1;
        self.nodes.push(Node { id, operator, inputs, schema, properties });
    }

    /// Ends the fragment with an exchange by the hash of `keys` and begins the
    /// next one.
    pub fn exchange(&mut self, keys: Vec<usize>) {
        let id = ExchangeId(self.exchanges);
        self.exchanges += 1;
        let schema = Arc::clone(self.schema());
        let distribution = match keys.is_empty() {
            true => Distribution::Single,
            false => Distribution::Hash(keys.clone()),
        };
        let properties =
            Properties { distribution, state: StateKind::None, ..self.properties().clone() };
        self.close(Output::Exchange { id, keys });
        self.push(Operator::ExchangeInput { exchange: id }, schema, properties);
    }

    fn close(&mut self, output: Output) {
        let id = FragmentId(self.fragments.len() as u32);
        let nodes = std::mem::take(&mut self.nodes);
        self.fragments.push(Fragment { id, nodes, output });
    }

    /// All fragments; the newest operator is the job's root.
    pub fn into_graph(mut self) -> FragmentGraph {
        self.close(Output::None);
        FragmentGraph { fragments: self.fragments }
    }

    /// An expression over the newest operator's columns.
    pub fn expression(
        &self,
        relation: &Relation,
        expr: &Expr,
    ) -> Result<Arc<dyn PhysicalExpr>, PlanError> {
        let logical = create_physical_expr(
            expr,
            &relation.logical,
            &ExecutionProps::new(),
            &PhysicalPlanningContext::default(),
        )?;
        let schema = self.schema();
        let physical =
            logical.transform_up(|e| {
                let Some(column) = e.downcast_ref::<PhysicalColumn>() else {
                    return Ok(Transformed::no(e));
                };
                match relation.slots[column.index()] {
                    Slot::Column(i) => Ok(Transformed::yes(self::column(schema, i))),
                    _ => Err(PlanError::Internal(format!("{} is not assigned yet", column.name()))
                        .into()),
                }
            })?;
        Ok(physical.data)
    }
}

/// A column by position.
pub(super) fn column(schema: &Schema, index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(PhysicalColumn::new(schema.field(index).name(), index))
}

/// The hidden name for a column that the user did not ask for.
pub(super) fn hidden_field(field: &Field) -> FieldRef {
    let name = match hidden::is_hidden(field.name()) {
        true => field.name().clone(),
        false => format!("{}{}", hidden::PREFIX, field.name()),
    };
    Arc::new(field.clone().with_name(name))
}

/// The properties of an operator that emits the same rows with other columns.
/// `new` answers where an input column is in the output. The stream key must be
/// kept; a distribution by lost columns is still the same distribution, but can
/// no longer be named, and counts as that of the splits.
pub(super) fn remap(properties: &Properties, new: impl Fn(usize) -> Option<usize>) -> Properties {
    let all = |columns: &[usize]| columns.iter().map(|c| new(*c)).collect::<Option<Vec<_>>>();
    Properties {
        changelog: properties.changelog,
        stream_key: all(&properties.stream_key).unwrap_or_default(),
        watermarks: properties
            .watermarks
            .iter()
            .filter_map(|w| {
                new(w.column).map(|column| tidemill_types::plan::WatermarkColumn { column, ..*w })
            })
            .collect(),
        distribution: match &properties.distribution {
            Distribution::Hash(keys) => all(keys).map_or(Distribution::Split, Distribution::Hash),
            other => other.clone(),
        },
        row_watermark: properties.row_watermark.and_then(&new),
        state: StateKind::None,
    }
}
