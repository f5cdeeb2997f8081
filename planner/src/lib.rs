//! SQL text and a catalog snapshot in; a dataflow plan, or an error with a
//! position, out. Pure: no await, no storage, no connectors, no clock.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bind;
pub mod catalog;
pub mod ddl;
pub mod error;
pub mod explain;
pub mod functions;
pub mod logical;
pub mod lower;
pub mod parse;
pub mod rules;
pub mod types_sql;
mod walk;

pub use error::PlanError;

/// The stack that a thread needs on which statements are parsed, bound or
/// dropped. What nests as deeply as the parser admits fits into it, also in a
/// build without optimisation.
pub const STACK_BYTES_MIN: usize = 16 << 20;
