//! The engine: worker threads, a coordinator thread, and the state they share
//! with those who ask.
//!
//! One mutex guards the control's state; workers never take it. The coordinator
//! thread receives the workers' reports and ticks the clock; callers deploy, drop
//! and pin under the same mutex, holding it only for bookkeeping.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use datafusion::execution::TaskContext;
use parking_lot::{Condvar, Mutex};
use tidemill_connectors::Connectors;
use tidemill_storage::state::StateBackend;
use tidemill_storage::views::ViewStore;
use tidemill_types::plan::{FragmentGraph, Operator, Output, wire};
use tidemill_types::{
    Diagnostic, Epoch, EventTime, ExchangeId, JobId, ObjectId, OperatorId, TableId, WATERMARK_NONE,
    WorkerIndex,
};
use tokio::sync::watch;

use super::delivery::{Delivery, DeliveryWork};
use super::durable::{Durability, JobCheckpoints, JobImage, StorageWork, run_storage};
use super::pin::EpochPin;
use super::progress::{EpochSummary, JobProgress, common_epoch};
use super::redeploy::Return;
use super::restart::{RestartStrategy, Restarts};
use super::sinks::JobSinks;
use super::status::{JobKind, JobSnapshot, JobState, JobStatus, WorkerSnapshot};
use crate::clock::Clock;
use crate::error::{EngineError, JobError};
use crate::exchange::sender::Traffic;
use crate::exchange::{RingReceiver, RingSender, Waker, ring};
use crate::operators::Counters;
use crate::sink_log::SinkProgress;
use crate::source::Boundaries;
use crate::source::leaf::SplitStart;
use crate::worker::deploy::{Deployment, Environment, OpenedSource, RestoredJob};
use crate::worker::task::OperatorSnapshot;
use crate::worker::{Command, Worker, WorkerStats, run_on_thread};

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
    /// What to do about jobs that fail for reasons that may pass.
    pub restart: RestartStrategy,
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
    /// The first of its state tables, which are numbered in plan order.
    pub first_table: TableId,
    /// Where it goes on; `None`: it begins.
    pub restored: Option<JobImage>,
}

/// The running engine. Clones are handles to the same one.
#[derive(Clone)]
pub struct Engine(pub(super) Arc<Inner>);

pub(super) struct Inner {
    /// To the storage thread; `None`: nothing is ever made durable.
    pub(super) storage: Option<Mutex<Sender<StorageWork>>>,
    /// To the delivery thread; `None`: there are no logs to deliver from.
    pub(super) delivery: Option<DeliveryHandle>,
    /// Between two checkpoints of a job, in microseconds.
    pub(super) checkpoint_interval: EventTime,
    pub(super) config: EngineConfig,
    pub(super) environment: Environment,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) boundaries: Boundaries,
    pub(super) workers: Vec<WorkerHandle>,
    pub(super) state: Mutex<State>,
    pub(super) removed: Condvar,
    /// Counts changes of what is visible, for those who wait.
    pub(super) changes: watch::Sender<u64>,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
}

pub(super) struct DeliveryHandle {
    pub(super) work: Mutex<Sender<DeliveryWork>>,
    /// Ends what is being delivered.
    pub(super) stopped: Arc<AtomicBool>,
}

pub(super) struct WorkerHandle {
    pub(super) commands: Sender<Command>,
    pub(super) waker: Waker,
    pub(super) stats: Arc<WorkerStats>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) epoch: Epoch,
    /// Epoch numbers from `epoch` up to this are ours to use.
    pub(super) epochs_end: Epoch,
    pub(super) reserving_epochs: bool,
    pub(super) jobs: BTreeMap<JobId, Job>,
    pub(super) pins: BTreeMap<Epoch, usize>,
    /// When recent epochs began, oldest first.
    pub(super) ticks: VecDeque<(Epoch, EventTime)>,
    pub(super) stopped: bool,
}

pub(super) struct Job {
    pub(super) spec: JobSpec,
    pub(super) sources: Vec<ObjectId>,
    pub(super) progress: JobProgress,
    pub(super) checkpoints: Option<JobCheckpoints>,
    /// Those with a log.
    pub(super) sinks: JobSinks,
    pub(super) status: watch::Sender<JobStatus>,
    pub(super) restarts: Restarts,
    /// Of the failure that it was started again after.
    pub(super) last_error: Option<Diagnostic>,
    /// It is off its workers and will be put back.
    pub(super) returning: Option<Return>,
    /// The parallelism that it is being brought to.
    pub(super) rescaling: Option<usize>,
    /// It reads no more after this epoch.
    pub(super) stopped_after: Option<Epoch>,
    /// A last checkpoint that the store refused, and when to offer it again.
    pub(super) commit_again: Option<(EventTime, JobImage)>,
    pub(super) workers: usize,
    pub(super) deployed: usize,
    pub(super) removed: usize,
    pub(super) removing: bool,
    pub(super) created_at: EventTime,
    pub(super) started_at: Option<EventTime>,
    pub(super) finished_at: Option<EventTime>,
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
        durable: Option<(Arc<dyn StateBackend>, Durability)>,
    ) -> std::io::Result<Engine> {
        let (backend, durability) = durable.unzip();
        let environment =
            Environment { views, connectors, functions, backend, batch_rows: config.batch_rows };
        let (report_sender, reports) = channel();
        let mut workers = Vec::new();
        let mut threads = Vec::new();
        let mut state = State { epochs_end: Epoch(u64::MAX), ..State::default() };
        let mut checkpoint_interval = EventTime::MAX;
        let mut storage = None;
        if let Some(Durability { store, interval, epochs }) = durability {
            (state.epoch, state.epochs_end) = (Epoch(epochs.start), Epoch(epochs.end));
            checkpoint_interval = interval;
            let (work, receiver) = channel();
            let reports = report_sender.clone();
            storage = Some(Mutex::new(work));
            threads.push(
                std::thread::Builder::new()
                    .name("storage".into())
                    .spawn(move || run_storage(store, &receiver, &reports))?,
            );
        }
        let mut delivery = None;
        if let Some(backend) = &environment.backend {
            let (work, receiver) = channel();
            let stopped = Arc::new(AtomicBool::new(false));
            let run = Delivery::new(
                Arc::clone(backend),
                Arc::clone(&clock),
                report_sender.clone(),
                Arc::clone(&stopped),
            );
            delivery = Some(DeliveryHandle { work: Mutex::new(work), stopped });
            threads.push(
                std::thread::Builder::new()
                    .name("delivery".into())
                    .spawn(move || run.run(&receiver))?,
            );
        }
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
            storage,
            delivery,
            checkpoint_interval,
            config,
            environment,
            clock,
            boundaries: Boundaries::default(),
            workers,
            state: Mutex::new(state),
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
        let id = spec.job;
        if self.0.state.lock().jobs.contains_key(&id) {
            return Err(EngineError::JobExists(id));
        }
        let start = |e: JobError| EngineError::Start(e.diagnostic());
        self.launch(spec, |_, job| Some(job)).map_err(start)
    }

    /// Opens a job's sources, registers the job as `register` says (`None`: it is
    /// not wanted any more), and hands its plan to the workers.
    pub(super) fn launch(
        &self,
        spec: JobSpec,
        register: impl FnOnce(&mut State, Job) -> Option<Job>,
    ) -> Result<(), JobError> {
        let graph = wire::decode(&spec.plan, &self.0.environment.functions)?;
        let (job, workers) = (spec.job, self.parts(spec.parallelism));
        let (tables, _) = graph.number_tables(spec.first_table);
        if let Some(image) = spec.restored.clone().filter(|i| i.finished) {
            return self.restore_finished(spec, &graph, tables, &image);
        }
        let opened = self.open_sources(&graph, spec.restored.as_ref())?;
        let sinks = self.open_sinks(&graph, &tables, spec.restored.is_none())?;
        let committed = spec.restored.as_ref().map(|image| image.epoch);
        let mut state = self.0.state.lock();
        let sources: Vec<ObjectId> = opened.iter().map(|o| o.object).collect();
        let restored = spec.restored.as_ref().map(|image| Arc::new(RestoredJob::from(image)));
        let plan: Arc<[u8]> = spec.plan.clone().into();
        let entry = Job { sinks: sinks.clone(), ..self.new_job(spec, &graph, sources) };
        let Some(entry) = register(&mut state, entry) else { return Ok(()) };
        let sources_by_operator: HashMap<OperatorId, OpenedSource> = opened
            .into_iter()
            .map(|o| {
                let starts: Vec<u64> = o.splits.iter().map(|s| s.position).collect();
                let boundaries = self.0.boundaries.join(o.object, &starts, job);
                (o.operator, OpenedSource { source: o.source, splits: o.splits, boundaries })
            })
            .collect();
        state.jobs.insert(job, entry);
        self.begin_delivery(job, &sinks, committed);
        let (tables, sinks) = (Arc::new(tables), sinks.progress());
        let share = Share { job, workers, plan, tables, sinks, restored };
        self.deploy(&share, &graph, &sources_by_operator);
        Ok(())
    }

    fn new_job(&self, spec: JobSpec, graph: &FragmentGraph, sources: Vec<ObjectId>) -> Job {
        let workers = self.parts(spec.parallelism);
        let now = self.0.clock.now();
        let (progress, status) = match &spec.restored {
            None => {
                let status = JobStatus { state: JobState::Creating, visible: None };
                (JobProgress::new(workers), status)
            }
            Some(image) => {
                let finished = image.finished;
                let state = if finished { JobState::Finished } else { JobState::Running };
                let status = JobStatus { state, visible: Some(image.epoch) };
                (JobProgress::restored(workers, summary_of(image, graph), finished), status)
            }
        };
        let image = spec.restored.clone();
        let checkpoints = self
            .0
            .storage
            .is_some()
            .then(|| JobCheckpoints::new(self.0.checkpoint_interval, now, image));
        Job {
            sources,
            finished_at: status.state.is_final().then_some(now),
            progress,
            checkpoints,
            sinks: JobSinks::default(),
            status: watch::Sender::new(status),
            restarts: Restarts::new(self.0.config.restart),
            last_error: None,
            returning: None,
            rescaling: None,
            stopped_after: None,
            commit_again: None,
            workers,
            deployed: 0,
            removed: 0,
            removing: false,
            created_at: now,
            started_at: None,
            spec,
        }
    }

    /// A job that had ended: only what its view held is brought back.
    fn restore_finished(
        &self,
        spec: JobSpec,
        graph: &FragmentGraph,
        tables: BTreeMap<OperatorId, TableId>,
        image: &JobImage,
    ) -> Result<(), JobError> {
        let workers = self.parts(spec.parallelism);
        let sinks = self.open_sinks(graph, &tables, false)?;
        let tables = Arc::new(tables);
        for worker in 0..workers as u32 {
            let deployment = Deployment {
                job: spec.job,
                worker: WorkerIndex(worker),
                parallelism: workers as u32,
                plan: spec.plan.clone().into(),
                sources: HashMap::new(),
                senders: HashMap::new(),
                receivers: HashMap::new(),
                tables: Arc::clone(&tables),
                sinks: sinks.progress(),
                restored: Some(Arc::new(RestoredJob::from(image))),
                environment: self.0.environment.clone(),
            };
            deployment.load_view()?;
        }
        let mut state = self.0.state.lock();
        let id = spec.job;
        let mut job = self.new_job(spec, graph, Vec::new());
        (job.removing, job.removed) = (true, workers);
        job.sinks = sinks.clone();
        state.jobs.insert(id, job);
        self.begin_delivery(id, &sinks, Some(image.epoch));
        Ok(())
    }

    /// Opens the plan's sources; each split starts where `restored` left it.
    fn open_sources(
        &self,
        graph: &FragmentGraph,
        restored: Option<&JobImage>,
    ) -> Result<Vec<Opened>, JobError> {
        let mut opened: Vec<Opened> = Vec::new();
        for node in graph.fragments.iter().flat_map(|f| &f.nodes) {
            let Operator::Source(scan) = &node.operator else { continue };
            let failed = |error| JobError::Source { name: scan.name.clone(), error };
            let connectors = &self.0.environment.connectors;
            let source = connectors.open_source(&scan.connector, &scan.options).map_err(failed)?;
            let names: Vec<String> =
                source.splits().map_err(failed)?.into_iter().map(|s| s.name).collect();
            if let Some(image) = restored {
                image.check_splits(node.id, &scan.name, &names)?;
            }
            let splits = names.into_iter().enumerate().map(|(i, name)| {
                let at = restored.and_then(|image| image.split(node.id, i as u32));
                SplitStart {
                    number: i as u32,
                    name,
                    position: at.map_or(0, |s| s.offset),
                    rejected: at.map_or(0, |s| s.rejected),
                    watermark: at.map_or(WATERMARK_NONE, |s| s.watermark),
                }
            });
            let splits: Arc<[SplitStart]> = splits.collect();
            opened.push(Opened { operator: node.id, object: scan.source, source, splits });
        }
        Ok(opened)
    }

    fn deploy(
        &self,
        share: &Share,
        graph: &FragmentGraph,
        sources: &HashMap<OperatorId, OpenedSource>,
    ) {
        let workers = share.workers;
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
                job: share.job,
                worker: WorkerIndex(i as u32),
                parallelism: workers as u32,
                plan: Arc::clone(&share.plan),
                sources: sources.clone(),
                senders,
                receivers,
                tables: Arc::clone(&share.tables),
                sinks: Arc::clone(&share.sinks),
                restored: share.restored.clone(),
                environment: self.0.environment.clone(),
            };
            self.command(i, Command::Deploy(Box::new(deployment)));
        }
    }

    pub(super) fn command(&self, worker: usize, command: Command) {
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
        self.deliver(DeliveryWork::Forget { job });
        self.store(StorageWork::Forget { job });
        self.announce();
        Ok(())
    }

    pub(super) fn store(&self, work: StorageWork) {
        if let Some(storage) = &self.0.storage {
            // A storage thread that has gone away has nothing to be told.
            storage.lock().send(work).ok();
        }
    }

    /// Takes a checkpoint of every running job and waits for it, at most for
    /// `patience`. Answers the jobs that have none, with the reason.
    pub fn checkpoint_all(&self, patience: Duration) -> Vec<(String, String)> {
        let mut state = self.0.state.lock();
        let mut waiting = Vec::new();
        let mut failed = Vec::new();
        for (id, job) in &mut state.jobs {
            let live = !job.progress.is_closed();
            let Some(checkpoints) = job.checkpoints.as_mut() else { continue };
            if live && !job.progress.is_level() {
                // What it has made nobody has seen: it goes on from its last one.
                let reason = "it is catching up with its sources".to_owned();
                failed.push((job.spec.name.clone(), reason));
            } else if live || checkpoints.is_under_way() {
                waiting.push((*id, checkpoints.request()));
            }
        }
        let deadline = std::time::Instant::now() + patience;
        let is_done = |state: &State, (id, attempts): (JobId, u64)| {
            state.stopped
                || state.jobs.get(&id).is_none_or(|j| {
                    let stored = j.checkpoints.as_ref();
                    stored.is_none_or(|c| {
                        c.attempts() >= attempts || (j.progress.is_closed() && !c.is_under_way())
                    })
                })
        };
        while !waiting.iter().all(|w| is_done(&state, *w)) {
            if self.0.removed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        for (id, attempts) in waiting {
            let Some(job) = state.jobs.get(&id) else { continue };
            let Some(checkpoints) = &job.checkpoints else { continue };
            if let Some(error) = checkpoints.last_error() {
                failed.push((job.spec.name.clone(), error.to_owned()));
            } else if !is_done(&state, (id, attempts)) {
                failed.push((job.spec.name.clone(), "it did not end in time".to_owned()));
            }
        }
        failed
    }

    /// Tells the workers to let go of a job and leaves its sources.
    pub(super) fn remove(&self, state: &mut State, job: JobId) -> Result<(), EngineError> {
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

    /// As [`Self::pin`], and visible in all other jobs that can be read, unless they
    /// are being started again. Those may come and go while it waits.
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
                    // Nobody reads a sink, and one that waits for room must not hold up
                    // those who read.
                    let views = state.jobs.values().filter(|j| j.spec.kind != JobKind::Sink);
                    let there = views.filter(|j| j.returning.is_none()).map(|j| &j.progress);
                    progress.extend(there.filter(|p| p.newest().is_some()));
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
                        return Err(EngineError::EpochGone { job: entry.spec.name.clone(), epoch });
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
        self.store(StorageWork::Stop);
        if let Some(delivery) = &self.0.delivery {
            delivery.stopped.store(true, Ordering::Relaxed);
        }
        self.deliver(DeliveryWork::Stop);
        self.0.removed.notify_all();
        self.announce();
        for thread in std::mem::take(&mut *self.0.threads.lock()) {
            if thread.join().is_err() {
                tracing::error!("an engine thread panicked");
            }
        }
    }

    pub(super) fn announce(&self) {
        self.0.changes.send_modify(|n| *n += 1);
    }
}

/// A source operator of a plan with what was opened for it.
struct Opened {
    operator: OperatorId,
    object: ObjectId,
    source: Arc<dyn tidemill_connectors::source::Source>,
    splits: Arc<[SplitStart]>,
}

/// What the deployments of a job have in common.
struct Share {
    job: JobId,
    workers: usize,
    plan: Arc<[u8]>,
    tables: Arc<BTreeMap<OperatorId, TableId>>,
    sinks: Arc<BTreeMap<OperatorId, Arc<SinkProgress>>>,
    restored: Option<Arc<RestoredJob>>,
}

/// What a restored job had done, as an epoch of its history.
fn summary_of(image: &JobImage, graph: &FragmentGraph) -> EpochSummary {
    let nodes = graph.fragments.iter().flat_map(|f| &f.nodes);
    let names: HashMap<OperatorId, &'static str> =
        nodes.map(|n| (n.id, n.operator.name())).collect();
    let snapshot = |(id, counters): &(OperatorId, Counters)| OperatorSnapshot {
        id: *id,
        name: names.get(id).copied().unwrap_or("Unknown"),
        counters: *counters,
        state_bytes: 0,
    };
    EpochSummary {
        epoch: image.epoch,
        splits: image.splits.clone(),
        operators: image.counters.iter().map(snapshot).collect(),
        watermarks: image.watermarks.clone(),
        traffic: Traffic::default(),
    }
}

impl State {
    pub(super) fn job(&mut self, job: JobId) -> Result<&mut Job, EngineError> {
        self.jobs.get_mut(&job).ok_or(EngineError::NoSuchJob(job))
    }

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
            lagging: slowest.map_or_else(|| "a job".to_owned(), |j| format!("\"{}\"", j.spec.name)),
        }
    }
}

impl Job {
    pub(super) fn tell(&self, state: JobState, visible: Option<Epoch>) {
        self.status.send_replace(JobStatus { state, visible });
    }

    fn snapshot(&self, id: JobId, epoch: Epoch) -> JobSnapshot {
        JobSnapshot {
            job: id,
            name: self.spec.name.clone(),
            kind: self.spec.kind,
            state: self.status.borrow().state.clone(),
            last_error: self.last_error.clone(),
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            parallelism: self.workers as u32,
            durable: self.checkpoints.as_ref().and_then(JobCheckpoints::durable),
            delivered_epoch: self.sinks.delivered(),
            delivery_error: self.sinks.failure(),
            summary: self
                .progress
                .at(epoch)
                .map_or_else(EpochSummary::default, |s| EpochSummary::clone(s)),
        }
    }
}
