//! From a view's query to the dataflow that maintains it.
//!
//! ```text
//! query --bind--> logical plan --rules--> logical plan --lower--> fragments
//! ```
//!
//! Lowering walks the logical plan bottom-up and appends operators. A logical
//! column is a **slot** ([`relation::Slot`]): a physical column, or a bound of a
//! window that has not been assigned yet. Renaming and reordering therefore cost
//! nothing, a window function becomes slices or repeated rows only when it is
//! known what is above it, and columns that the engine adds stay out of the way.
//!
//! Supported: one source through views and subqueries, filters, projections,
//! window functions, one aggregation, DISTINCT, and filters and projections over
//! it. All else is 0A000, found in the text where possible ([`refuse`]) so that
//! it has a position, and in the plan otherwise.

mod aggregate;
mod finish;
mod project;
mod refuse;
mod relation;
mod source;
mod window;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Distinct, LogicalPlan};
use sqlparser::ast::{self, Spanned};
use sqlparser::tokenizer::Span;
use tidemill_types::plan::{EmitMode, FragmentGraph, SinkLog};
use tidemill_types::{Diagnostic, ObjectId, Options};

use crate::bind::{BindInput, BoundQuery, CatalogTables, bind_query};
use crate::catalog::CatalogSnapshot;
use crate::error::PlanError;
use crate::logical::WindowTvf;
use crate::rules::optimize_streaming;
use relation::{Builder, Relation};

pub(crate) use refuse::is_impure;

/// A statement that starts a job.
#[derive(Clone, Copy)]
pub struct JobInput<'a> {
    pub query: &'a ast::Query,
    /// `CREATE ... x (a, b)`: names for the first columns; empty: the query's own.
    pub column_names: &'a [ast::Ident],
    pub emit: EmitMode,
    pub target: JobTarget<'a>,
    pub snapshot: &'a CatalogSnapshot,
    /// Schemas for unqualified names.
    pub search_path: &'a [String],
    /// From [`crate::functions::session_state`] or `planning_state`.
    pub state: &'a SessionState,
    /// The setting `allowed_lateness`, in microseconds, not negative.
    pub allowed_lateness: i64,
}

impl std::fmt::Debug for JobInput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobInput")
            .field("query", &self.query.to_string())
            .field("emit", &self.emit)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// Where the rows go.
#[derive(Clone, Copy, Debug)]
pub enum JobTarget<'a> {
    MaterializedView {
        id: ObjectId,
    },
    Sink {
        id: ObjectId,
        name: &'a str,
        connector: &'a str,
        options: &'a Options,
        /// As the connector says; `None`: it has no log.
        log: Option<SinkLog>,
    },
}

/// A job, ready to be deployed.
#[derive(Clone, Debug)]
pub struct PlannedJob {
    pub graph: FragmentGraph,
    /// The columns that the user sees.
    pub visible: SchemaRef,
    /// All columns of the root: the visible ones first, then hidden key columns.
    pub stored: SchemaRef,
    /// Columns of `stored` that identify a row; empty: there is one row, or for
    /// an append-only sink, none is needed.
    pub key: Vec<usize>,
    /// No row is ever changed or taken back.
    pub append_only: bool,
    /// For the client: state that grows for ever, and the like.
    pub notices: Vec<Diagnostic>,
    /// What the statement's text names, without repeats.
    pub depends_on: Vec<ObjectId>,
}

/// Plans a job.
///
/// # Errors
/// Those of [`bind_query`]; 0A000 for what cannot be maintained, 42P17 for EMIT
/// ON WINDOW CLOSE where no window ever closes, 42701 for repeated columns.
pub fn plan_job(input: JobInput<'_>) -> Result<PlannedJob, PlanError> {
    refuse::in_text(input.query)?;
    let bound = bind_query(
        input.query,
        BindInput {
            snapshot: input.snapshot,
            state: input.state,
            search_path: input.search_path,
            tables: &CatalogTables,
        },
        &[],
    )?;
    refuse::in_plan(&bound, input.query)?;
    let plan = optimize_streaming(bound.plan.clone(), input.state)?;
    lower_job(&plan, &bound, input).map_err(|e| e.or_at(input.query.span()))
}

fn lower_job(
    plan: &LogicalPlan,
    bound: &BoundQuery,
    input: JobInput<'_>,
) -> Result<PlannedJob, PlanError> {
    let aggregates = contains(plan, |p| matches!(p, LogicalPlan::Aggregate(_)));
    let is_view = matches!(input.target, JobTarget::MaterializedView { .. });
    let mut builder = Builder::new(input.emit, input.allowed_lateness);
    builder.row_id = is_view && !aggregates;
    builder.windows = windows(plan);
    let relation = lower(plan, &mut builder)?;
    if input.emit == EmitMode::OnWindowClose && !aggregates {
        return Err(PlanError::unsupported(
            "EMIT ON WINDOW CLOSE is not supported without a windowed aggregation",
            Span::empty(),
        )
        .with_hint("Group by window_start or window_end of TUMBLE or HOP, or leave EMIT out."));
    }
    finish::finish(relation, builder, bound, input)
}

fn contains(plan: &LogicalPlan, wanted: impl Fn(&LogicalPlan) -> bool) -> bool {
    plan.exists(|p| Ok(wanted(p))).unwrap_or(false)
}

/// All window functions of a plan.
fn windows(plan: &LogicalPlan) -> Vec<WindowTvf> {
    let mut found = vec![];
    let visited = plan.apply(|p| {
        if let Ok(tvf) = <&WindowTvf>::try_from(p) {
            found.push(tvf.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(visited.is_ok(), "the visitor never fails");
    found
}

/// Appends the operators of `plan`.
fn lower(plan: &LogicalPlan, builder: &mut Builder) -> Result<Relation, PlanError> {
    match plan {
        LogicalPlan::TableScan(scan) => source::lower(scan, builder),
        LogicalPlan::SubqueryAlias(alias) => {
            let relation = lower(&alias.input, builder)?;
            Ok(Relation { logical: Arc::clone(&alias.schema), ..relation })
        }
        LogicalPlan::Projection(projection) => {
            let input = lower(&projection.input, builder)?;
            project::project(input, &projection.expr, &projection.schema, builder)
        }
        LogicalPlan::Filter(filter) => {
            let input = lower(&filter.input, builder)?;
            project::filter(input, &filter.predicate, builder)
        }
        LogicalPlan::Aggregate(node) => {
            let input = lower(&node.input, builder)?;
            aggregate::lower(input, node, builder)
        }
        LogicalPlan::Extension(_) => {
            let tvf = <&WindowTvf>::try_from(plan)?;
            let input = lower(&tvf.input, builder)?;
            window::lower(input, tvf, builder)
        }
        other => Err(refused(other)),
    }
}

fn refused(plan: &LogicalPlan) -> PlanError {
    let what = match plan {
        LogicalPlan::Join(_) => "a join",
        LogicalPlan::Union(_) => "UNION",
        LogicalPlan::Sort(_) => "ORDER BY",
        LogicalPlan::Limit(_) => "LIMIT",
        LogicalPlan::Window(_) => "a window function",
        LogicalPlan::Distinct(Distinct::On(_)) => "DISTINCT ON",
        LogicalPlan::Distinct(_) => "DISTINCT",
        LogicalPlan::EmptyRelation(_) => "a query without a relation",
        LogicalPlan::Values(_) => "VALUES",
        LogicalPlan::Unnest(_) => "UNNEST",
        LogicalPlan::Subquery(_) => "a subquery",
        LogicalPlan::RecursiveQuery(_) => "WITH RECURSIVE",
        _ => "this query",
    };
    refuse::in_view(what, Span::empty())
}

#[cfg(test)]
mod tests;
