//! What others are told about jobs and workers.

use tidemill_types::{Diagnostic, Epoch, EventTime, JobId};

use super::progress::EpochSummary;

/// What a job feeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobKind {
    MaterializedView,
    Sink,
}

impl JobKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            JobKind::MaterializedView => "materialized view",
            JobKind::Sink => "sink",
        }
    }
}

/// Where a job is in its life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JobState {
    /// Deployed, and not yet level with others that read its sources.
    Creating,
    Running,
    /// Every source has ended and everything is visible.
    Finished,
    Failed(Diagnostic),
}

impl JobState {
    /// As `tm_catalog.jobs` shows it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            JobState::Creating => "creating",
            JobState::Running => "running",
            JobState::Finished => "finished",
            JobState::Failed(_) => "failed",
        }
    }

    /// Whether it will make no more progress.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, JobState::Finished | JobState::Failed(_))
    }
}

/// What [`super::Engine::status`] watches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobStatus {
    pub state: JobState,
    /// The newest visible epoch.
    pub visible: Option<Epoch>,
}

/// A job as of one epoch.
#[derive(Clone, Debug)]
pub struct JobSnapshot {
    pub job: JobId,
    pub name: String,
    pub kind: JobKind,
    pub state: JobState,
    /// Why it was last started again.
    pub last_error: Option<Diagnostic>,
    /// Microseconds since the Unix epoch, as the following.
    pub created_at: EventTime,
    /// When all workers had built their share.
    pub started_at: Option<EventTime>,
    pub finished_at: Option<EventTime>,
    pub parallelism: u32,
    /// The epoch of its last committed checkpoint.
    pub durable: Option<Epoch>,
    /// Of a sink with a log: everything up to this epoch is at its destination. After
    /// the job has finished it may still be behind [`JobSnapshot::durable`].
    pub delivered_epoch: Option<Epoch>,
    /// Why it is not delivered any further; it is tried again.
    pub delivery_error: Option<Diagnostic>,
    /// What it had done by that epoch; empty before its first.
    pub summary: EpochSummary,
}

impl JobSnapshot {
    /// Records that could not be used: not decoded, or without an event time.
    #[must_use]
    pub fn rejected_rows(&self) -> u64 {
        self.summary.records_rejected() + self.summary.totals().null_time
    }
}

/// A worker, for the metrics.
#[derive(Clone, Copy, Debug)]
pub struct WorkerSnapshot {
    pub worker: u32,
    /// Calls of its step function so far.
    pub steps: u64,
    /// How often it went to sleep for want of work.
    pub parks: u64,
}
