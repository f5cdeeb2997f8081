//! What stands behind the wire: engine, views, connectors, query pool, sessions.

use std::sync::Arc;
use std::time::Duration;

use tidemill_connectors::{ConnectorConfig, Connectors};
use tidemill_planner::functions::{session_config, session_state};
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::{Engine, EngineConfig, JobSnapshot};
use tidemill_storage::ViewStore;

use super::{Backend, Server, StartError, start_with};
use crate::config::{Config, DataDirectory, cores};
use crate::http::metrics::{EdgeMetrics, EngineMetrics, JobMetrics, MetricsSource, WorkerMetrics};
use crate::serve::{QueryLimits, QueryRuntime};
use crate::session::{Sessions, Shared};

type OpenError = Box<dyn std::error::Error + Send + Sync>;

/// Starts a server as `config` says. Returns as soon as clients can connect.
pub fn start(config: &Config) -> Result<Server, StartError> {
    start_with(config, open)
}

fn open(config: &Config, _directory: &DataDirectory) -> Result<Backend, OpenError> {
    let connectors = Connectors::new(&ConnectorConfig { file_roots: config.file_roots.clone() });
    let queries =
        QueryRuntime::start(QueryLimits { threads: cores(), memory_bytes: config.query_memory })?;
    // Jobs evaluate their expressions with the functions that queries have.
    let functions = session_state(session_config("UTC"), queries.environment()).task_ctx();
    let views = Arc::new(ViewStore::new());
    let engine_config = EngineConfig {
        workers: config.worker_threads(),
        batch_rows: config.batch_rows as usize,
        tick: config.tick,
    };
    let clock = Arc::new(SystemClock);
    let engine =
        Engine::start(engine_config, connectors.clone(), functions, Arc::clone(&views), clock)?;
    let shared = Shared::new(engine.clone(), views, connectors, queries);
    let metrics = EngineNumbers { engine: engine.clone(), tick: config.tick };
    Ok(Backend {
        sessions: Arc::new(Sessions::new(Arc::new(shared))),
        metrics: Arc::new(metrics),
        stop: Box::new(move || engine.stop()),
    })
}

/// Reads the engine's numbers at each scrape.
struct EngineNumbers {
    engine: Engine,
    tick: Duration,
}

impl EngineNumbers {
    fn job(&self, job: &JobSnapshot, now: u64) -> JobMetrics {
        let totals = job.summary.totals();
        let behind = now.saturating_sub(job.summary.epoch.0);
        JobMetrics {
            job: job.name.clone(),
            rows_in: job.summary.records_read(),
            rows_out: job.summary.rows_out(),
            rows_late: totals.late_rows,
            rows_rejected: job.rejected_rows(),
            state_bytes: job.summary.state_bytes() as u64,
            epoch: job.summary.epoch.0,
            epoch_age: self.tick.saturating_mul(u32::try_from(behind).unwrap_or(u32::MAX)),
        }
    }
}

impl MetricsSource for EngineNumbers {
    fn engine_metrics(&self) -> EngineMetrics {
        let now = self.engine.current_epoch();
        let jobs = self.engine.jobs_at(now);
        let edge = |job: &JobSnapshot| EdgeMetrics {
            job: job.name.clone(),
            edge: "exchange".to_owned(),
            batches: job.summary.traffic.batches,
            rows: job.summary.traffic.rows,
        };
        EngineMetrics {
            edges: jobs.iter().map(edge).collect(),
            jobs: jobs.iter().map(|job| self.job(job, now.0)).collect(),
            workers: self
                .engine
                .worker_snapshots()
                .iter()
                .map(|w| WorkerMetrics { steps: w.steps, parks: w.parks })
                .collect(),
        }
    }
}
