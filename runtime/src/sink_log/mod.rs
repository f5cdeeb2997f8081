//! The log of a sink whose rows arrive exactly once.
//!
//! ```text
//!  worker: rows ─► collected, cut into parts ─► at a checkpoint: the log's table
//!                                                       │ committed, ingested
//!  delivery thread: target ◄── part by part ◄── slice by slice of the backend
//!                     └─► delivered ─► a later checkpoint expires the slice
//! ```
//!
//! The log is a state table sliced by checkpoint: slice `e` has the rows that came
//! between the checkpoint before `e` and `e`. Its keys are laid out so that a slice is
//! read in the order of its parts:
//!
//! ```text
//! [table][slice = epoch][vnode = writer's][writer][part][ordinal] = [taken back]? columns
//! ```
//!
//! The **writer** of a row is the first vnode that the worker has of the row's lane. It
//! tells apart workers that share a lane, and stays within the worker's vnodes.
//!
//! Invariants: where parts begin and end is decided before the log is written, and never
//! again; nothing is delivered that is not committed; nothing expires that is not
//! delivered.

mod collect;
mod progress;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use collect::Collector;
pub(crate) use progress::SinkProgress;
pub(crate) use table::{LogTable, PartKey};
