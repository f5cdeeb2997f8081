//! Storage: what Tidemill keeps, and nothing about what it means.
//!
//! [`views`] holds the contents of materialized views, epoch by epoch, for
//! readers that pin an epoch while workers go on writing. [`state`] holds the state
//! of operators as of the last checkpoint. [`store`] is where durable things are
//! kept: objects that are created once and never changed. [`records`] are sequences
//! in it, by which anything is committed; [`checkpoint`] says which files make a
//! job's state. The crate knows bytes, rows, keys and epochs; it knows no SQL and no
//! plans. Clocks, chance and disks are handed in.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod checkpoint;
pub mod crash;
pub mod records;
pub mod state;
pub mod store;
pub mod views;

pub use views::{
    View, ViewError, ViewScan, ViewSchema, ViewSnapshot, ViewStats, ViewStore, ViewWriter,
};
