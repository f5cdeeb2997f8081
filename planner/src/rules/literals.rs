//! Types of constants and of function results.
//!
//! Integer constants are `integer` where they fit, as in PostgreSQL; DataFusion
//! reads all of them as `bigint`, and then `sum(1)` would be numeric and
//! `int_column + 1` bigint. Text constants, and what functions return, get the
//! types of the one mapping ([`canonical_type`]).
//!
//! Runs once, straight after binding: later a `bigint` constant may be a
//! parameter's value or the result of a cast, whose type must stay. Arguments of
//! functions are left alone, since some are checked to be constants of a certain
//! type, except where the argument's type is the result's.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Values, cast};

use crate::functions::canonical_type;

/// Functions whose result has the type of their arguments, or tells it.
const TRANSPARENT: &[&str] =
    &["sum", "avg", "min", "max", "abs", "coalesce", "nullif", "greatest", "least", "pg_typeof"];

/// Rewrites all of `plan`, subqueries included.
pub fn fix_types(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(narrow_node)?.data)
}

fn narrow_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let plan = match plan {
        LogicalPlan::Values(values) => return narrow_values(values),
        LogicalPlan::Limit(_) | LogicalPlan::Extension(_) => return Ok(Transformed::no(plan)),
        other => other,
    };
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_down(narrow)?;
        let expr = expr.transform_data(|e| e.transform_up(|e| canonical_result(e, &schema)))?;
        Ok(expr.update_data(|e| name.restore(e)))
    })?
    .map_data(LogicalPlan::recompute_schema)
}

/// A column of VALUES is `integer` where all its constants fit.
fn narrow_values(values: Values) -> Result<Transformed<LogicalPlan>> {
    let Values { schema, mut values } = values;
    let mut fields = Vec::with_capacity(schema.fields().len());
    let mut narrowed = false;
    for (column, (qualifier, field)) in schema.iter().enumerate() {
        let narrow: Option<Vec<Expr>> =
            values.iter().map(|row| row.get(column).and_then(small_integer)).collect();
        let mut field = Arc::clone(field);
        if let Some(narrow) = narrow.filter(|_| *field.data_type() == DataType::Int64) {
            for (row, expr) in values.iter_mut().zip(narrow) {
                row[column] = expr;
            }
            field = Arc::new(field.as_ref().clone().with_data_type(DataType::Int32));
            narrowed = true;
        }
        fields.push((qualifier.cloned(), field));
    }
    let schema = Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?);
    let values = LogicalPlan::Values(Values { schema, values });
    Ok(if narrowed { Transformed::yes(values) } else { Transformed::no(values) })
}

/// The constant, or NULL, as an `integer` if it is one.
fn small_integer(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata) => {
            let value = i32::try_from(*value).ok()?;
            Some(Expr::Literal(ScalarValue::Int32(Some(value)), metadata.clone()))
        }
        Expr::Literal(ScalarValue::Null | ScalarValue::Int64(None), metadata) => {
            Some(Expr::Literal(ScalarValue::Int32(None), metadata.clone()))
        }
        Expr::Cast(inner) if matches!(&*inner.expr, Expr::Literal(ScalarValue::Null, _)) => {
            Some(Expr::Literal(ScalarValue::Int32(None), None))
        }
        _ => None,
    }
}

fn narrow(expr: Expr) -> Result<Transformed<Expr>> {
    match &expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata) => {
            Ok(match i32::try_from(*value) {
                Ok(small) => Transformed::yes(Expr::Literal(
                    ScalarValue::Int32(Some(small)),
                    metadata.clone(),
                )),
                Err(_) => Transformed::no(expr),
            })
        }
        Expr::Literal(ScalarValue::Utf8(text), metadata) => Ok(Transformed::yes(Expr::Literal(
            ScalarValue::Utf8View(text.clone()),
            metadata.clone(),
        ))),
        // A constant in quotes has no type of its own.
        Expr::ScalarFunction(ScalarFunction { func, args })
            if func.name() == "pg_typeof"
                && matches!(args.as_slice(), [Expr::Literal(ScalarValue::Utf8(_), _)]) =>
        {
            let unknown = ScalarValue::Utf8View(Some("unknown".to_owned()));
            Ok(Transformed::yes(Expr::Literal(unknown, None)))
        }
        Expr::ScalarFunction(ScalarFunction { func, .. })
            if !TRANSPARENT.contains(&func.name()) && has_literal(&expr) =>
        {
            leave_literals(expr)
        }
        Expr::AggregateFunction(AggregateFunction { func, .. })
            if !TRANSPARENT.contains(&func.name()) =>
        {
            Ok(Transformed::new(expr, false, TreeNodeRecursion::Jump))
        }
        Expr::WindowFunction(window) if !is_transparent_window(window) => {
            Ok(Transformed::new(expr, false, TreeNodeRecursion::Jump))
        }
        _ => Ok(Transformed::no(expr)),
    }
}

fn is_transparent_window(window: &WindowFunction) -> bool {
    TRANSPARENT.contains(&window.fun.name())
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Int64(Some(_)) | ScalarValue::Utf8(_), _))
}

fn has_literal(call: &Expr) -> bool {
    matches!(call, Expr::ScalarFunction(f) if f.args.iter().any(is_literal))
}

/// Rewrites below the arguments of a call, but not arguments that are literals.
fn leave_literals(call: Expr) -> Result<Transformed<Expr>> {
    let call = call.map_children(|argument| {
        if is_literal(&argument) {
            return Ok(Transformed::no(argument));
        }
        argument.transform_down(narrow)
    })?;
    Ok(Transformed::new(call.data, call.transformed, TreeNodeRecursion::Jump))
}

/// A call whose result has a type outside of the mapping is cast into it.
fn canonical_result(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if !matches!(expr, Expr::ScalarFunction(_)) {
        return Ok(Transformed::no(expr));
    }
    // A call that has no type yet is left to type coercion, which says why.
    match expr.get_type(schema).ok().and_then(|t| canonical_type(&t)) {
        Some(data_type) => Ok(Transformed::yes(cast(expr, data_type))),
        None => Ok(Transformed::no(expr)),
    }
}
