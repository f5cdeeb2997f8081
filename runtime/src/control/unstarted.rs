//! Jobs that cannot be started: they are shown as failed, and can be dropped.

use tidemill_types::Diagnostic;

use super::engine::{Engine, Job, JobSpec};
use super::progress::JobProgress;
use super::restart::Restarts;
use super::sinks::JobSinks;
use super::status::{JobState, JobStatus};
use crate::error::EngineError;

impl Engine {
    /// Registers a job as failed, without any worker ever having it. Nothing of what
    /// is kept of it is touched.
    pub fn register_failed(
        &self,
        spec: JobSpec,
        diagnostic: Diagnostic,
    ) -> Result<(), EngineError> {
        let now = self.0.clock.now();
        let id = spec.job;
        let mut progress = JobProgress::new(0);
        progress.close();
        let status = JobStatus { state: JobState::Failed(diagnostic), visible: None };
        let mut state = self.0.state.lock();
        if state.stopped {
            return Err(EngineError::Stopped);
        }
        if state.jobs.contains_key(&id) {
            return Err(EngineError::JobExists(id));
        }
        let job = Job {
            sources: Vec::new(),
            progress,
            checkpoints: None,
            sinks: JobSinks::default(),
            restarts: Restarts::new(self.0.config.restart),
            last_error: None,
            returning: None,
            rescaling: None,
            stopped_after: None,
            commit_again: None,
            status: tokio::sync::watch::Sender::new(status),
            workers: 0,
            deployed: 0,
            removed: 0,
            removing: true,
            created_at: now,
            started_at: None,
            finished_at: Some(now),
            spec,
        };
        state.jobs.insert(id, job);
        drop(state);
        self.announce();
        Ok(())
    }
}
