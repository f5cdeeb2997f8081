//! Taking a job off its workers and putting it back: after a failure that may
//! pass, and with another parallelism.
//!
//! ```text
//!  failure ──────────────────► off the workers ──► wait ──► back, from the last
//!  rescale ──► checkpoint after    │                        committed checkpoint
//!              which it reads  ────┘
//!              no more
//! ```
//!
//! A job is put back when every worker has let go of it and the storage thread
//! has no commit of it in hand: then the state backend holds exactly what its last
//! committed image says. Opening sources may block, so it happens on a thread of
//! its own.

use std::time::Duration;

use tidemill_types::{EventTime, JobId};

use super::durable::{JobCheckpoints, JobImage, StorageWork};
use super::engine::{Engine, Job, State};
use super::status::JobState;
use crate::error::{EngineError, JobError};

/// How long the store may fail before a job that waits for its last checkpoint
/// asks again.
const COMMIT_AGAIN_AFTER: EventTime = 1_000_000;

/// A job that is to be put back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Return {
    /// Not before this time, in microseconds.
    pub at: EventTime,
    pub parallelism: usize,
    /// A thread is at it.
    pub begun: bool,
}

impl Engine {
    /// Changes how many workers run a job. Blocks until the job runs on the new
    /// ones; answers for how long it did not. Its view goes on at the epoch of the
    /// checkpoint in between: earlier epochs can no longer be read.
    pub fn rescale(&self, job: JobId, parallelism: usize) -> Result<Duration, EngineError> {
        let parallelism = self.parts(parallelism);
        let mut state = self.0.state.lock();
        let entry = state.job(job)?;
        if entry.status.borrow().state.is_final() {
            entry.spec.parallelism = parallelism;
            return Ok(Duration::ZERO);
        }
        if entry.workers == parallelism && entry.returning.is_none() {
            return Ok(Duration::ZERO);
        }
        if entry.rescaling.is_some() || entry.returning.is_some() {
            return Err(EngineError::Busy(entry.spec.name.clone()));
        }
        let Some(checkpoints) = &mut entry.checkpoints else {
            return Err(EngineError::NotDurable);
        };
        checkpoints.request_stop();
        entry.rescaling = Some(parallelism);
        let mut stopped_at = None;
        loop {
            let Some(entry) = state.jobs.get(&job) else { return Err(EngineError::NoSuchJob(job)) };
            let now = self.0.clock.now();
            if entry.returning.is_some() && stopped_at.is_none() {
                stopped_at = Some(now);
            }
            let end = entry.status.borrow().state.clone();
            match end {
                JobState::Failed(diagnostic) => return Err(EngineError::Start(diagnostic)),
                JobState::Finished => return Ok(Duration::ZERO),
                _ => {}
            }
            let back = entry.rescaling.is_none() && entry.returning.is_none();
            if back && entry.progress.is_level() {
                let pause = stopped_at.map_or(0, |at| now - at);
                return Ok(Duration::from_micros(u64::try_from(pause).unwrap_or(0)));
            }
            if state.stopped {
                return Err(EngineError::Stopped);
            }
            self.0.removed.wait_for(&mut state, Duration::from_millis(100));
        }
    }

    /// A job has failed: ends it, or takes it off its workers to try again.
    pub(super) fn fail(&self, state: &mut State, job: JobId, error: &JobError) {
        let now = self.0.clock.now();
        let Some(entry) = state.jobs.get_mut(&job) else { return };
        if entry.status.borrow().state.is_final() || entry.returning.is_some() {
            return;
        }
        // Without an image there is nothing to go back to that a reader may know;
        // whoever creates the job is waiting, and is told.
        let comes_back = error.is_transient()
            && entry.checkpoints.as_ref().is_some_and(|c| c.image().is_some())
            && !entry.removing;
        let at = if comes_back { entry.restarts.failed(now) } else { None };
        let Some(at) = at else {
            entry.finished_at = Some(now);
            let visible = entry.progress.newest();
            entry.tell(JobState::Failed(error.diagnostic()), visible);
            entry.rescaling = None;
            self.remove(state, job).ok();
            return;
        };
        tracing::warn!(%job, %error, seconds = (at - now) / 1_000_000, "the job is started again");
        entry.last_error = Some(error.diagnostic());
        let parallelism = entry.rescaling.take().unwrap_or(entry.workers);
        entry.returning = Some(Return { at, parallelism, begun: false });
        self.remove(state, job).ok();
        self.store(StorageWork::Discard { job });
    }

    /// The storage thread has answered: a job that was waiting for it goes off its
    /// workers; a last checkpoint that it could not store is offered again.
    pub(super) fn after_commit(&self, state: &mut State, job: JobId, image: Option<JobImage>) {
        let now = self.0.clock.now();
        let Some(entry) = state.jobs.get_mut(&job) else { return };
        if let Some(last) = image.as_ref().filter(|image| image.finished) {
            // No other checkpoint will follow.
            entry.commit_again = Some((now + COMMIT_AGAIN_AFTER, last.clone()));
        }
        let Some(parallelism) = entry.rescaling else { return };
        if entry.status.borrow().state.is_final() {
            entry.rescaling = None;
            return;
        }
        let Some(checkpoints) = &entry.checkpoints else { return };
        if !checkpoints.is_stopping() || checkpoints.is_under_way() {
            return;
        }
        match image {
            Some(image) => entry.commit_again = Some((now + COMMIT_AGAIN_AFTER, image)),
            None if entry.stopped_after == checkpoints.durable() => {
                entry.rescaling = None;
                entry.returning = Some(Return { at: now, parallelism, begun: false });
                self.remove(state, job).ok();
            }
            None => {}
        }
    }

    /// Does what is due for jobs that are to come back.
    pub(super) fn tend(&self, state: &mut State, now: EventTime) {
        for (id, job) in &mut state.jobs {
            if let Some((_, image)) = job.commit_again.take_if(|(at, _)| now >= *at) {
                if let Some(checkpoints) = &mut job.checkpoints {
                    checkpoints.commit_again(&image);
                }
                let work = StorageWork::Commit { job: *id, image, changes: Vec::new() };
                self.store(work);
            }
            let committing = job.checkpoints.as_ref().is_some_and(JobCheckpoints::is_committing);
            let ready = job.removed == job.workers && !committing;
            let Some(back) = &mut job.returning else { continue };
            if back.begun || !ready || now < back.at {
                continue;
            }
            back.begun = true;
            let (engine, id, parallelism) = (self.clone(), *id, back.parallelism);
            let begun = std::thread::Builder::new().name("redeploy".into()).spawn(move || {
                if let Err(error) = engine.put_back(id, parallelism) {
                    let mut state = engine.0.state.lock();
                    if let Some(job) = state.jobs.get_mut(&id) {
                        // As if it had come back and failed at once.
                        job.returning = None;
                        job.removing = false;
                    }
                    engine.fail(&mut state, id, &error);
                }
                engine.0.removed.notify_all();
                engine.announce();
            });
            if let Err(error) = begun {
                tracing::error!(%error, "no thread to start a job again");
                back.begun = false;
            }
        }
    }

    fn put_back(&self, id: JobId, parallelism: usize) -> Result<(), JobError> {
        let (mut spec, image) = {
            let state = self.0.state.lock();
            let Some(job) = state.jobs.get(&id) else { return Ok(()) };
            let image = job.checkpoints.as_ref().and_then(|c| c.image().cloned());
            (job.spec.clone(), image)
        };
        spec.parallelism = parallelism;
        spec.restored = image;
        if let Some(view) = spec.view.and_then(|v| self.0.environment.views.get(v)) {
            let schema = view.schema().clone();
            let created = self.0.environment.views.create(view.id(), schema, parallelism);
            created.map_err(|e| JobError::Invariant(e.to_string()))?;
        }
        self.launch(spec, |state, job| {
            // Dropped in the meantime.
            let before: Job = state.jobs.remove(&id)?;
            Some(Job {
                status: before.status,
                restarts: before.restarts,
                last_error: before.last_error,
                created_at: before.created_at,
                ..job
            })
        })
    }
}

impl Job {
    /// Whether a tick is to end an epoch of the job.
    pub(super) fn ticks(&self) -> bool {
        self.started_at.is_some() && self.returning.is_none() && self.stopped_after.is_none()
    }
}
