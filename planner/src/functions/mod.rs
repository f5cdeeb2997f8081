//! The one registry of types and functions, for batch and streaming alike.
//!
//! A function is here because it is PostgreSQL's, or because queries are pasted
//! in from elsewhere with it ([`scalar`]). Where DataFusion's own function has
//! another result than PostgreSQL's, ours replaces it under the same name
//! ([`aggregates`]); everything else is DataFusion's.
//!
//! Invariant: planning, deploying and serving build their states with
//! [`session_state`], so a name means the same function in all of them.

pub mod aggregates;
mod scalar;
mod types;
mod windows;

use std::sync::Arc;

use datafusion::execution::FunctionRegistry;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionConfig;

pub use types::{SqlTypePlanner, canonical_type};
pub(crate) use windows::{window_list, window_start};

use crate::logical::WindowRelationPlanner;
use crate::rules::{ShortCircuitFilters, analyzer_rules, operator_functions};

/// DataFusion's settings as PostgreSQL's dialect needs them. The caller may set
/// partitions, batch size and memory on top, not these.
#[must_use]
pub fn session_config(time_zone: &str) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false);
    let options = config.options_mut();
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.enable_ident_normalization = true;
    options.sql_parser.map_string_types_to_utf8view = true;
    options.sql_parser.collect_spans = true;
    options.sql_parser.dialect = datafusion::common::config::Dialect::PostgreSQL;
    options.sql_parser.default_null_ordering = "nulls_max".to_owned();
    options.execution.time_zone = Some(time_zone.to_owned());
    config
}

/// A state with everything registered. `runtime` supplies memory and spilling.
#[must_use]
pub fn session_state(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionState {
    let mut state = SessionStateBuilder::new_with_default_features()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_type_planner(Arc::new(SqlTypePlanner))
        .with_analyzer_rules(analyzer_rules())
        .with_physical_optimizer_rule(Arc::new(ShortCircuitFilters))
        .build();
    state
        .register_relation_planner(Arc::new(WindowRelationPlanner))
        .expect("a session state accepts relation planners");
    register(&mut state);
    state
}

/// A state for planning alone: nothing is executed with it.
#[must_use]
pub fn planning_state(time_zone: &str) -> SessionState {
    session_state(session_config(time_zone), Arc::new(RuntimeEnv::default()))
}

/// Adds our functions, in the place of DataFusion's of the same name.
fn register(state: &mut SessionState) {
    for function in scalar_functions() {
        state.register_udf(function).expect("a session state accepts scalar functions");
    }
    for function in aggregate_functions() {
        state.register_udaf(function).expect("a session state accepts aggregates");
    }
}

/// Our scalar functions.
#[must_use]
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let mut all = scalar::all();
    all.extend([window_start(), window_list()]);
    all.extend(operator_functions());
    all
}

/// Our aggregates.
#[must_use]
pub fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    vec![aggregates::sum_udaf(), aggregates::avg_udaf()]
}
