//! The control: deploys jobs, ticks epochs, and knows what can be read.
//!
//! `progress` decides about one job's epochs and is pure; `engine` holds the
//! state and deploys, `coordinator` ticks and handles reports, `durable` takes a job
//! from checkpoint to checkpoint, and `delivery` what it has logged for a sink on from
//! there; `status` is what others are told.

mod coordinator;
mod delivery;
mod durable;
mod engine;
mod pin;
pub mod progress;
mod redeploy;
mod restart;
mod sinks;
mod status;
mod unstarted;

pub use durable::{CheckpointStore, Durability, JobImage, StorageFailure};
pub use engine::{Engine, EngineConfig, JobSpec};
pub use pin::EpochPin;
pub use restart::RestartStrategy;
pub use status::{JobKind, JobSnapshot, JobState, JobStatus, WorkerSnapshot};
