//! `pg_sleep(seconds)`: waits, once for every row, without holding a thread.
//!
//! It is a function that DataFusion awaits in an operator of its own, below the
//! expression that calls it. That works for what a SELECT gives, for WHERE and for
//! the arguments of aggregates; [`check_sleep`] refuses the call elsewhere, and
//! under CASE, where it would be awaited whichever way CASE goes.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, StringViewArray};
use arrow::datatypes::{DataType, Float64Type};
use async_trait::async_trait;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::types::{NativeType, logical_float64, logical_string};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    Coercion, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignatureClass, Volatility,
};
use datafusion::physical_expr::expressions::{CaseExpr, Column};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::async_func::AsyncFuncExec;
use tidemill_types::Diagnostic;

/// How the operator names the columns of values that it has awaited.
const AWAITED: &str = "__async_fn_";

/// The function.
#[must_use]
pub fn pg_sleep() -> Arc<ScalarUDF> {
    // A constant in quotes is a number too, as it is in PostgreSQL.
    let from = vec![TypeSignatureClass::Numeric, TypeSignatureClass::Native(logical_string())];
    let wanted = TypeSignatureClass::Native(logical_float64());
    let seconds = Coercion::new_implicit(wanted, from, NativeType::Float64);
    let sleep = PgSleep { signature: Signature::coercible(vec![seconds], Volatility::Volatile) };
    Arc::new(AsyncScalarUDF::new(Arc::new(sleep)).into_scalar_udf())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PgSleep {
    signature: Signature,
}

impl ScalarUDFImpl for PgSleep {
    fn name(&self) -> &'static str {
        "pg_sleep"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// PostgreSQL's is void, which a client sees as an empty text.
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(misplaced("here"))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for PgSleep {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let seconds = args.args[0].to_array(args.number_rows)?;
        let mut slept = Vec::with_capacity(args.number_rows);
        for seconds in seconds.as_primitive::<Float64Type>() {
            if let Some(seconds) = seconds {
                tokio::time::sleep(duration(seconds)).await;
            }
            slept.push(seconds.map(|_| ""));
        }
        Ok(ColumnarValue::Array(Arc::new(StringViewArray::from(slept))))
    }
}

/// Less than nothing is nothing; more than a clock can count is for ever.
fn duration(seconds: f64) -> Duration {
    if seconds > 0.0 {
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    } else {
        Duration::ZERO
    }
}

/// Refuses the function where it could not be awaited.
///
/// # Errors
/// 0A000.
pub fn check_sleep(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    plan.apply(|node| {
        if node.downcast_ref::<AsyncFuncExec>().is_none() {
            node.apply_expressions(&mut |root| {
                root.apply(|expr| {
                    if is_sleep(expr) {
                        return Err(misplaced("here"));
                    }
                    if expr.downcast_ref::<CaseExpr>().is_some()
                        && expr.exists(|e| Ok(is_awaited(e)))?
                    {
                        return Err(misplaced("under CASE"));
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map(drop)
}

fn is_sleep(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<ScalarFunctionExpr>().is_some_and(|call| call.fun().as_async().is_some())
}

fn is_awaited(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<Column>().is_some_and(|column| column.name().starts_with(AWAITED))
}

fn misplaced(place: &str) -> DataFusionError {
    let refused = Diagnostic::unsupported(format!("pg_sleep() is not supported {place}"))
        .with_hint("Call it as a column of a SELECT of its own: SELECT pg_sleep(1).");
    DataFusionError::External(Box::new(refused))
}
