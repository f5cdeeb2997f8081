//! What ends a job, and what the engine refuses.

use tidemill_connectors::error::ConnectorError;
use tidemill_types::plan::wire::WireError;
use tidemill_types::{Diagnostic, Epoch, JobId, SqlState};

use crate::exchange::receiver::MisalignedBarriers;
use crate::exchange::sender::ExchangeError;
use crate::operators::OperatorError;

/// Why a job failed. The job stops; the others go on.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error("source \"{name}\": {error}")]
    Source { name: String, error: ConnectorError },
    /// A record cannot be decoded and the source says `on_error = 'fail'`.
    #[error("source \"{name}\", {split}: {reason}")]
    BadRecord { name: String, split: String, reason: String },
    /// The source has other splits than those that the job has read.
    #[error(
        "source \"{name}\": split {split} was \"{was}\" when the job last ran and {}",
        is_now(.now.as_deref())
    )]
    SplitsChanged { name: String, split: u32, was: String, now: Option<String> },
    /// Rows of a sink have waited for their delivery until there were too many.
    #[error(
        "sink \"{sink}\": {bytes} bytes wait to be delivered, and at most {limit} may: {cause}"
    )]
    SinkLogFull { sink: String, bytes: u64, limit: u64, cause: String },
    /// Committed rows of a sink cannot be read back, or its connector refuses them.
    #[error("sink \"{sink}\": {diagnostic}")]
    Delivery { sink: String, diagnostic: Diagnostic },
    #[error("internal error: {0}")]
    Exchange(#[from] ExchangeError),
    #[error("internal error: {0}")]
    Misaligned(#[from] MisalignedBarriers),
    #[error("internal error: the plan cannot be read: {0}")]
    Plan(#[from] WireError),
    #[error("internal error: {0}")]
    Invariant(String),
    /// Code of ours panicked; the panic's own message.
    #[error("internal error: {0}")]
    Panic(String),
}

impl JobError {
    /// Whether the cause may pass: the outside failed, not the rows or the plan.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            JobError::Source { error, .. }
            | JobError::Operator(OperatorError::Sink { error, .. }) => {
                matches!(error, ConnectorError::Outside { .. })
            }
            _ => false,
        }
    }

    /// What the user is told.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            JobError::Operator(e) => e.diagnostic(),
            JobError::Source { error, .. } => {
                Diagnostic { message: self.to_string(), ..error.diagnostic() }
            }
            JobError::BadRecord { .. } => {
                Diagnostic::new(SqlState::BAD_COPY_FILE_FORMAT, self.to_string()).with_hint(
                    "Set on_error = 'drop' on the source to leave such records out and count them.",
                )
            }
            JobError::SplitsChanged { .. } => {
                Diagnostic::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, self.to_string())
                    .with_hint("Put the source back as it was, or DROP and create the object anew.")
            }
            JobError::SinkLogFull { .. } => Diagnostic::new(SqlState::IO_ERROR, self.to_string())
                .with_hint(
                    "Make its destination writable: what waits is then delivered, and at the next \
                     start of the server the sink goes on. Option log.max_bytes sets the limit.",
                ),
            JobError::Delivery { diagnostic, .. } => {
                Diagnostic { message: self.to_string(), ..diagnostic.clone() }
            }
            JobError::Exchange(_)
            | JobError::Misaligned(_)
            | JobError::Plan(_)
            | JobError::Invariant(_)
            | JobError::Panic(_) => Diagnostic::internal(self.to_string()),
        }
    }
}

fn is_now(split: Option<&str>) -> String {
    split.map_or_else(|| "is gone".to_owned(), |name| format!("is \"{name}\" now"))
}

/// What the engine refuses.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    #[error("{0} does not exist")]
    NoSuchJob(JobId),
    #[error("{0} exists already")]
    JobExists(JobId),
    /// The job could not be started, with the reason.
    #[error("{0}")]
    Start(Diagnostic),
    /// No epoch is visible in all the jobs that were asked for, and waiting did
    /// not help.
    #[error("no epoch is visible in all jobs: {lagging} lags behind")]
    NoCommonEpoch { lagging: String },
    /// The job never ended this epoch, or its contents are gone.
    #[error("epoch {epoch} of {job} is not available")]
    EpochGone { job: String, epoch: Epoch },
    #[error("the engine has stopped")]
    Stopped,
    /// The job is being started again or rescaled already.
    #[error("\"{0}\" is being started again")]
    Busy(String),
    /// Nothing of this engine is made durable.
    #[error("this needs checkpoints, and there are none")]
    NotDurable,
}

impl EngineError {
    /// What the user is told.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let text = self.to_string();
        match self {
            EngineError::Start(d) => d.clone(),
            EngineError::NoSuchJob(_) | EngineError::JobExists(_) => Diagnostic::internal(text),
            EngineError::NoCommonEpoch { .. } => {
                Diagnostic::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, text)
                    .with_hint("Try again when it has caught up, or read the views one by one.")
            }
            EngineError::EpochGone { .. } => Diagnostic::new(SqlState::SERIALIZATION_FAILURE, text)
                .with_hint("Run the transaction again."),
            EngineError::Busy(_) => {
                Diagnostic::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, text)
                    .with_hint("Try again when it runs.")
            }
            EngineError::NotDurable => Diagnostic::internal(text),
            EngineError::Stopped => {
                Diagnostic::new(SqlState::ADMIN_SHUTDOWN, "the server is shutting down")
            }
        }
    }
}
