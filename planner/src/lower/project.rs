//! Projections and filters.
//!
//! A projection that only renames and reorders becomes new slots and no operator.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::DFSchemaRef;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, Operator};
use datafusion::physical_expr::PhysicalExpr;
use tidemill_types::plan::{Operator as Dataflow, Properties, StateKind};

use super::relation::{Builder, Relation, Slot, column, hidden_field, remap};
use super::window;
use crate::error::PlanError;

/// The columns of a projection that is being put together, each once.
#[derive(Default)]
pub(super) struct Outputs {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    fields: Vec<FieldRef>,
    /// Where an input column is in the output.
    kept: Vec<(usize, usize)>,
}

impl Outputs {
    /// Adds an input column under `name`; a column that is there already is not
    /// repeated. `None`: under its own name.
    pub fn keep(&mut self, schema: &Schema, input: usize, name: Option<&str>) -> usize {
        if let Some(at) = self.position(input) {
            return at;
        }
        let field = schema.field(input);
        let field = match name {
            Some(name) => Arc::new(field.clone().with_name(name)),
            None => Arc::new(field.clone()),
        };
        self.kept.push((input, self.fields.len()));
        self.add(column(schema, input), field)
    }

    /// Adds an input column that the user did not ask for.
    pub fn keep_hidden(&mut self, schema: &Schema, input: usize) -> usize {
        let field = hidden_field(schema.field(input));
        self.keep(schema, input, Some(field.name()))
    }

    /// Adds an expression.
    pub fn add(&mut self, expression: Arc<dyn PhysicalExpr>, field: FieldRef) -> usize {
        self.expressions.push(expression);
        self.fields.push(field);
        self.fields.len() - 1
    }

    /// Where an input column is.
    pub fn position(&self, input: usize) -> Option<usize> {
        self.kept.iter().find(|(i, _)| *i == input).map(|(_, at)| *at)
    }

    /// Appends the projection.
    pub fn push(self, builder: &mut Builder) {
        let properties = remap(builder.properties(), |c| self.position(c));
        let schema = Arc::new(Schema::new(self.fields));
        builder.push(Dataflow::Project { expressions: self.expressions }, schema, properties);
    }
}

/// Appends a projection on `keep`, which must hold every slot of `relation`.
pub(super) fn keep_columns(relation: Relation, keep: &[usize], builder: &mut Builder) -> Relation {
    let schema = Arc::clone(builder.schema());
    let mut outputs = Outputs::default();
    for input in keep {
        outputs.keep(&schema, *input, None);
    }
    let moved = relocate(relation, &outputs);
    outputs.push(builder);
    moved
}

/// The same relation after a projection that keeps its columns elsewhere.
fn relocate(relation: Relation, outputs: &Outputs) -> Relation {
    let slots = relation.slots.iter().map(|slot| match slot {
        Slot::Column(i) => Slot::Column(outputs.position(*i).expect("slots are kept")),
        bound => *bound,
    });
    Relation {
        slots: slots.collect(),
        window: relation.window.map(|w| super::relation::PendingWindow {
            time: outputs.position(w.time).expect("a pending window's time is kept"),
            ..w
        }),
        time: relation.time.and_then(|t| outputs.position(t)),
        window_pair: relation
            .window_pair
            .and_then(|(s, e)| Some((outputs.position(s)?, outputs.position(e)?))),
        ..relation
    }
}

/// Lowers a projection.
pub(super) fn project(
    input: Relation,
    expressions: &[Expr],
    logical: &DFSchemaRef,
    builder: &mut Builder,
) -> Result<Relation, PlanError> {
    let bare: Vec<Expr> = expressions.iter().map(|e| e.clone().unalias_nested().data).collect();
    if let Some(slots) = only_columns(&input, &bare)? {
        return Ok(Relation { slots, logical: Arc::clone(logical), ..input });
    }
    let computes_with_window = bare
        .iter()
        .filter(|e| !matches!(e, Expr::Column(_)))
        .map(|e| input.reads_window(e))
        .collect::<Result<Vec<_>, _>>()?
        .contains(&true);
    let input = match computes_with_window {
        true => window::assign(input, builder)?,
        false => input,
    };
    let schema = Arc::clone(builder.schema());
    let mut outputs = Outputs::default();
    let mut slots = Vec::with_capacity(bare.len());
    for (expr, field) in bare.iter().zip(logical.fields()) {
        let slot = match expr {
            Expr::Column(c) => match input.slot(c)? {
                Slot::Column(i) => Slot::Column(outputs.keep(&schema, i, Some(field.name()))),
                bound => bound,
            },
            computed => {
                let physical = builder.expression(&input, computed)?;
                let output = computed_field(field.name(), &physical, &schema)?;
                Slot::Column(outputs.add(physical, output))
            }
        };
        slots.push(slot);
    }
    let extra = carried(&input, builder.properties());
    for i in extra {
        outputs.keep_hidden(&schema, i);
    }
    // The input's own slots may be gone: the output has slots of its own.
    let moved = relocate(Relation { slots: vec![], ..input }, &outputs);
    outputs.push(builder);
    Ok(Relation { slots, logical: Arc::clone(logical), ..moved })
}

fn only_columns(input: &Relation, expressions: &[Expr]) -> Result<Option<Vec<Slot>>, PlanError> {
    expressions
        .iter()
        .map(|e| match e {
            Expr::Column(c) => input.slot(c).map(Some),
            _ => Ok(None),
        })
        .collect()
}

/// The field of a computed column.
pub(super) fn computed_field(
    name: &str,
    expression: &Arc<dyn PhysicalExpr>,
    input: &Schema,
) -> Result<FieldRef, PlanError> {
    let data_type: DataType = expression.data_type(input)?;
    Ok(Arc::new(Field::new(name, data_type, expression.nullable(input)?)))
}

/// Columns that operators above need although the user does not.
fn carried(relation: &Relation, properties: &Properties) -> Vec<usize> {
    let mut columns = properties.stream_key.clone();
    columns.extend(properties.row_watermark);
    columns.extend(relation.window.as_ref().map(|w| w.time));
    columns
}

/// Lowers a filter. Of a conjunction, the part that concerns only the bounds of a
/// pending window waits for it.
pub(super) fn filter(
    mut input: Relation,
    predicate: &Expr,
    builder: &mut Builder,
) -> Result<Relation, PlanError> {
    let (mut now, mut on_window, mut mixed) = (vec![], vec![], false);
    for part in split_conjunction(predicate) {
        let slots = input.slots_of(part)?;
        let columns = slots.iter().filter(|s| matches!(s, Slot::Column(_))).count();
        if columns == slots.len() {
            now.push(part.clone());
        } else {
            mixed |= columns > 0;
            on_window.push(part.clone());
        }
    }
    if mixed {
        input = window::assign(input, builder)?;
        now.append(&mut on_window);
    }
    // `x <> 0 AND 1 / x > 2` must not divide by zero: what can fail gets a filter
    // of its own, behind the others.
    let (risky, safe): (Vec<Expr>, Vec<Expr>) = now.into_iter().partition(can_fail);
    for predicate in conjunction(safe).into_iter().chain(risky) {
        push_filter(&input, &predicate, builder)?;
    }
    for part in on_window {
        window::defer(&mut input, part)?;
    }
    Ok(input)
}

/// Whether evaluating an expression can end in an error.
fn can_fail(expr: &Expr) -> bool {
    expr.exists(|e| {
        Ok(match e {
            Expr::ScalarFunction(_) | Expr::Cast(_) => true,
            Expr::BinaryExpr(b) => matches!(
                b.op,
                Operator::Divide
                    | Operator::Modulo
                    | Operator::Plus
                    | Operator::Minus
                    | Operator::Multiply
            ),
            _ => false,
        })
    })
    .unwrap_or(true)
}

/// Appends a filter.
pub(super) fn push_filter(
    relation: &Relation,
    predicate: &Expr,
    builder: &mut Builder,
) -> Result<(), PlanError> {
    let predicate = builder.expression(relation, predicate)?;
    let schema = Arc::clone(builder.schema());
    let properties = Properties { state: StateKind::None, ..builder.properties().clone() };
    builder.push(Dataflow::Filter { predicate }, schema, properties);
    Ok(())
}
