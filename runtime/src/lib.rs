//! Runs dataflow plans: workers, operators, exchange, watermarks and epochs.
//!
//! [`Engine`] is the door: it deploys plans on a fixed set of worker threads,
//! ticks their epochs and answers which epoch can be read. Inside, a [`worker`]
//! owns a share of every job and is stepped by its thread; [`exchange`] joins the
//! shares; [`source`] reads splits up to agreed boundaries; [`operators`] do the
//! work.
//!
//! Invariants: no SQL text; no await; time comes from a [`clock::Clock`]; state
//! belongs to one worker; a failing job stops no other.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod clock;
pub mod control;
pub mod error;
pub mod exchange;
pub mod operators;
mod sink_log;
pub mod source;
pub mod state;
pub mod worker;

pub use control::{
    CheckpointStore, Durability, Engine, EngineConfig, EpochPin, JobImage, JobKind, JobSnapshot,
    JobSpec, JobState, JobStatus, RestartStrategy, StorageFailure,
};
pub use error::{EngineError, JobError};
