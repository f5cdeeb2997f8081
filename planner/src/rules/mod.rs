//! Rewrites of logical plans, for types, for streaming and for batch.
//!
//! Binding ([`crate::bind`]) applies [`fix_types`] and the state's
//! analyzer, which ends with [`ExactOperators`]; what comes out has its final
//! types. Then a view's plan goes through [`optimize_streaming`], a SELECT's
//! through [`expand_windows`], DataFusion's default optimizer and
//! [`ShortCircuitFilters`].

mod arithmetic;
mod casts;
mod filters;
mod literals;
mod semantics;
mod streaming;
mod times;
mod windows;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;

pub use filters::ShortCircuitFilters;
pub use literals::fix_types;
pub(crate) use semantics::exact_casts;
pub use semantics::{ExactOperators, TypedOperands};
pub use streaming::optimize_streaming;
pub(crate) use times::TimeOperands;
pub use windows::expand_windows;

/// The analyzer of every state. Running it twice changes nothing more.
#[must_use]
pub fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![
        Arc::new(ResolveGroupingFunction::new()),
        Arc::new(TypedOperands),
        Arc::new(TypeCoercion::new()),
        Arc::new(ExactOperators),
    ]
}

/// The functions that stand for operators and casts.
pub(crate) fn operator_functions() -> Vec<Arc<ScalarUDF>> {
    arithmetic::functions().chain(casts::functions()).chain(times::functions()).collect()
}

/// What a function that stands for an operator or a cast shows as.
pub(crate) enum Spelling {
    /// Between its two arguments.
    Infix(&'static str),
    /// Behind its argument.
    Cast(DataType),
    /// As its argument.
    Nothing,
}

/// How a function is spelt in SQL; `None`: by its name.
pub(crate) fn spelling(function: &str) -> Option<Spelling> {
    let operator = match function {
        times::DIFFERENCE => Some("-"),
        times::LENGTH_OF => return Some(Spelling::Nothing),
        other => arithmetic::operator_of(other),
    };
    operator.map(Spelling::Infix).or_else(|| casts::cast_of(function).map(Spelling::Cast))
}

/// Calls `f` with whole columns; the result of constants is a constant.
fn over_arrays(
    args: &[ColumnarValue],
    f: impl FnOnce(&[ArrayRef]) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    let constant = args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
    let result = f(&ColumnarValue::values_to_arrays(args)?)?;
    Ok(match constant {
        true => ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?),
        false => ColumnarValue::Array(result),
    })
}
