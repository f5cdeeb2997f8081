//! What stands behind the wire: engine, views, connectors, query pool, sessions.

use std::sync::Arc;
use std::time::Duration;

use tidemill_connectors::{ConnectorConfig, Connectors};
use tidemill_planner::functions::{session_config, session_state};
use tidemill_runtime::clock::{Clock, SystemClock};
use tidemill_runtime::{Durability, Engine, EngineConfig, JobSnapshot, RestartStrategy};
use tidemill_storage::ViewStore;
use tokio::runtime::Handle;

use super::{Backend, Server, StartError, recover, start_with};
use crate::catalog::Catalog;
use crate::config::{Config, DataDirectory, cores};
use crate::durable::ledger::{CheckpointTotals, Ledger};
use crate::durable::{Durable, DurableConfig};
use crate::http::metrics::{EdgeMetrics, EngineMetrics, JobMetrics, MetricsSource, WorkerMetrics};
use crate::serve::{QueryLimits, QueryRuntime};
use crate::session::{Sessions, Shared};

/// How long a shutdown waits for last checkpoints.
const LAST_CHECKPOINT: Duration = Duration::from_secs(30);

type OpenError = Box<dyn std::error::Error + Send + Sync>;

/// Starts a server as `config` says. Returns as soon as clients can connect.
pub fn start(config: &Config) -> Result<Server, StartError> {
    start_with(config, open)
}

fn open(config: &Config, directory: &DataDirectory, io: &Handle) -> Result<Backend, OpenError> {
    let connectors = Connectors::new(&ConnectorConfig { file_roots: config.file_roots.clone() });
    let queries =
        QueryRuntime::start(QueryLimits { threads: cores(), memory_bytes: config.query_memory })?;
    // Jobs evaluate their expressions with the functions that queries have.
    let functions = session_state(session_config("UTC"), queries.environment()).task_ctx();
    let views = Arc::new(ViewStore::new());
    let clock = Arc::new(SystemClock);
    let mut durable = Durable::open(&DurableConfig {
        store: config.store.as_deref(),
        data_dir: directory.path(),
        retain: usize::from(config.checkpoints_retained),
        io: io.clone(),
        clock: clock.clone(),
    })?;
    let restored = recover::restore(&mut durable);
    let Durable { contents, journal, checkpoints, backend, epochs, ledger } = durable;
    let interval = i64::try_from(config.checkpoint_interval.as_micros()).unwrap_or(i64::MAX);
    let durability = Durability { store: Box::new(checkpoints), interval, epochs };
    let engine_config = EngineConfig {
        workers: config.worker_threads(),
        batch_rows: config.batch_rows as usize,
        tick: config.tick,
        restart: RestartStrategy::default(),
    };
    let engine = Engine::start(
        engine_config,
        connectors.clone(),
        functions,
        Arc::clone(&views),
        clock,
        Some((backend, durability)),
    )?;
    let catalog = Catalog::durable(contents, Box::new(journal));
    let shared = Shared::new(catalog, ledger.clone(), engine.clone(), views, connectors, queries);
    recover::start(&shared, restored);
    let metrics = EngineNumbers { engine: engine.clone(), ledger, tick: config.tick };
    let last = engine.clone();
    Ok(Backend {
        sessions: Arc::new(Sessions::new(Arc::new(shared))),
        metrics: Arc::new(metrics),
        settle: Box::new(move || settle(&last)),
        stop: Box::new(move || engine.stop()),
    })
}

/// Takes a last checkpoint of every job, so that nothing has to be read again.
fn settle(engine: &Engine) {
    for (job, reason) in engine.checkpoint_all(LAST_CHECKPOINT) {
        tracing::warn!(job, reason, "no last checkpoint: it goes on from the one before");
    }
}

/// Reads the engine's numbers at each scrape.
struct EngineNumbers {
    engine: Engine,
    ledger: Ledger,
    tick: Duration,
}

impl EngineNumbers {
    fn job(&self, job: &JobSnapshot, now: u64, checkpoints: CheckpointTotals) -> JobMetrics {
        let totals = job.summary.totals();
        let behind = now.saturating_sub(job.summary.epoch.0);
        JobMetrics {
            job: job.name.clone(),
            rows_in: job.summary.records_read(),
            rows_out: job.summary.rows_out(),
            rows_late: totals.late_rows,
            rows_rejected: job.rejected_rows(),
            state_bytes: job.summary.state_bytes() as u64,
            checkpoints,
            epoch: job.summary.epoch.0,
            epoch_age: self.tick.saturating_mul(u32::try_from(behind).unwrap_or(u32::MAX)),
        }
    }
}

impl MetricsSource for EngineNumbers {
    fn engine_metrics(&self) -> EngineMetrics {
        let now = self.engine.current_epoch();
        let jobs = self.engine.jobs_at(now);
        let checkpoints = self.ledger.totals();
        let of = |job: &JobSnapshot| checkpoints.get(&job.job).copied().unwrap_or_default();
        let edge = |job: &JobSnapshot| EdgeMetrics {
            job: job.name.clone(),
            edge: "exchange".to_owned(),
            batches: job.summary.traffic.batches,
            rows: job.summary.traffic.rows,
        };
        EngineMetrics {
            edges: jobs.iter().map(edge).collect(),
            jobs: jobs.iter().map(|job| self.job(job, now.0, of(job))).collect(),
            now: SystemClock.now(),
            workers: self
                .engine
                .worker_snapshots()
                .iter()
                .map(|w| WorkerMetrics { steps: w.steps, parks: w.parks })
                .collect(),
        }
    }
}
