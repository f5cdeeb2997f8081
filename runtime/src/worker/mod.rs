//! A worker: its share of every job, stepped by whoever drives it.
//!
//! [`Worker::step`] does a bounded amount of work and says whether there is more;
//! a thread calls it in the server ([`run_on_thread`]), a test or a simulation
//! calls it as it likes. A worker owns all that it works on: it shares nothing
//! with other workers but rings and published view versions.
//!
//! A job that fails, even by a panic, is reported and removed; the others do not
//! notice.

pub mod deploy;
pub mod task;

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use tidemill_storage::state::Delta;
use tidemill_types::{Epoch, EventTime, JobId, WorkerIndex};

use crate::clock::Clock;
use crate::control::StorageFailure;
use crate::error::JobError;
use crate::exchange::Waker;
use crate::exchange::sender::Traffic;
use deploy::Deployment;
use task::{OperatorSnapshot, Progress, Task, TaskEpoch};

use crate::source::SplitProgress;
use crate::source::leaf::EpochEnd;

/// What the control tells a worker, in order.
pub enum Command {
    /// Start this worker's share of a job.
    Deploy(Box<Deployment>),
    /// End an epoch of a job.
    EndEpoch { job: JobId, end: EpochEnd },
    /// Let go of a job; answered by [`Report::Removed`].
    Remove { job: JobId },
    /// Let go of everything and end the thread.
    Stop,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Command::Deploy(d) => f.debug_tuple("Deploy").field(&d.job).finish(),
            Command::EndEpoch { job, end } => {
                f.debug_tuple("EndEpoch").field(job).field(end).finish()
            }
            Command::Remove { job } => f.debug_tuple("Remove").field(job).finish(),
            Command::Stop => f.write_str("Stop"),
        }
    }
}

/// What workers, the storage thread and the delivery thread tell the control.
#[derive(Debug)]
pub enum Report {
    Deployed {
        job: JobId,
        worker: WorkerIndex,
    },
    /// All of the job's fragments on this worker have passed the epoch.
    Epoch(Box<EpochReport>),
    Failed {
        job: JobId,
        worker: WorkerIndex,
        error: JobError,
    },
    Removed {
        job: JobId,
        worker: WorkerIndex,
    },
    /// The storage thread has committed a checkpoint, or failed to.
    Stored {
        job: JobId,
        epoch: Epoch,
        outcome: Result<(), StorageFailure>,
    },
    /// Numbers for epochs to come, or why there are none.
    EpochsReserved(Result<Range<u64>, StorageFailure>),
    /// Everything up to the epoch that a job's sinks have logged is delivered.
    Delivered {
        job: JobId,
        epoch: Epoch,
    },
    /// A sink's rows cannot be delivered, and no more of them may wait.
    SinkFailed {
        job: JobId,
        error: JobError,
    },
}

/// A worker's share of an epoch.
#[derive(Debug)]
pub struct EpochReport {
    pub job: JobId,
    pub worker: WorkerIndex,
    pub epoch: Epoch,
    /// All sources have ended.
    pub end: bool,
    /// The epoch's input is the same in every job that reads these sources.
    pub aligned: bool,
    pub watermarks: Arc<[EventTime]>,
    pub splits: Vec<SplitProgress>,
    pub operators: Vec<OperatorSnapshot>,
    /// What its exchanges have sent so far.
    pub traffic: Traffic,
    /// What a checkpoint is to store of the worker's state, a part per fragment.
    pub deltas: Vec<Delta>,
}

/// Time that a worker has spent, in nanoseconds, for the metrics.
#[derive(Debug, Default)]
pub struct WorkerStats {
    pub steps: AtomicU64,
    pub parks: AtomicU64,
}

/// One worker.
pub struct Worker {
    index: WorkerIndex,
    commands: Receiver<Command>,
    reports: Sender<Report>,
    jobs: BTreeMap<JobId, JobInstance>,
    stats: Arc<WorkerStats>,
}

struct JobInstance {
    tasks: Vec<Task>,
    /// Epochs that some task has passed and some has not.
    running: BTreeMap<Epoch, Vec<TaskEpoch>>,
}

/// What a step amounted to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stepped {
    Busy,
    /// Nothing to do before this time (microseconds), unless something arrives.
    Idle {
        ready_at: Option<EventTime>,
    },
    Stopped,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Worker {
    #[must_use]
    pub fn new(
        index: WorkerIndex,
        commands: Receiver<Command>,
        reports: Sender<Report>,
        stats: Arc<WorkerStats>,
    ) -> Self {
        Worker { index, commands, reports, jobs: BTreeMap::new(), stats }
    }

    /// Obeys what has been commanded and runs each task for at most a quantum.
    pub fn step(&mut self, now: EventTime) -> Stepped {
        self.stats.steps.fetch_add(1, Ordering::Relaxed);
        loop {
            match self.commands.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => {
                    self.jobs.clear();
                    return Stepped::Stopped;
                }
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) => break,
            }
        }
        let mut busy = false;
        let mut ready_at: Option<EventTime> = None;
        let mut failed = Vec::new();
        for (job, instance) in &mut self.jobs {
            match guarded(|| instance.run(now)) {
                Ok(Progress::Busy) => busy = true,
                Ok(Progress::Idle { ready_at: Some(at) }) => {
                    ready_at = Some(ready_at.map_or(at, |r| r.min(at)));
                }
                Ok(Progress::Idle { ready_at: None } | Progress::Blocked) => {}
                Err(error) => failed.push((*job, error)),
            }
            for report in instance.completed(*job, self.index) {
                self.reports.send(Report::Epoch(Box::new(report))).ok();
            }
        }
        for (job, error) in failed {
            self.jobs.remove(&job);
            self.reports.send(Report::Failed { job, worker: self.index, error }).ok();
        }
        if busy { Stepped::Busy } else { Stepped::Idle { ready_at } }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Deploy(deployment) => {
                let job = deployment.job;
                let report = match guarded(|| deployment.build()) {
                    Ok(tasks) => {
                        self.jobs.insert(job, JobInstance { tasks, running: BTreeMap::new() });
                        Report::Deployed { job, worker: self.index }
                    }
                    Err(error) => Report::Failed { job, worker: self.index, error },
                };
                self.reports.send(report).ok();
            }
            Command::EndEpoch { job, end } => {
                if let Some(instance) = self.jobs.get_mut(&job) {
                    for task in &mut instance.tasks {
                        task.end_epoch(end);
                    }
                }
            }
            Command::Remove { job } => {
                self.jobs.remove(&job);
                self.reports.send(Report::Removed { job, worker: self.index }).ok();
            }
            Command::Stop => {}
        }
    }
}

impl JobInstance {
    /// Runs the tasks, consumers first, so that what is on the way makes room.
    fn run(&mut self, now: EventTime) -> Result<Progress, JobError> {
        let mut progress = Progress::Blocked;
        for task in self.tasks.iter_mut().rev() {
            let ran = task.run(now)?;
            progress = match (progress, ran) {
                (Progress::Busy, _) | (_, Progress::Busy) => Progress::Busy,
                (Progress::Idle { ready_at: a }, Progress::Idle { ready_at: b }) => {
                    let ready_at = match (a, b) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    };
                    Progress::Idle { ready_at }
                }
                (Progress::Blocked, idle) => idle,
                (idle, Progress::Blocked) => idle,
            };
            if let Some(epoch) = task.take_finished() {
                self.running.entry(epoch.barrier.epoch).or_default().push(epoch);
            }
        }
        Ok(progress)
    }

    /// Reports of epochs that every task has passed.
    fn completed(&mut self, job: JobId, worker: WorkerIndex) -> Vec<EpochReport> {
        let mut reports = Vec::new();
        while let Some(entry) = self.running.first_entry() {
            if entry.get().len() < self.tasks.len() {
                break;
            }
            let (epoch, tasks) = entry.remove_entry();
            let mut traffic = Traffic::default();
            for sent in self.tasks.iter().filter_map(Task::traffic) {
                traffic.rows += sent.rows;
                traffic.batches += sent.batches;
            }
            reports.push(report(job, worker, epoch, tasks, traffic));
        }
        reports
    }
}

fn report(
    job: JobId,
    worker: WorkerIndex,
    epoch: Epoch,
    mut tasks: Vec<TaskEpoch>,
    traffic: Traffic,
) -> EpochReport {
    // Behind the exchanges the watermarks are combined over all workers; the
    // smallest of the tasks' is the one that the whole job has.
    let slots = tasks.iter().map(|t| t.barrier.watermarks.len()).max().unwrap_or(0);
    let watermark = |slot: usize| {
        let of = tasks.iter().filter_map(|t| t.barrier.watermarks.get(slot));
        of.copied().min().unwrap_or(tidemill_types::WATERMARK_END)
    };
    EpochReport {
        job,
        worker,
        epoch,
        end: tasks.iter().all(|t| t.barrier.end),
        aligned: tasks.iter().all(|t| t.aligned),
        watermarks: (0..slots).map(watermark).collect(),
        traffic,
        deltas: tasks.iter_mut().filter_map(|t| t.delta.take()).collect(),
        splits: tasks.iter().flat_map(|t| t.splits.iter().cloned()).collect(),
        operators: tasks.into_iter().flat_map(|t| t.operators).collect(),
    }
}

/// Runs code of a job; a panic becomes the job's error.
fn guarded<T>(run: impl FnOnce() -> Result<T, JobError>) -> Result<T, JobError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a worker panicked".to_owned());
        Err(JobError::Panic(message))
    })
}

/// Longest sleep of a worker that nothing wakes.
const PARK_MAX: Duration = Duration::from_millis(100);

/// Steps the worker on the calling thread until it is told to stop.
pub fn run_on_thread(mut worker: Worker, waker: &Waker, clock: &dyn Clock) {
    waker.bind_to_current_thread();
    loop {
        match worker.step(clock.now()) {
            Stepped::Busy => continue,
            Stepped::Stopped => return,
            Stepped::Idle { .. } => {}
        }
        // Announce, look once more, and only then sleep: nothing is missed.
        waker.about_to_park();
        let now = clock.now();
        match worker.step(now) {
            Stepped::Busy => waker.awake(),
            Stepped::Stopped => return,
            Stepped::Idle { ready_at } => {
                let until = ready_at.map_or(PARK_MAX, |at| {
                    Duration::from_micros(u64::try_from(at.saturating_sub(now)).unwrap_or(0))
                        .min(PARK_MAX)
                });
                if until > Duration::ZERO {
                    worker.stats.parks.fetch_add(1, Ordering::Relaxed);
                    std::thread::park_timeout(until);
                } else {
                    std::thread::yield_now();
                }
                waker.awake();
            }
        }
    }
}
