//! Expressions outside of queries: generated columns and watermarks.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result as DataFusionResult};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    EmptyRelation, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder,
};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use sqlparser::ast::{self, Spanned};

use super::context::{CatalogContext, CatalogTables};
use super::{BindInput, finish};
use crate::catalog::CatalogSnapshot;
use crate::error::PlanError;
use crate::functions::canonical_type;

/// Shared by all: expressions of sources do not depend on a session.
static STATE: LazyLock<SessionState> = LazyLock::new(|| crate::functions::planning_state("UTC"));
static NO_OBJECTS: LazyLock<CatalogSnapshot> = LazyLock::new(CatalogSnapshot::default);

/// A typed expression over the columns of a schema.
#[derive(Clone, Debug)]
pub struct BoundScalar {
    pub expr: Expr,
    pub data_type: DataType,
    pub nullable: bool,
}

impl BoundScalar {
    /// For execution over batches of `schema`, the one that it was bound to.
    ///
    /// # Errors
    /// XX000: DataFusion cannot execute what it bound.
    pub fn physical(&self, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>, PlanError> {
        let schema = DFSchema::try_from(schema.clone())?;
        Ok(create_physical_expr(
            &self.expr,
            &schema,
            &ExecutionProps::new(),
            &PhysicalPlanningContext::default(),
        )?)
    }
}

/// Binds a scalar expression over `schema`; with `cast_to`, to that type.
///
/// # Errors
/// As for a query; 0A000 also for aggregates, subqueries and functions whose
/// value changes from call to call.
pub fn bind_scalar(
    expr: &ast::Expr,
    schema: &Schema,
    cast_to: Option<&DataType>,
) -> Result<BoundScalar, PlanError> {
    let mut read = expr.clone();
    super::intervals::read_in_expr(&mut read)?;
    let bound = bind(&read, schema, cast_to).map_err(PlanError::from)?;
    let refused = refused(&bound.expr)?;
    match refused {
        Some(what) => Err(PlanError::unsupported(
            format!("{what} is not supported in a generated column or watermark"),
            expr.span(),
        )),
        None => Ok(bound),
    }
}

fn bind(
    sql: &ast::Expr,
    given: &Schema,
    cast_to: Option<&DataType>,
) -> DataFusionResult<BoundScalar> {
    let context = CatalogContext::new(BindInput {
        snapshot: &NO_OBJECTS,
        state: &STATE,
        search_path: &[],
        tables: &CatalogTables,
    });
    let options = ParserOptions::from(&STATE.config_options().sql_parser);
    let schema = Arc::new(DFSchema::try_from(given.clone())?);
    let bound = SqlToRel::new_with_options(&context, options).sql_to_expr(
        sql.clone(),
        &schema,
        &mut PlannerContext::new(),
    )?;
    let bound = match cast_to {
        Some(data_type) => bound.cast_to(data_type, &schema)?,
        None => bound,
    };
    let input = LogicalPlan::EmptyRelation(EmptyRelation {
        produce_one_row: false,
        schema: Arc::clone(&schema),
    });
    let plan = LogicalPlanBuilder::from(input).project([bound.alias("value")])?.build()?;
    let (plan, _) = finish(plan, 0, &STATE)?;
    let field = plan.schema().field(0);
    let (data_type, nullable) = (field.data_type().clone(), field.is_nullable());
    if data_type != DataType::Null
        && let Some(canonical) = canonical_type(&data_type)
        && cast_to.is_none()
    {
        return bind(sql, given, Some(&canonical));
    }
    let expr = plan.expressions().remove(0).unalias_nested().data;
    Ok(BoundScalar { expr, data_type, nullable })
}

/// What makes an expression unfit for a source, for a message.
fn refused(expr: &Expr) -> DataFusionResult<Option<String>> {
    let mut found = None;
    expr.apply(|e| {
        found = match e {
            Expr::AggregateFunction(_) => Some("an aggregate".to_owned()),
            Expr::WindowFunction(_) => Some("a window function".to_owned()),
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) => {
                Some("a subquery".to_owned())
            }
            Expr::Placeholder(_) => Some("a parameter".to_owned()),
            Expr::ScalarFunction(f) if crate::lower::is_impure(f) => {
                Some(format!("{}()", f.func.name()))
            }
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    })?;
    Ok(found)
}
