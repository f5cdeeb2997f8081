//! What a view cannot do yet, found in the query's text so that the error points
//! at it, and in the bound plan where only the plan shows it.

use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, Volatility};
use sqlparser::ast::{
    self, DuplicateTreatment, FunctionArguments, GroupByExpr, Query, SetExpr, SetOperator, Spanned,
};
use sqlparser::tokenizer::Span;

use crate::bind::BoundQuery;
use crate::error::PlanError;
use crate::walk::{Syntax, walk};

/// 0A000 for `what` in a view.
pub(super) fn in_view(what: &str, span: Span) -> PlanError {
    PlanError::unsupported(format!("{what} is not supported in a materialized view or sink"), span)
        .with_hint(
            "Supported are filters, projections, TUMBLE, HOP, DISTINCT and one GROUP BY over one \
             source; a SELECT can do more over the finished view.",
        )
}

/// Looks through the statement's own text.
pub(super) fn in_text(query: &Query) -> Result<(), PlanError> {
    let mut error = None;
    walk(query, &mut |syntax| {
        error = match syntax {
            Syntax::Query(query) => refused_in_query(query),
            Syntax::Expr(expr) => refused_expr(expr).map(|what| in_view(what, expr.span())),
        };
        match error {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    });
    error.map_or(Ok(()), Err)
}

fn refused_in_query(query: &Query) -> Option<PlanError> {
    if let Some(order_by) = &query.order_by {
        return Some(
            in_view("ORDER BY", order_by.span())
                .with_hint("A view has no order: put ORDER BY into the SELECT that reads it."),
        );
    }
    if let Some(limit) = &query.limit_clause {
        return Some(in_view("LIMIT", limit.span()));
    }
    if query.fetch.is_some() {
        return Some(in_view("FETCH", query.span()));
    }
    if let Some(with) = query.with.as_ref().filter(|w| w.recursive) {
        return Some(in_view("WITH RECURSIVE", with.span()));
    }
    refused_in_body(&query.body)
}

fn refused_in_body(body: &SetExpr) -> Option<PlanError> {
    match body {
        SetExpr::Select(select) => refused_in_select(select),
        SetExpr::SetOperation { op, right, .. } => {
            let what = match op {
                SetOperator::Union => "UNION",
                SetOperator::Except | SetOperator::Minus => "EXCEPT",
                SetOperator::Intersect => "INTERSECT",
            };
            Some(in_view(what, right.span()))
        }
        SetExpr::Values(values) => Some(in_view("VALUES", values.span())),
        _ => None,
    }
}

fn refused_in_select(select: &ast::Select) -> Option<PlanError> {
    if let Some(ast::Distinct::On(columns)) = &select.distinct {
        let span = columns.first().map_or_else(Span::empty, Spanned::span);
        return Some(in_view("DISTINCT ON", span));
    }
    if let Some(second) = select.from.get(1) {
        return Some(in_view("a join", second.span()));
    }
    if let Some(join) = select.from.first().and_then(|f| f.joins.first()) {
        return Some(in_view("a join", join.relation.span()));
    }
    if let Some(qualify) = &select.qualify {
        return Some(in_view("QUALIFY", qualify.span()));
    }
    if let GroupByExpr::Expressions(expressions, modifiers) = &select.group_by {
        if !modifiers.is_empty() {
            return Some(in_view("GROUP BY with ROLLUP, CUBE or TOTALS", select.group_by.span()));
        }
        let sets = expressions.iter().find(|e| {
            matches!(e, ast::Expr::Rollup(_) | ast::Expr::Cube(_) | ast::Expr::GroupingSets(_))
        });
        if let Some(sets) = sets {
            return Some(in_view("GROUPING SETS, ROLLUP or CUBE", sets.span()));
        }
    }
    None
}

fn refused_expr(expr: &ast::Expr) -> Option<&'static str> {
    match expr {
        ast::Expr::Function(function) => {
            if function.over.is_some() {
                return Some("a window function");
            }
            match &function.args {
                FunctionArguments::List(list)
                    if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) =>
                {
                    Some("an aggregate with DISTINCT")
                }
                _ => None,
            }
        }
        // A subquery as the relation of TUMBLE or HOP is an argument of a
        // relation, which is not visited as an operand of anything.
        ast::Expr::Exists { .. } => Some("EXISTS"),
        ast::Expr::InSubquery { .. } => Some("IN with a subquery"),
        ast::Expr::Value(value) if matches!(value.value, ast::Value::Placeholder(_)) => {
            Some("a parameter")
        }
        _ => None,
    }
}

/// Functions whose value depends on when or how often they are called, although
/// DataFusion counts them as the same within a query.
const BY_CLOCK: &[&str] = &["now", "current_timestamp", "current_date", "current_time", "today"];

/// Whether a call gives another result when it is made again.
pub(crate) fn is_impure(call: &ScalarFunction) -> bool {
    call.func.signature().volatility == Volatility::Volatile || BY_CLOCK.contains(&call.func.name())
}

/// Looks for impure functions and scalar subqueries.
pub(super) fn in_plan(bound: &BoundQuery, query: &Query) -> Result<(), PlanError> {
    let mut found: Option<String> = None;
    bound.plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                match e {
                    Expr::ScalarFunction(f) if is_impure(f) => {
                        found = Some(f.func.name().to_owned());
                    }
                    Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) => {
                        found = Some(String::new());
                    }
                    _ => return Ok(TreeNodeRecursion::Continue),
                }
                Ok(TreeNodeRecursion::Stop)
            })
        })
    })?;
    match found {
        None => Ok(()),
        Some(name) if name.is_empty() => Err(in_view("a subquery", query.span())),
        Some(name) => {
            let span = function_span(query, &name).unwrap_or_else(|| query.span());
            Err(in_view(&format!("{name}()"), span)
                .with_hint("Its value changes from call to call; use the rows' event time."))
        }
    }
}

fn function_span(query: &Query, name: &str) -> Option<Span> {
    let mut found = None;
    walk(query, &mut |syntax| match syntax {
        Syntax::Expr(expr @ ast::Expr::Function(f))
            if f.name.to_string().eq_ignore_ascii_case(name) =>
        {
            found = Some(expr.span());
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found
}
