//! Types of parameters that the client gave none.
//!
//! What a parameter is compared with gives it its type; what stands as a condition
//! is boolean; a cast's operand has the cast's type; anything else is text, as in
//! PostgreSQL.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as DataFusionResult};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, LogicalPlan, Operator};

/// Gives every parameter a type.
pub(super) fn give_types(plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    let typed = plan.transform_up_with_subqueries(|node| {
        let schema = datafusion::logical_expr::utils::merge_schema(&node.inputs());
        let condition = matches!(node, LogicalPlan::Filter(_) | LogicalPlan::Join(_));
        node.map_expressions(|e| {
            let e = if condition { boolean(e).data } else { e };
            let e = e.transform_down(|e| Ok(conditions(e)))?.data;
            type_parameters(e, &schema)
        })?
        .map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(typed.data)
}

fn type_parameters(expr: Expr, schema: &DFSchema) -> DataFusionResult<Transformed<Expr>> {
    let (expr, _) = expr.infer_placeholder_types(schema)?;
    expr.transform_down(|e| {
        Ok(match e {
            // `$1::integer` is a parameter of that type, not text to be converted.
            Expr::Cast(mut cast) if is_untyped(&cast.expr) => {
                let data_type = cast.field.data_type().clone();
                *cast.expr = typed(*cast.expr, data_type);
                Transformed::yes(Expr::Cast(cast))
            }
            e if is_untyped(&e) => Transformed::yes(typed(e, DataType::Utf8View)),
            other => Transformed::no(other),
        })
    })
}

/// The operands of an expression that can only be conditions.
fn conditions(expr: Expr) -> Transformed<Expr> {
    let boxed = |e: Box<Expr>| Box::new(boolean(*e).data);
    Transformed::yes(match expr {
        Expr::BinaryExpr(b) if matches!(b.op, Operator::And | Operator::Or) => {
            Expr::BinaryExpr(BinaryExpr::new(boxed(b.left), b.op, boxed(b.right)))
        }
        Expr::Not(e) => Expr::Not(boxed(e)),
        Expr::IsTrue(e) => Expr::IsTrue(boxed(e)),
        Expr::IsFalse(e) => Expr::IsFalse(boxed(e)),
        Expr::IsNotTrue(e) => Expr::IsNotTrue(boxed(e)),
        Expr::IsNotFalse(e) => Expr::IsNotFalse(boxed(e)),
        Expr::Case(case) if case.expr.is_none() => {
            let arms = case.when_then_expr.into_iter().map(|(when, then)| (boxed(when), then));
            Expr::Case(Case::new(None, arms.collect(), case.else_expr))
        }
        Expr::AggregateFunction(mut call) => {
            call.params.filter = call.params.filter.map(boxed);
            Expr::AggregateFunction(call)
        }
        other => return Transformed::no(other),
    })
}

/// A condition that is nothing but a parameter is a boolean one.
fn boolean(expr: Expr) -> Transformed<Expr> {
    if is_untyped(&expr) {
        return Transformed::yes(typed(expr, DataType::Boolean));
    }
    Transformed::no(expr)
}

fn is_untyped(expr: &Expr) -> bool {
    matches!(expr, Expr::Placeholder(Placeholder { field: None, .. }))
}

fn typed(parameter: Expr, data_type: DataType) -> Expr {
    match parameter {
        Expr::Placeholder(Placeholder { id, .. }) => {
            let field = Arc::new(Field::new(&id, data_type, true));
            Expr::Placeholder(Placeholder::new_with_field(id, Some(field)))
        }
        other => other,
    }
}
