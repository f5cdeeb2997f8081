//! The optimizer of views: an explicit list of rules.
//!
//! DataFusion's default list holds rules that are wrong or wasteful for a query
//! that never ends:
//!
//! * `EliminateLimit`, `PushDownLimit`: a limit under retraction is a Top-N with
//!   a total order, and cutting below an operator changes the result.
//! * `SingleDistinctToGroupBy`: multiplies the state of DISTINCT aggregates.
//! * `EliminateFilter`, `PropagateEmptyRelation`: turn a view over a source into
//!   one over nothing, whose watermark and position nobody could ask for.
//! * `UnionsToFilter`, `OptimizeUnions`: change which source a row comes from.
//! * `EliminateGroupByConstant`: changes the stream key.
//!
//! Folding of `now()` would need a query's start time, which is not given.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext, OptimizerRule};

fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ]
}

/// Simplifies a bound and analyzed plan, moves filters down, and leaves only
/// needed columns.
pub fn optimize_streaming(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let config = OptimizerContext::new_with_config_options(Arc::clone(state.config_options()))
        .with_skip_failing_rules(false);
    Optimizer::with_rules(rules()).optimize(plan, &config, |_, _| {})
}
