//! Window functions in batch: projections over functions that compute the
//! windows of a timestamp.
//!
//! ```text
//! TUMBLE(t, ts, size):  t -> ts IS NOT NULL -> +window_start -> +window_end
//! HOP(t, ts, ..):       t -> ts IS NOT NULL -> +list of starts -> unnest -> +window_end
//! ```
//!
//! The rows are those of streaming without lateness.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result, ScalarValue, UnnestOptions};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};

use crate::functions::{window_list, window_start};
use crate::logical::{WINDOW_END, WINDOW_START, WindowTvf};

/// The list before it is taken apart.
const LIST: &str = "_tm_window_list";

/// Replaces every window function in `plan`, subqueries included.
pub fn expand_windows(plan: LogicalPlan) -> Result<LogicalPlan> {
    let expanded = plan.transform_up_with_subqueries(|node| {
        let replacement = match <&WindowTvf>::try_from(&node) {
            Ok(tvf) => expand(tvf)?,
            Err(_) => return Ok(Transformed::no(node)),
        };
        Ok(Transformed::yes(replacement))
    })?;
    Ok(expanded.data)
}

fn expand(tvf: &WindowTvf) -> Result<LogicalPlan> {
    let time = Expr::Column(tvf.time.clone());
    let qualifier = tvf.time.relation.clone();
    let window = tvf.window;
    let length = |us: i64| lit(ScalarValue::Int64(Some(us)));
    let arguments =
        vec![time.clone(), length(window.size), length(window.slide), length(window.offset)];
    let inputs: Vec<Expr> = tvf.input.schema().columns().into_iter().map(Expr::Column).collect();
    let call = |function| Expr::ScalarFunction(ScalarFunction::new_udf(function, arguments));
    let timed = LogicalPlanBuilder::from(tvf.input.clone()).filter(time.is_not_null())?;
    let with = |builder: LogicalPlanBuilder, added: Expr| {
        builder.project(inputs.iter().cloned().chain([added]))
    };
    let starts = if window.is_tumble() {
        with(timed, call(window_start()).alias_qualified(qualifier.clone(), WINDOW_START))?
    } else {
        let list = Column::from_name(LIST);
        let unnested = with(timed, call(window_list()).alias(LIST))?.unnest_column_with_options(
            list.clone(),
            UnnestOptions::new().with_preserve_nulls(false),
        )?;
        with(unnested, Expr::Column(list).alias_qualified(qualifier.clone(), WINDOW_START))?
    };
    let start = Column::new(qualifier.clone(), WINDOW_START);
    let size = ScalarValue::new_interval_mdn(0, 0, window.size.saturating_mul(1_000));
    let end = (Expr::Column(start.clone()) + lit(size)).alias_qualified(qualifier, WINDOW_END);
    starts.project(inputs.iter().cloned().chain([Expr::Column(start), end]))?.build()
}
