//! The top of a job: visible columns in the user's order, hidden key columns
//! behind them, and the root.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use sqlparser::ast::Ident;
use sqlparser::tokenizer::Span;
use tidemill_types::plan::{ChangelogKind, Materialize, Operator, Properties, Sink, StateKind};
use tidemill_types::{CHANGE_COLUMN, SqlState, hidden};

use super::relation::{Builder, Relation, Slot, column, hidden_field, remap};
use super::window::assign;
use super::{JobInput, JobTarget, PlannedJob};
use crate::bind::BoundQuery;
use crate::error::PlanError;
use crate::parse::fold;

/// The columns of the root, as positions in the newest operator, with names.
struct Layout {
    columns: Vec<(usize, FieldRef)>,
    visible: usize,
    /// Positions in `columns`.
    key: Vec<usize>,
}

/// Appends the final projection and the root.
pub(super) fn finish(
    relation: Relation,
    mut builder: Builder,
    bound: &BoundQuery,
    input: JobInput<'_>,
) -> Result<PlannedJob, PlanError> {
    let relation = assign(relation, &mut builder)?;
    let names = visible_names(&bound.names, input.column_names)?;
    let append_only = builder.properties().changelog == ChangelogKind::AppendOnly;
    let keyed = !append_only || matches!(input.target, JobTarget::MaterializedView { .. });
    let layout = layout(&relation, &names, keyed, &builder)?;
    if let JobTarget::Sink { log: Some(_), connector, .. } = input.target {
        changes_can_be_told(&layout, append_only, connector)?;
    }
    let stored = arrange(&layout, &mut builder);
    let visible = Schema::new(stored.fields()[..layout.visible].to_vec());
    let key = layout.key.clone();
    let properties = Properties { state: root_state(input.target), ..builder.properties().clone() };
    let root = match input.target {
        JobTarget::MaterializedView { id } => {
            Operator::Materialize(Materialize { view: id, key: key.clone(), append_only })
        }
        JobTarget::Sink { id, name, connector, options, log } => Operator::Sink(Sink {
            sink: id,
            name: name.to_owned(),
            connector: connector.to_owned(),
            options: options.clone(),
            columns: (0..layout.visible).collect(),
            key: key.clone(),
            log,
        }),
    };
    builder.push(root, Arc::clone(&stored), properties);
    Ok(PlannedJob {
        visible: Arc::new(visible),
        stored,
        key,
        append_only,
        notices: std::mem::take(&mut builder.notices),
        depends_on: bound.relations.iter().copied().collect(),
        graph: builder.into_graph(),
    })
}

/// What is delivered from a log is read without the engine: a change must show which
/// row it changes, in a column that is not the marker of the change.
fn changes_can_be_told(
    layout: &Layout,
    append_only: bool,
    connector: &str,
) -> Result<(), PlanError> {
    if append_only {
        return Ok(());
    }
    let (visible, hidden) = layout.columns.split_at(layout.visible);
    if let Some((_, field)) = visible.iter().find(|(_, f)| f.name() == CHANGE_COLUMN) {
        let message = format!("column name \"{}\" is that of the kind of change", field.name());
        return Err(PlanError::invalid(SqlState::DUPLICATE_COLUMN, message, Span::empty())
            .with_hint("Rows that can change are delivered with it; rename the column with AS."));
    }
    if !hidden.is_empty() {
        let message = format!(
            "a sink of connector \"{connector}\" needs the columns that its rows are grouped by"
        );
        return Err(PlanError::unsupported(message, Span::empty()).with_hint(
            "Its rows can change, and say by these columns which row does: add them to the \
             SELECT list, or use EMIT ON WINDOW CLOSE.",
        ));
    }
    Ok(())
}

/// A view's contents are kept; a sink's rows are not.
fn root_state(target: JobTarget<'_>) -> StateKind {
    match target {
        JobTarget::MaterializedView { .. } => StateKind::Unbounded,
        JobTarget::Sink { .. } => StateKind::Epoch,
    }
}

fn visible_names(bound: &[String], given: &[Ident]) -> Result<Vec<String>, PlanError> {
    if let Some(extra) = given.get(bound.len()) {
        let message = "too many column names were specified";
        return Err(PlanError::invalid(SqlState::SYNTAX_ERROR, message, extra.span));
    }
    let mut names = bound.to_vec();
    for (name, ident) in names.iter_mut().zip(given) {
        *name = fold(ident);
    }
    let mut seen = HashSet::new();
    for name in &names {
        if !seen.insert(name) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(PlanError::invalid(SqlState::DUPLICATE_COLUMN, message, Span::empty())
                .with_hint("Give each column a name of its own with AS."));
        }
        if hidden::is_hidden(name) {
            let message = format!("column name \"{name}\" is reserved");
            return Err(PlanError::invalid(
                SqlState::INVALID_COLUMN_DEFINITION,
                message,
                Span::empty(),
            )
            .with_hint(format!("Names that begin with {} are the engine's.", hidden::PREFIX)));
        }
    }
    Ok(names)
}

fn layout(
    relation: &Relation,
    names: &[String],
    keyed: bool,
    builder: &Builder,
) -> Result<Layout, PlanError> {
    let schema = builder.schema();
    let mut columns: Vec<(usize, FieldRef)> = relation
        .slots
        .iter()
        .zip(names)
        .map(|(slot, name)| match slot {
            Slot::Column(i) => Ok((*i, Arc::new(schema.field(*i).clone().with_name(name)))),
            _ => Err(PlanError::Internal("a window was not assigned".to_owned())),
        })
        .collect::<Result<_, _>>()?;
    let visible = columns.len();
    let mut key = vec![];
    for wanted in builder.properties().stream_key.iter().filter(|_| keyed) {
        let at = find(&columns, *wanted)
            .or_else(|| find(&columns, other_bound(relation, *wanted)?))
            .unwrap_or_else(|| {
                columns.push((*wanted, hidden_field(schema.field(*wanted))));
                columns.len() - 1
            });
        key.push(at);
    }
    Ok(Layout { columns, visible, key })
}

fn find(columns: &[(usize, FieldRef)], wanted: usize) -> Option<usize> {
    columns.iter().position(|(i, _)| *i == wanted)
}

/// The other bound of the same window identifies it as well.
fn other_bound(relation: &Relation, column: usize) -> Option<usize> {
    let (start, end) = relation.window_pair?;
    match column {
        c if c == start => Some(end),
        c if c == end => Some(start),
        _ => None,
    }
}

/// Makes the newest operator's columns those of the layout.
fn arrange(layout: &Layout, builder: &mut Builder) -> SchemaRef {
    let before = Arc::clone(builder.schema());
    let fields: Vec<FieldRef> = layout.columns.iter().map(|(_, f)| Arc::clone(f)).collect();
    let schema = Arc::new(Schema::new(fields));
    let in_place = layout.columns.iter().map(|(i, _)| *i).eq(0..before.fields().len());
    if in_place && (schema == before || matches!(builder.operator(), Operator::Project { .. })) {
        builder.rename(Arc::clone(&schema));
        return schema;
    }
    let expressions = layout.columns.iter().map(|(i, _)| column(&before, *i)).collect();
    let mut properties = remap(builder.properties(), |c| find(&layout.columns, c));
    properties.stream_key = layout.key.clone();
    builder.push(Operator::Project { expressions }, Arc::clone(&schema), properties);
    schema
}
