//! From a parsed query to a typed logical plan.
//!
//! ```text
//! ast::Query -> PostgreSQL's column names -> DataFusion's binder over a catalog
//!   snapshot -> integer constants -> type coercion -> checked arithmetic
//! ```
//!
//! Batch and streaming bind alike; they differ in what a relation's scan is made
//! of ([`TableSources`]). What comes out has its final names and types, and
//! nothing has been optimised.
//!
//! Views are expanded here. An error inside a view's stored text has no position,
//! since it is not in the statement.

mod columns;
mod context;
mod faults;
mod intervals;
mod loose;
mod names;
mod parameters;
mod scalar;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::Result as DataFusionResult;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use sqlparser::ast;
use tidemill_types::{ObjectId, SqlState};

pub use context::{CatalogTableSource, CatalogTables, TableSources, relation_schema};
pub use scalar::{BoundScalar, bind_scalar};

use crate::catalog::CatalogSnapshot;
use crate::error::PlanError;
use crate::functions::canonical_type;
use crate::rules::fix_types;
use context::CatalogContext;

/// What a query is bound against.
#[derive(Clone, Copy)]
pub struct BindInput<'a> {
    pub snapshot: &'a CatalogSnapshot,
    /// Functions and settings; from [`crate::functions::session_state`].
    pub state: &'a SessionState,
    /// Schemas in which unqualified names are looked up, in order. The system
    /// schema is always looked at first and need not be here.
    pub search_path: &'a [String],
    pub tables: &'a dyn TableSources,
}

impl std::fmt::Debug for BindInput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BindInput").field("search_path", &self.search_path).finish_non_exhaustive()
    }
}

/// A bound query.
#[derive(Clone, Debug)]
pub struct BoundQuery {
    pub plan: LogicalPlan,
    /// The result's column names as PostgreSQL gives them; may repeat.
    pub names: Vec<String>,
    /// The types of `$1..$n`.
    pub parameters: Vec<DataType>,
    /// The catalog objects that the query's own text names.
    pub relations: BTreeSet<ObjectId>,
}

impl BoundQuery {
    /// The result's columns under their PostgreSQL names.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let fields = self.plan.schema().fields().iter().zip(&self.names);
        let renamed: Vec<FieldRef> =
            fields.map(|(f, name)| Arc::new(f.as_ref().clone().with_name(name))).collect();
        Arc::new(Schema::new(renamed))
    }
}

/// Binds a query. `declared` are the types that the client gave for `$1..`;
/// `None` or missing ones are inferred, and text where nothing says otherwise.
///
/// # Errors
/// 42P01, 42703, 42702, 42883, 42804, 42803 and 0A000, with positions where
/// DataFusion knows them or the name can be found in the query.
pub fn bind_query(
    query: &ast::Query,
    input: BindInput<'_>,
    declared: &[Option<DataType>],
) -> Result<BoundQuery, PlanError> {
    let mut named = query.clone();
    intervals::read_in_query(&mut named)?;
    columns::name_columns(&mut named);
    columns::distinguish_columns(&mut named);
    let context = CatalogContext::new(input);
    let count = names::parameter_count(query)?.max(declared.len());
    let plan = bind_plan(named, &context, declared, count)
        .map_err(|error| faults::explain(error, query))?;
    let (plan, parameters) = finish(plan, count, input.state)
        .and_then(|(plan, parameters)| Ok((canonical_output(plan)?, parameters)))
        .map_err(|error| faults::explain(error, query))?;
    let names = columns::output_names(query, &plan);
    Ok(BoundQuery { plan, names, parameters, relations: context.into_relations() })
}

/// Binds, and binds again where a column's name is another spelling of one.
fn bind_plan(
    mut query: ast::Query,
    context: &CatalogContext<'_>,
    declared: &[Option<DataType>],
    parameters: usize,
) -> DataFusionResult<LogicalPlan> {
    let mut respelt = BTreeSet::new();
    loop {
        match bind_as_spelt(query.clone(), context, declared, parameters) {
            Err(error) if loose::respell(&error, &mut query, context, &mut respelt) => {}
            bound => return bound,
        }
    }
}

fn bind_as_spelt(
    query: ast::Query,
    context: &CatalogContext<'_>,
    declared: &[Option<DataType>],
    parameters: usize,
) -> DataFusionResult<LogicalPlan> {
    let options = ParserOptions::from(&context.input().state.config_options().sql_parser);
    let binder = SqlToRel::new_with_options(context, options);
    let field = |i: usize| -> Option<FieldRef> {
        let data_type = declared.get(i)?.clone()?;
        Some(Arc::new(Field::new(format!("${}", i + 1), data_type, true)))
    };
    let mut planner =
        PlannerContext::new().with_prepare_param_data_types((0..parameters).map(field).collect());
    binder.sql_statement_to_plan_with_context(ast::Statement::Query(Box::new(query)), &mut planner)
}

/// Gives the plan its final types. `parameters`: how many there are.
fn finish(
    plan: LogicalPlan,
    parameters: usize,
    state: &SessionState,
) -> DataFusionResult<(LogicalPlan, Vec<DataType>)> {
    let plan = fix_types(plan)?;
    let plan = if parameters > 0 { parameters::give_types(plan)? } else { plan };
    let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
    let types = plan.get_parameter_types()?;
    let types = (1..=parameters)
        .map(|i| match types.get(&format!("${i}")) {
            Some(Some(data_type)) => Ok(data_type.clone()),
            _ => Err(PlanError::Invalid {
                state: SqlState::INDETERMINATE_DATATYPE,
                message: format!("could not determine data type of parameter ${i}"),
                at: None,
                detail: None,
                hint: Some("Add a cast, such as $1::bigint.".to_owned()),
            }
            .into()),
        })
        .collect::<DataFusionResult<_>>()?;
    Ok((plan, types))
}

/// Casts result columns into the mapping of types.
fn canonical_output(plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    let fields = plan.schema().fields();
    if fields.iter().all(|f| canonical_type(f.data_type()).is_none()) {
        return Ok(plan);
    }
    let casts: Vec<Expr> = plan
        .schema()
        .iter()
        .map(|(qualifier, field)| {
            let column = Expr::from((qualifier, field));
            match canonical_type(field.data_type()) {
                Some(t) => cast(column, t).alias_qualified(qualifier.cloned(), field.name()),
                None => column,
            }
        })
        .collect();
    LogicalPlanBuilder::from(plan).project(casts)?.build()
}

#[cfg(test)]
mod tests;
