//! Logical plan nodes that SQL needs and DataFusion does not have.

mod window_relation;
mod window_tvf;

pub use window_relation::WindowRelationPlanner;
pub use window_tvf::{WINDOW_END, WINDOW_START, WindowFunction, WindowTvf};
