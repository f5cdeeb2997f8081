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
