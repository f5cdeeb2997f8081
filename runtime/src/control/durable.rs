//! Checkpoints of a job, from the tick that asks for one to the commit.
//!
//! ```text
//!  tick: due? ──► barrier with the checkpoint mark ──► workers dump what changed
//!                                                              │ deltas
//!  durable ◄── committed ◄── storage thread: upload, commit, ingest
//! ```
//!
//! What is committed of a sink's log is then delivered ([`super::delivery`]).
//!
//! One checkpoint of a job is under way at a time. Deltas wait here by epoch until
//! the epoch is complete on every worker; what a failed commit was to store stays
//! with the storage thread and becomes part of the next one.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender};

use tidemill_storage::state::Delta;
use tidemill_types::{Epoch, EventTime, JobId, OperatorId};

use super::progress::EpochSummary;
use crate::error::JobError;
use crate::operators::Counters;
use crate::source::SplitProgress;
use crate::worker::Report;

/// A job at the end of an epoch, beside its state tables: what a checkpoint says
/// about it, and what it is restored from.
#[derive(Clone, Debug, Default)]
pub struct JobImage {
    pub epoch: Epoch,
    pub parallelism: u32,
    pub splits: Vec<SplitProgress>,
    /// The combined watermark of each source, by slot.
    pub watermarks: Vec<EventTime>,
    /// What each operator has counted, over all workers.
    pub counters: Vec<(OperatorId, Counters)>,
    /// The job has ended: nothing is to be run any more.
    pub finished: bool,
}

impl JobImage {
    /// Where a split of a source operator stood.
    #[must_use]
    pub fn split(&self, operator: OperatorId, split: u32) -> Option<&SplitProgress> {
        self.splits.iter().find(|s| s.operator == operator && s.split == split)
    }

    /// Whether the splits of a source are still those that were read: positions
    /// mean nothing in others.
    pub(super) fn check_splits(
        &self,
        operator: OperatorId,
        source: &str,
        names: &[String],
    ) -> Result<(), JobError> {
        for known in self.splits.iter().filter(|s| s.operator == operator) {
            let now = names.get(known.split as usize);
            if now != Some(&known.name) {
                return Err(JobError::SplitsChanged {
                    name: source.to_owned(),
                    split: known.split,
                    was: known.name.clone(),
                    now: now.cloned(),
                });
            }
        }
        Ok(())
    }

    pub(super) fn of(summary: &EpochSummary, parallelism: u32, finished: bool) -> Self {
        let mut counters: BTreeMap<OperatorId, Counters> = BTreeMap::new();
        for operator in &summary.operators {
            counters.entry(operator.id).or_default().add(&operator.counters);
        }
        JobImage {
            epoch: summary.epoch,
            parallelism,
            splits: summary.splits.clone(),
            watermarks: summary.watermarks.clone(),
            counters: counters.into_iter().collect(),
            finished,
        }
    }
}

/// Why something could not be made durable; shown to people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StorageFailure(pub String);

/// Makes checkpoints durable. Called on the engine's storage thread only, one call
/// after the other; calls may block.
pub trait CheckpointStore: Send {
    /// Stores `changes` and then commits the checkpoint. On success the changes
    /// have also been ingested into the state backend; after an error the
    /// checkpoint does not count, and its changes come again with the job's next.
    fn commit(
        &mut self,
        job: JobId,
        image: &JobImage,
        changes: Vec<Delta>,
    ) -> Result<(), StorageFailure>;

    /// Drops what is to come with the job's next commit: the job goes back to its
    /// last one.
    fn discard(&mut self, job: JobId);

    /// Removes everything that is kept of a job.
    fn forget(&mut self, job: JobId) -> Result<(), StorageFailure>;

    /// Reserves epoch numbers above all that were ever reserved.
    fn reserve_epochs(&mut self) -> Result<Range<u64>, StorageFailure>;
}

/// What [`super::Engine`] needs to make jobs durable.
pub struct Durability {
    pub store: Box<dyn CheckpointStore>,
    /// Between two checkpoints of a job, in microseconds.
    pub interval: EventTime,
    /// Epoch numbers that nobody has used.
    pub epochs: Range<u64>,
}

impl fmt::Debug for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durability")
            .field("interval", &self.interval)
            .field("epochs", &self.epochs)
            .finish_non_exhaustive()
    }
}

/// For the storage thread, in order.
pub(super) enum StorageWork {
    Commit { job: JobId, image: JobImage, changes: Vec<Delta> },
    Discard { job: JobId },
    Forget { job: JobId },
    ReserveEpochs,
    Stop,
}

/// Does what comes, until told to stop.
pub(super) fn run_storage(
    mut store: Box<dyn CheckpointStore>,
    work: &Receiver<StorageWork>,
    reports: &Sender<Report>,
) {
    while let Ok(work) = work.recv() {
        let report = match work {
            StorageWork::Commit { job, image, changes } => {
                let outcome = store.commit(job, &image, changes);
                Report::Stored { job, epoch: image.epoch, outcome }
            }
            StorageWork::Discard { job } => {
                store.discard(job);
                continue;
            }
            StorageWork::Forget { job } => {
                if let Err(error) = store.forget(job) {
                    tracing::warn!(%job, %error, "what was kept of a dropped job is left behind");
                }
                continue;
            }
            StorageWork::ReserveEpochs => Report::EpochsReserved(store.reserve_epochs()),
            StorageWork::Stop => return,
        };
        if reports.send(report).is_err() {
            return;
        }
    }
}

/// One job's way from checkpoint to checkpoint.
#[derive(Debug)]
pub(super) struct JobCheckpoints {
    /// In microseconds.
    interval: EventTime,
    next_at: EventTime,
    requested: bool,
    under_way: Option<Epoch>,
    /// With the storage thread.
    committing: Option<JobImage>,
    /// The last image that was committed.
    image: Option<JobImage>,
    /// After the next checkpoint the job is taken off its workers.
    stopping: bool,
    deltas: BTreeMap<Epoch, Vec<Delta>>,
    /// Commits that have ended, well or not.
    attempts: u64,
    last_error: Option<String>,
}

impl JobCheckpoints {
    pub fn new(interval: EventTime, now: EventTime, image: Option<JobImage>) -> Self {
        JobCheckpoints {
            interval,
            next_at: now.saturating_add(interval),
            requested: false,
            under_way: None,
            committing: None,
            image,
            stopping: false,
            deltas: BTreeMap::new(),
            attempts: 0,
            last_error: None,
        }
    }

    /// Asks for a checkpoint at the next tick. Answers the number of attempts
    /// after which one that began later has ended.
    pub fn request(&mut self) -> u64 {
        self.requested = true;
        self.attempts + 1 + u64::from(self.under_way.is_some())
    }

    /// Asks for a checkpoint after which the job reads no more.
    pub fn request_stop(&mut self) {
        self.stopping = true;
        self.requested = true;
    }

    /// The job reads no more after the checkpoint that is under way or comes next.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Whether the epoch that a tick at `now` begins to end is to be a checkpoint.
    /// `early`: it should be, although its time has not come; while the store fails
    /// that is not a reason to ask it more often.
    pub fn is_due(&self, now: EventTime, early: bool) -> bool {
        let early = early && self.last_error.is_none();
        self.under_way.is_none() && (self.requested || early || now >= self.next_at)
    }

    /// The barrier of the checkpoint is on its way.
    pub fn begin(&mut self, epoch: Epoch) {
        self.under_way = Some(epoch);
        self.requested = false;
    }

    /// A worker has dumped what changed up to the end of `epoch`.
    pub fn add(&mut self, epoch: Epoch, deltas: Vec<Delta>) {
        if !deltas.is_empty() {
            self.deltas.entry(epoch).or_default().extend(deltas);
        }
    }

    /// Every worker has passed the epoch of `image`: what is to be stored, if it is
    /// a checkpoint or the job has ended with it.
    pub fn complete(&mut self, image: &JobImage) -> Option<Vec<Delta>> {
        let epoch = image.epoch;
        if !image.finished && self.under_way != Some(epoch) {
            return None;
        }
        self.under_way = Some(epoch);
        self.committing = Some(image.clone());
        let later = self.deltas.split_off(&epoch.next());
        let changes = std::mem::replace(&mut self.deltas, later);
        Some(changes.into_values().flatten().collect())
    }

    /// A commit that failed is tried again.
    pub fn commit_again(&mut self, image: &JobImage) {
        self.under_way = Some(image.epoch);
        self.committing = Some(image.clone());
    }

    /// The storage thread has answered for `epoch`. Gives back the image that it
    /// could not commit.
    pub fn stored(
        &mut self,
        epoch: Epoch,
        now: EventTime,
        error: Option<String>,
    ) -> Option<JobImage> {
        let mut refused = None;
        if self.under_way == Some(epoch) {
            self.under_way = None;
        }
        if self.committing.as_ref().is_some_and(|image| image.epoch == epoch) {
            let image = self.committing.take();
            match error {
                None => self.image = image,
                Some(_) => refused = image,
            }
        }
        self.attempts += 1;
        self.last_error = error;
        self.next_at = now.saturating_add(self.interval);
        refused
    }

    /// The last committed checkpoint.
    pub fn image(&self) -> Option<&JobImage> {
        self.image.as_ref()
    }

    /// Its epoch.
    pub fn durable(&self) -> Option<Epoch> {
        self.image.as_ref().map(|image| image.epoch)
    }

    /// The storage thread has work of this job.
    pub fn is_committing(&self) -> bool {
        self.committing.is_some()
    }

    pub fn attempts(&self) -> u64 {
        self.attempts
    }

    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(epoch: u64, finished: bool) -> JobImage {
        JobImage { epoch: Epoch(epoch), finished, ..JobImage::default() }
    }

    #[test]
    fn one_checkpoint_at_a_time_and_an_interval_between() {
        let mut job = JobCheckpoints::new(10, 100, None);
        assert!(!job.is_due(109, false) && job.is_due(109, true) && job.is_due(110, false));
        job.begin(Epoch(5));
        assert!(!job.is_due(200, true), "one is under way");
        assert!(job.complete(&image(4, false)).is_none());
        job.add(Epoch(5), vec![Delta::default()]);
        job.add(Epoch(6), vec![Delta::default()]);
        assert_eq!(job.complete(&image(5, false)).map(|d| d.len()), Some(1));
        assert!(job.is_committing() && job.durable().is_none());
        job.stored(Epoch(5), 120, None);
        assert_eq!((job.durable(), job.is_committing()), (Some(Epoch(5)), false));
        assert!(!job.is_due(129, false) && job.is_due(130, false));
    }

    #[test]
    fn a_request_is_met_by_a_checkpoint_that_begins_after_it() {
        let mut job = JobCheckpoints::new(1_000, 0, None);
        job.begin(Epoch(1));
        let enough = job.request();
        job.complete(&image(1, false));
        job.stored(Epoch(1), 1, None);
        assert!(job.attempts() < enough && job.is_due(2, false));
        job.begin(Epoch(2));
        job.complete(&image(2, false));
        job.stored(Epoch(2), 2, Some("the store is down".into()));
        assert_eq!(job.attempts(), enough);
        assert_eq!((job.durable(), job.is_due(3, true)), (Some(Epoch(1)), false));
    }

    #[test]
    fn the_end_of_a_job_is_stored_whether_due_or_not() {
        let mut job = JobCheckpoints::new(1_000, 0, None);
        job.add(Epoch(3), vec![Delta::default()]);
        assert_eq!(job.complete(&image(3, true)).map(|d| d.len()), Some(1));
    }
}
