//! The last step of a SELECT's physical plan: AND and OR that evaluate their right
//! side only where they must ([`tidemill_types::short_circuit`]). Views do the same
//! in their operators.
//!
//! Conditions between the two sides of a join, and those of an aggregate's FILTER,
//! keep DataFusion's operators.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use tidemill_types::short_circuit::{short_circuit, short_circuit_filter};

/// See the module's text.
#[derive(Debug, Default)]
pub struct ShortCircuitFilters;

impl PhysicalOptimizerRule for ShortCircuitFilters {
    fn name(&self) -> &str {
        "short_circuit_filters"
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(plan.transform_up(in_node)?.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn in_node(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let predicate = short_circuit_filter(filter.predicate());
        if Arc::ptr_eq(&predicate, filter.predicate()) {
            return Ok(Transformed::no(plan));
        }
        let changed = FilterExecBuilder::from(filter).with_predicate(predicate).build()?;
        return Ok(Transformed::yes(Arc::new(changed)));
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let mut changed = false;
        let expressions = projection
            .expr()
            .iter()
            .map(|e| {
                let expr = short_circuit(&e.expr);
                changed |= !Arc::ptr_eq(&expr, &e.expr);
                ProjectionExpr::new(expr, e.alias.clone())
            })
            .collect::<Vec<_>>();
        if changed {
            let input = Arc::clone(projection.input());
            return Ok(Transformed::yes(Arc::new(ProjectionExec::try_new(expressions, input)?)));
        }
    }
    Ok(Transformed::no(plan))
}
