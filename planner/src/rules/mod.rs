//! Rewrites of logical plans, for types, for streaming and for batch.
//!
//! Binding ([`crate::bind`]) applies [`fix_types`] and the state's
//! analyzer, which ends with [`CheckedArithmetic`]; what comes out has its final
//! types. Then a view's plan goes through [`optimize_streaming`], a SELECT's
//! through [`expand_windows`] and DataFusion's default optimizer.

mod arithmetic;
mod literals;
mod streaming;
mod windows;

use std::sync::Arc;

use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;

pub use arithmetic::CheckedArithmetic;
pub(crate) use arithmetic::{functions as arithmetic_functions, operator_of};
pub use literals::fix_types;
pub use streaming::optimize_streaming;
pub use windows::expand_windows;

/// The analyzer of every state. Running it twice changes nothing more.
#[must_use]
pub fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![
        Arc::new(ResolveGroupingFunction::new()),
        Arc::new(TypeCoercion::new()),
        Arc::new(CheckedArithmetic),
    ]
}
