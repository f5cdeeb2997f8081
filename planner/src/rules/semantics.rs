//! PostgreSQL's meaning of operators and casts where DataFusion's is another.
//!
//! Before types are coerced, [`TypedOperands`] says what a comparison or a
//! difference of times is between ([`super::times`]). After they are final,
//! [`ExactOperators`] replaces what would wrap around, cut off or answer
//! `Infinity`: integer arithmetic and float division ([`super::arithmetic`]),
//! casts ([`super::casts`]), and comparisons of intervals ([`super::times`]).

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use super::{arithmetic, casts, times};

type Rewrite = fn(Expr, &DFSchema) -> Result<Transformed<Expr>>;

/// See the module's text; runs before type coercion.
#[derive(Debug, Default)]
pub struct TypedOperands;

impl AnalyzerRule for TypedOperands {
    fn name(&self) -> &str {
        "typed_operands"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        everywhere(plan, times::type_operands)
    }
}

/// See the module's text; runs after type coercion.
#[derive(Debug, Default)]
pub struct ExactOperators;

impl AnalyzerRule for ExactOperators {
    fn name(&self) -> &str {
        "exact_operators"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        everywhere(plan, exact)
    }
}

fn exact(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    casts::check(expr, schema)?
        .transform_data(|e| arithmetic::check(e, schema))?
        .transform_data(|e| times::compare(e, schema))
}

/// Replaces casts in an expression that stands outside of a plan.
pub(crate) fn exact_casts(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(expr.transform_up(|e| casts::check(e, schema))?.data)
}

fn everywhere(plan: LogicalPlan, rewrite: Rewrite) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(|node| in_node(node, rewrite))?.data)
}

fn in_node(plan: LogicalPlan, rewrite: Rewrite) -> Result<Transformed<LogicalPlan>> {
    if matches!(plan, LogicalPlan::Limit(_)) {
        return Ok(Transformed::no(plan));
    }
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        schema.merge(&scan.projected_schema);
    }
    // Names matter where columns come from expressions.
    let named = !matches!(plan, LogicalPlan::Values(_) | LogicalPlan::Sort(_));
    let names = NamePreserver::new(&plan);
    let sorts = matches!(plan, LogicalPlan::Sort(_));
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|e| rewrite(e, &schema))?;
        let expr = if sorts { expr.transform_data(|e| times::sort_key(e, &schema))? } else { expr };
        Ok(if named { expr.update_data(|e| name.restore(e)) } else { expr })
    })?
    .map_data(LogicalPlan::recompute_schema)
}
