//! Storage: what Tidemill keeps, and nothing about what it means.
//!
//! [`views`] holds the contents of materialized views, epoch by epoch, for
//! readers that pin an epoch while workers go on writing. The crate knows bytes,
//! rows, keys and epochs; it knows no SQL, no plans and no clock.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod views;

pub use views::{
    View, ViewError, ViewScan, ViewSchema, ViewSnapshot, ViewStats, ViewStore, ViewWriter,
};
