//! The control: deploys jobs, ticks epochs, and knows what can be read.
//!
//! `progress` decides about one job's epochs and is pure; `engine` holds the
//! state and does the talking to workers; `status` is what others are told.

mod engine;
mod pin;
pub mod progress;
mod status;

pub use engine::{Engine, EngineConfig, JobSpec};
pub use pin::EpochPin;
pub use status::{JobKind, JobSnapshot, JobState, JobStatus, WorkerSnapshot};
