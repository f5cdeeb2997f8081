//! The engine: worker threads, a coordinator thread, and the state they share
//! with those who ask.
//!
//! One mutex guards the control's state; workers never take it. The coordinator
//! thread receives the workers' reports and ticks the clock; callers deploy, drop
//! and pin under the same mutex, holding it only for bookkeeping.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use datafusion::execution::TaskContext;
use parking_lot::{Condvar, Mutex};
use tidemill_connectors::Connectors;
use tidemill_storage::views::ViewStore;
use tidemill_types::plan::{FragmentGraph, Operator, Output, wire};
use tidemill_types::{Epoch, EventTime, ExchangeId, JobId, ObjectId, OperatorId, WorkerIndex};
use tokio::sync::watch;

use super::pin::EpochPin;
use super::progress::{Completion, EpochSummary, JobProgress, common_epoch};
use super::status::{JobKind, JobSnapshot, JobState, JobStatus, WorkerSnapshot};
use crate::clock::Clock;
use crate::error::{EngineError, JobError};
use crate::exchange::{RingReceiver, RingSender, Waker, ring};
use crate::source::Boundaries;
use crate::worker::deploy::{Deployment, Environment, OpenedSource};
use crate::worker::{Command, EpochReport, Report, Worker, WorkerStats, run_on_thread};

/// How long a reader of several jobs waits for a common epoch, and how long
/// versions are kept for a job that lags.
pub const RETENTION: Duration = Duration::from_secs(60);

/// How long [`Engine::drop_job`] waits for the workers to let go.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(30);

/// What does not change while an engine runs.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    pub workers: usize,
    /// Rows of a batch, at most.
    pub batch_rows: usize,
    /// The length of an epoch.
    pub tick: Duration,
}

/// A job to be started.
#[derive(Clone, Debug)]
pub struct JobSpec {
    pub job: JobId,
    pub name: String,
    pub kind: JobKind,
    /// The plan as [`wire::encode`] writes it.
    pub plan: Vec<u8>,
    /// Workers to run it; at most all are used.
    pub parallelism: usize,
    /// The view that it fills, which must exist in the view store with
    /// [`Engine::parts`] parts.
    pub view: Option<ObjectId>,
}

/// The running engine. Clones are handles to the same one.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    config: EngineConfig,
    environment: Environment,
    clock: Arc<dyn Clock>,
    boundaries: Boundaries,
    workers: Vec<WorkerHandle>,
    state: Mutex<State>,
    removed: Condvar,
    /// Counts changes of what is visible, for those who wait.
    changes: watch::Sender<u64>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct WorkerHandle {
    commands: Sender<Command>,
    waker: Waker,
    stats: Arc<WorkerStats>,
}

#[derive(Default)]
struct State {
    epoch: Epoch,
    jobs: BTreeMap<JobId, Job>,
    pins: BTreeMap<Epoch, usize>,
    /// When recent epochs began, oldest first.
    ticks: VecDeque<(Epoch, EventTime)>,
    stopped: bool,
}

struct Job {
    name: String,
    kind: JobKind,
    view: Option<ObjectId>,
    sources: Vec<ObjectId>,
    progress: JobProgress,
    status: watch::Sender<JobStatus>,
    workers: usize,
    deployed: usize,
    removed: usize,
    removing: bool,
    created_at: EventTime,
    started_at: Option<EventTime>,
    finished_at: Option<EventTime>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the worker threads and the coordinator.
    pub fn start(
        config: EngineConfig,
        connectors: Connectors,
        functions: Arc<TaskContext>,
        views: Arc<ViewStore>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Engine> {
        let environment =
            Environment { views, connectors, functions, batch_rows: config.batch_rows };
        let (report_sender, reports) = channel();
        let mut workers = Vec::new();
        let mut threads = Vec::new();
        for i in 0..config.workers.max(1) {
            let (commands, receiver) = channel();
            let waker = Waker::default();
            let stats = Arc::new(WorkerStats::default());
            let index = WorkerIndex(i as u32);
            let worker = Worker::new(index, receiver, report_sender.clone(), Arc::clone(&stats));
            let (thread_waker, thread_clock) = (waker.clone(), Arc::clone(&clock));
            threads.push(
                std::thread::Builder::new()
                    .name(format!("worker-{i}"))
                    .spawn(move || run_on_thread(worker, &thread_waker, &*thread_clock))?,
            );
            workers.push(WorkerHandle { commands, waker, stats });
        }
        let engine = Engine(Arc::new(Inner {
            config,
            environment,
            clock,
            boundaries: Boundaries::default(),
            workers,
            state: Mutex::default(),
            removed: Condvar::new(),
            changes: watch::Sender::new(0),
            threads: Mutex::new(threads),
        }));
        let coordinator = engine.clone();
        let run = std::thread::Builder::new()
            .name("coordinator".into())
            .spawn(move || coordinator.coordinate(&reports))?;
        engine.0.threads.lock().push(run);
        Ok(engine)
    }

    /// Parts that a view must have to be filled by a job of this parallelism.
    #[must_use]
    pub fn parts(&self, parallelism: usize) -> usize {
        parallelism.clamp(1, self.0.workers.len())
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.0.workers.len()
    }

    /// The newest epoch that has begun.
    #[must_use]
    pub fn current_epoch(&self) -> Epoch {
        self.0.state.lock().epoch
    }

    /// Opens the job's sources and hands its plan to the workers. Returns before
    /// the job has done anything; [`Self::status`] tells how it goes.
    pub fn create_job(&self, spec: JobSpec) -> Result<(), EngineError> {
        let start = |e: JobError| EngineError::Start(e.diagnostic());
        let graph =
            wire::decode(&spec.plan, &self.0.environment.functions).map_err(|e| start(e.into()))?;
        let workers = self.parts(spec.parallelism);
        let opened = self.open_sources(&graph)?;
        let mut state = self.0.state.lock();
        if state.stopped {
            return Err(EngineError::Stopped);
        }
        if state.jobs.contains_key(&spec.job) {
            return Err(EngineError::JobExists(spec.job));
        }
        let sources: Vec<ObjectId> = opened.iter().map(|o| o.object).collect();
        let sources_by_operator: HashMap<OperatorId, OpenedSource> = opened
            .into_iter()
            .map(|o| {
                let boundaries = self.0.boundaries.join(o.object, o.splits.len(), spec.job);
                (o.operator, OpenedSource { source: o.source, splits: o.splits, boundaries })
            })
            .collect();
        let status = JobStatus { state: JobState::Creating, visible: None };
        state.jobs.insert(
            spec.job,
            Job {
                name: spec.name,
                kind: spec.kind,
                view: spec.view,
                sources,
                progress: JobProgress::new(workers),
                status: watch::Sender::new(status),
                workers,
                deployed: 0,
                removed: 0,
                removing: false,
                created_at: self.0.clock.now(),
                started_at: None,
                finished_at: None,
            },
        );
        self.deploy(spec.job, workers, spec.plan.into(), &graph, &sources_by_operator);
        Ok(())
    }

    fn open_sources(&self, graph: &FragmentGraph) -> Result<Vec<Opened>, EngineError> {
        let mut opened: Vec<Opened> = Vec::new();
        for node in graph.fragments.iter().flat_map(|f| &f.nodes) {
            let Operator::Source(scan) = &node.operator else { continue };
            let failed = |error| {
                let error = JobError::Source { name: scan.name.clone(), error };
                EngineError::Start(error.diagnostic())
            };
            let connectors = &self.0.environment.connectors;
            let source = connectors.open_source(&scan.connector, &scan.options).map_err(failed)?;
            let splits: Arc<[String]> =
                source.splits().map_err(failed)?.into_iter().map(|s| s.name).collect();
            opened.push(Opened { operator: node.id, object: scan.source, source, splits });
        }
        Ok(opened)
    }

    fn deploy(
        &self,
        job: JobId,
        workers: usize,
        plan: Arc<[u8]>,
        graph: &FragmentGraph,
        sources: &HashMap<OperatorId, OpenedSource>,
    ) {
        let mut senders: Vec<HashMap<ExchangeId, Vec<RingSender>>> = Vec::new();
        let mut receivers: Vec<HashMap<ExchangeId, Vec<RingReceiver>>> = Vec::new();
        senders.resize_with(workers, HashMap::new);
        receivers.resize_with(workers, HashMap::new);
        for fragment in &graph.fragments {
            let Output::Exchange { id, .. } = fragment.output else { continue };
            for (from, from_senders) in senders.iter_mut().enumerate() {
                for (to, to_receivers) in receivers.iter_mut().enumerate() {
                    let waker = |w: usize| self.0.workers[w].waker.clone();
                    let (sender, receiver) = ring(waker(from), waker(to));
                    from_senders.entry(id).or_default().push(sender);
                    to_receivers.entry(id).or_default().push(receiver);
                }
            }
        }
        for (i, (senders, receivers)) in senders.into_iter().zip(receivers).enumerate() {
            let deployment = Deployment {
                job,
                worker: WorkerIndex(i as u32),
                parallelism: workers as u32,
                plan: Arc::clone(&plan),
                sources: sources.clone(),
                senders,
                receivers,
                environment: self.0.environment.clone(),
            };
            self.command(i, Command::Deploy(Box::new(deployment)));
        }
    }

    fn command(&self, worker: usize, command: Command) {
        let handle = &self.0.workers[worker];
        // A worker that has gone away has nothing to be told.
        handle.commands.send(command).ok();
        handle.waker.wake();
    }

    /// Stops a job in whatever state it is and forgets it. Blocks until every
    /// worker has let go.
    pub fn drop_job(&self, job: JobId) -> Result<(), EngineError> {
        let mut state = self.0.state.lock();
        self.remove(&mut state, job)?;
        let deadline =
            std::time::Duration::from_micros(u64::try_from(self.0.clock.now()).unwrap_or(0))
                + REMOVAL_TIMEOUT;
        while state.jobs.get(&job).is_some_and(|j| j.removed < j.workers) && !state.stopped {
            let now = Duration::from_micros(u64::try_from(self.0.clock.now()).unwrap_or(0));
            let Some(left) = deadline.checked_sub(now) else {
                tracing::error!(%job, "workers did not let go of a dropped job in time");
                break;
            };
            self.0.removed.wait_for(&mut state, left);
        }
        state.jobs.remove(&job);
        drop(state);
        self.announce();
        Ok(())
    }

    /// Tells the workers to let go of a job and leaves its sources.
    fn remove(&self, state: &mut State, job: JobId) -> Result<(), EngineError> {
        let entry = state.jobs.get_mut(&job).ok_or(EngineError::NoSuchJob(job))?;
        if entry.removing {
            return Ok(());
        }
        entry.removing = true;
        entry.progress.close();
        for worker in 0..entry.workers {
            self.command(worker, Command::Remove { job });
        }
        for source in &entry.sources {
            self.0.boundaries.leave(*source, job);
        }
        Ok(())
    }

    /// Watches a job.
    pub fn status(&self, job: JobId) -> Result<watch::Receiver<JobStatus>, EngineError> {
        let state = self.0.state.lock();
        let entry = state.jobs.get(&job).ok_or(EngineError::NoSuchJob(job))?;
        Ok(entry.status.subscribe())
    }

    /// Pins the newest epoch, not before `min`, that is visible in all of `jobs`;
    /// waits for one, at most for the retention.
    pub async fn pin(&self, jobs: &[JobId], min: Epoch) -> Result<EpochPin, EngineError> {
        self.pin_covering(jobs, false, min).await
    }

    /// As [`Self::pin`], and visible in all other jobs that can be read. Those may
    /// come and go while it waits.
    pub async fn pin_all(&self, jobs: &[JobId], min: Epoch) -> Result<EpochPin, EngineError> {
        self.pin_covering(jobs, true, min).await
    }

    async fn pin_covering(
        &self,
        jobs: &[JobId],
        others: bool,
        min: Epoch,
    ) -> Result<EpochPin, EngineError> {
        let mut changes = self.0.changes.subscribe();
        let deadline = tokio::time::Instant::now() + RETENTION;
        loop {
            changes.borrow_and_update();
            {
                let mut state = self.0.state.lock();
                let mut progress = state.progress_of(jobs)?;
                if others {
                    let readable = state.jobs.values().map(|j| &j.progress);
                    progress.extend(readable.filter(|p| p.newest().is_some()));
                }
                if let Some(epoch) = common_epoch(&progress, min, state.epoch) {
                    *state.pins.entry(epoch).or_default() += 1;
                    return Ok(EpochPin::new(self.clone(), epoch));
                }
            }
            if !self.wait_for_change(&mut changes, deadline).await? {
                return Err(self.0.state.lock().lagging(jobs));
            }
        }
    }

    /// Waits until the contents of `jobs` at `epoch`, which must be pinned, are
    /// visible.
    pub async fn wait_visible(&self, jobs: &[JobId], epoch: Epoch) -> Result<(), EngineError> {
        let mut changes = self.0.changes.subscribe();
        let deadline = tokio::time::Instant::now() + RETENTION;
        loop {
            changes.borrow_and_update();
            {
                let state = self.0.state.lock();
                let mut all = true;
                for job in jobs {
                    let entry = state.jobs.get(job).ok_or(EngineError::NoSuchJob(*job))?;
                    if entry.progress.is_visible_at(epoch) {
                        continue;
                    }
                    if entry.progress.newest().is_some_and(|newest| newest > epoch) {
                        return Err(EngineError::EpochGone { job: entry.name.clone(), epoch });
                    }
                    all = false;
                }
                if all {
                    return Ok(());
                }
            }
            if !self.wait_for_change(&mut changes, deadline).await? {
                return Err(self.0.state.lock().lagging(jobs));
            }
        }
    }

    /// False at the deadline.
    async fn wait_for_change(
        &self,
        changes: &mut watch::Receiver<u64>,
        deadline: tokio::time::Instant,
    ) -> Result<bool, EngineError> {
        match tokio::time::timeout_at(deadline, changes.changed()).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(_)) => Err(EngineError::Stopped),
            Err(_) => Ok(false),
        }
    }

    pub(super) fn unpin(&self, epoch: Epoch) {
        let mut state = self.0.state.lock();
        if let Some(count) = state.pins.get_mut(&epoch) {
            *count -= 1;
            if *count == 0 {
                state.pins.remove(&epoch);
            }
        }
    }

    /// Every job as of `epoch` (which should be pinned), by id.
    #[must_use]
    pub fn jobs_at(&self, epoch: Epoch) -> Vec<JobSnapshot> {
        let state = self.0.state.lock();
        state.jobs.iter().map(|(id, job)| job.snapshot(*id, epoch)).collect()
    }

    /// For the metrics.
    #[must_use]
    pub fn worker_snapshots(&self) -> Vec<WorkerSnapshot> {
        let snapshot = |(i, handle): (usize, &WorkerHandle)| WorkerSnapshot {
            worker: i as u32,
            steps: handle.stats.steps.load(Ordering::Relaxed),
            parks: handle.stats.parks.load(Ordering::Relaxed),
        };
        self.0.workers.iter().enumerate().map(snapshot).collect()
    }

    /// Stops all jobs and joins the threads. Idempotent.
    pub fn stop(&self) {
        self.0.state.lock().stopped = true;
        for worker in 0..self.0.workers.len() {
            self.command(worker, Command::Stop);
        }
        self.0.removed.notify_all();
        self.announce();
        for thread in std::mem::take(&mut *self.0.threads.lock()) {
            if thread.join().is_err() {
                tracing::error!("an engine thread panicked");
            }
        }
    }

    fn announce(&self) {
        self.0.changes.send_modify(|n| *n += 1);
    }

    /// Handles reports and ticks until the engine stops, which it notices within
    /// a tick.
    fn coordinate(&self, reports: &Receiver<Report>) {
        let tick = i64::try_from(self.0.config.tick.as_micros()).unwrap_or(i64::MAX);
        let mut next_tick = self.0.clock.now() + tick;
        loop {
            let wait = u64::try_from(next_tick - self.0.clock.now()).unwrap_or(0);
            match reports.recv_timeout(Duration::from_micros(wait)) {
                Ok(report) => self.handle(report),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.0.state.lock().stopped {
                return;
            }
            let now = self.0.clock.now();
            if now >= next_tick {
                self.tick(now);
                // Ticks that were missed are not made up for.
                next_tick = now.max(next_tick + tick);
            }
        }
    }

    fn tick(&self, now: EventTime) {
        let mut guard = self.0.state.lock();
        let state = &mut *guard;
        if state.jobs.values().all(|j| j.progress.is_closed()) {
            return;
        }
        state.epoch = state.epoch.next();
        let epoch = state.epoch;
        state.ticks.push_back((epoch, now));
        for (id, job) in &mut state.jobs {
            if job.started_at.is_some() && job.progress.tick(epoch) {
                for worker in 0..job.workers {
                    self.command(worker, Command::EndEpoch { job: *id, epoch, now });
                }
            }
        }
        self.forget(state, now);
    }

    /// Drops versions and summaries that no reader can ask for.
    fn forget(&self, state: &mut State, now: EventTime) {
        let retention = i64::try_from(RETENTION.as_micros()).unwrap_or(i64::MAX);
        while state.ticks.front().is_some_and(|(_, at)| now - at > retention) {
            state.ticks.pop_front();
        }
        let oldest_kept = state.ticks.front().map_or(state.epoch, |(e, _)| *e);
        let live = state.jobs.values().filter(|j| !j.progress.is_closed());
        let common = live.filter_map(|j| j.progress.newest()).min().unwrap_or(state.epoch);
        let pinned = state.pins.keys().next().copied().unwrap_or(state.epoch);
        let floor = common.max(oldest_kept).min(pinned);
        for job in state.jobs.values_mut() {
            // A job that has ended is read at its last visible epoch for ever; a
            // failed one may have sealed parts beyond it.
            let last = job.progress.newest().filter(|_| job.progress.is_closed());
            let floor = last.map_or(floor, |last| floor.min(last));
            job.progress.retain_from(floor);
            if let Some(view) = job.view.and_then(|v| self.0.environment.views.get(v)) {
                view.retain_from(floor);
            }
        }
    }

    fn handle(&self, report: Report) {
        let mut guard = self.0.state.lock();
        let state = &mut *guard;
        match report {
            Report::Deployed { job, .. } => {
                if let Some(entry) = state.jobs.get_mut(&job) {
                    entry.deployed += 1;
                    if entry.deployed == entry.workers {
                        entry.started_at = Some(self.0.clock.now());
                    }
                }
            }
            Report::Epoch(report) => self.handle_epoch(state, *report),
            Report::Failed { job, worker, error } => {
                tracing::error!(%job, %worker, %error, "job failed");
                self.fail(state, job, &error);
            }
            Report::Removed { job, .. } => {
                if let Some(entry) = state.jobs.get_mut(&job) {
                    entry.removed += 1;
                    self.0.removed.notify_all();
                }
            }
        }
        drop(guard);
        self.announce();
    }

    fn handle_epoch(&self, state: &mut State, report: EpochReport) {
        let job = report.job;
        let Some(entry) = state.jobs.get_mut(&job) else { return };
        let mut finished = false;
        for (epoch, completion) in entry.progress.report(report) {
            match completion {
                Completion::CatchingUp => continue,
                Completion::Visible => entry.tell(JobState::Running, Some(epoch)),
                Completion::Finished => {
                    entry.finished_at = Some(self.0.clock.now());
                    entry.tell(JobState::Finished, Some(epoch));
                    finished = true;
                }
            }
        }
        if finished {
            self.remove(state, job).ok();
        }
    }

    fn fail(&self, state: &mut State, job: JobId, error: &JobError) {
        let Some(entry) = state.jobs.get_mut(&job) else { return };
        if entry.status.borrow().state.is_final() {
            return;
        }
        entry.finished_at = Some(self.0.clock.now());
        let visible = entry.progress.newest();
        entry.tell(JobState::Failed(error.diagnostic()), visible);
        self.remove(state, job).ok();
    }
}

/// A source operator of a plan with what was opened for it.
struct Opened {
    operator: OperatorId,
    object: ObjectId,
    source: Arc<dyn tidemill_connectors::source::Source>,
    splits: Arc<[String]>,
}

impl State {
    fn progress_of(&self, jobs: &[JobId]) -> Result<Vec<&JobProgress>, EngineError> {
        if self.stopped {
            return Err(EngineError::Stopped);
        }
        let find =
            |id: &JobId| self.jobs.get(id).map(|j| &j.progress).ok_or(EngineError::NoSuchJob(*id));
        jobs.iter().map(find).collect()
    }

    /// Names the job that is furthest behind.
    fn lagging(&self, jobs: &[JobId]) -> EngineError {
        let live =
            jobs.iter().filter_map(|id| self.jobs.get(id)).filter(|j| !j.progress.is_closed());
        let slowest = live.min_by_key(|j| j.progress.newest());
        EngineError::NoCommonEpoch {
            lagging: slowest.map_or_else(|| "a job".to_owned(), |j| format!("\"{}\"", j.name)),
        }
    }
}

impl Job {
    fn tell(&self, state: JobState, visible: Option<Epoch>) {
        self.status.send_replace(JobStatus { state, visible });
    }

    fn snapshot(&self, id: JobId, epoch: Epoch) -> JobSnapshot {
        JobSnapshot {
            job: id,
            name: self.name.clone(),
            kind: self.kind,
            state: self.status.borrow().state.clone(),
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            parallelism: self.workers as u32,
            summary: self
                .progress
                .at(epoch)
                .map_or_else(EpochSummary::default, |s| EpochSummary::clone(s)),
        }
    }
}
