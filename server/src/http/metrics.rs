//! What the server counts, and how it is shown to Prometheus.
//!
//! The wire counts for itself ([`ServerMetrics`]); the engine's numbers are read
//! from it at each scrape through [`MetricsSource`], so that no operator ever
//! touches a shared counter for the sake of this page. Names follow Prometheus'
//! rules: base units, `_total` for counters.

use std::time::{Duration, Instant};

use prometheus::{
    CounterVec, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::durable::ledger::CheckpointTotals;

/// How a statement ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Completed,
    Failed,
    /// By its client or by its timeout.
    Canceled,
    /// Its connection ended first.
    Abandoned,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::Failed => "failed",
            Outcome::Canceled => "canceled",
            Outcome::Abandoned => "abandoned",
        }
    }
}

/// The counters of the process and its listeners.
#[derive(Debug)]
pub struct ServerMetrics {
    registry: Registry,
    started: Instant,
    connections: IntGauge,
    pub(crate) connections_refused: IntCounter,
    connections_total: IntCounter,
    statements: IntCounterVec,
    statement_seconds: Histogram,
}

impl ServerMetrics {
    /// Fails only if two metrics have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        // Half a millisecond to eight seconds and beyond.
        let buckets = prometheus::exponential_buckets(0.0005, 4.0, 8)?;
        let seconds = "Time from a statement's start to its last row.";
        let metrics = ServerMetrics {
            registry: Registry::new(),
            started: Instant::now(),
            connections: IntGauge::new("tidemill_connections", "Sessions that are open.")?,
            connections_refused: IntCounter::new(
                "tidemill_connections_refused_total",
                "Connections that found all places taken.",
            )?,
            connections_total: IntCounter::new(
                "tidemill_connections_opened_total",
                "Sessions that were opened.",
            )?,
            statements: IntCounterVec::new(
                Opts::new("tidemill_statements_total", "Statements that ended, by how they did."),
                &["outcome"],
            )?,
            statement_seconds: Histogram::with_opts(
                HistogramOpts::new("tidemill_statement_seconds", seconds).buckets(buckets),
            )?,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(self.connections.clone()))?;
        self.registry.register(Box::new(self.connections_refused.clone()))?;
        self.registry.register(Box::new(self.connections_total.clone()))?;
        self.registry.register(Box::new(self.statements.clone()))?;
        self.registry.register(Box::new(self.statement_seconds.clone()))
    }

    /// Counts a session while the result lives.
    #[must_use]
    pub fn connection_opened(&self) -> OpenConnection {
        self.connections.inc();
        self.connections_total.inc();
        OpenConnection { connections: self.connections.clone() }
    }

    /// Counts a statement.
    pub fn statement(&self, outcome: Outcome, took: Duration) {
        self.statements.with_label_values(&[outcome.label()]).inc();
        self.statement_seconds.observe(took.as_secs_f64());
    }

    /// Sessions that are open.
    #[must_use]
    pub fn connections(&self) -> i64 {
        self.connections.get()
    }

    /// Since the server's start.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A session that is counted as open.
#[derive(Debug)]
pub struct OpenConnection {
    connections: IntGauge,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.dec();
    }
}

/// What the engine tells about itself at one moment. Counts are since its start.
#[derive(Clone, Debug, Default)]
pub struct EngineMetrics {
    /// By the server's clock, in microseconds since the Unix epoch.
    pub now: i64,
    pub jobs: Vec<JobMetrics>,
    pub edges: Vec<EdgeMetrics>,
    /// Indexed by worker.
    pub workers: Vec<WorkerMetrics>,
}

/// One view or sink.
#[derive(Clone, Debug, Default)]
pub struct JobMetrics {
    pub job: String,
    pub rows_in: u64,
    pub rows_out: u64,
    /// Rows behind the watermark.
    pub rows_late: u64,
    /// Records that could not be decoded.
    pub rows_rejected: u64,
    /// Bytes that its operators keep.
    pub state_bytes: u64,
    pub checkpoints: CheckpointTotals,
    /// The epoch that readers see.
    pub epoch: u64,
    /// Since that epoch became visible.
    pub epoch_age: Duration,
}

/// One way that batches take between operators of a job.
#[derive(Clone, Debug, Default)]
pub struct EdgeMetrics {
    pub job: String,
    pub edge: String,
    pub batches: u64,
    pub rows: u64,
}

/// One worker thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerMetrics {
    /// How often it looked for work and did what there was.
    pub steps: u64,
    /// How often it went to sleep for want of work.
    pub parks: u64,
}

/// Reads the engine's numbers; must not block.
pub trait MetricsSource: Send + Sync {
    fn engine_metrics(&self) -> EngineMetrics;
}

/// A server without an engine has no numbers of it.
impl MetricsSource for () {
    fn engine_metrics(&self) -> EngineMetrics {
        EngineMetrics::default()
    }
}

/// Everything in Prometheus' text format.
pub fn render(server: &ServerMetrics, engine: &EngineMetrics) -> Result<String, prometheus::Error> {
    let mut families = server.registry.gather();
    families.extend(engine_registry(engine)?.gather());
    TextEncoder::new().encode_to_string(&families)
}

/// A registry that lives for one scrape.
fn engine_registry(engine: &EngineMetrics) -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    let counter = |name: &str, help: &str, labels: &[&str]| {
        let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
        registry.register(Box::new(counter.clone()))?;
        Ok::<_, prometheus::Error>(counter)
    };
    let job = ["job"];
    let rows_in = counter("tidemill_job_rows_in_total", "Rows read from sources.", &job)?;
    let rows_out = counter("tidemill_job_rows_out_total", "Rows written to results.", &job)?;
    let late = counter("tidemill_job_rows_late_total", "Rows behind the watermark.", &job)?;
    let rejected =
        counter("tidemill_job_rows_rejected_total", "Records that cannot be decoded.", &job)?;
    let edge = ["job", "edge"];
    let edge_batches = counter("tidemill_edge_batches_total", "Batches between operators.", &edge)?;
    let edge_rows = counter("tidemill_edge_rows_total", "Rows between operators.", &edge)?;
    let epoch = IntGaugeVec::new(Opts::new("tidemill_job_epoch", "The visible epoch."), &job)?;
    let age = GaugeVec::new(
        Opts::new("tidemill_job_epoch_age_seconds", "Since the visible epoch became visible."),
        &job,
    )?;
    let worker = ["worker"];
    let steps = counter("tidemill_worker_steps_total", "Steps of a worker.", &worker)?;
    let parks =
        counter("tidemill_worker_parks_total", "Times that a worker went to sleep.", &worker)?;
    let state = IntGaugeVec::new(
        Opts::new("tidemill_job_state_bytes", "Bytes that a job's operators keep."),
        &job,
    )?;
    registry.register(Box::new(epoch.clone()))?;
    registry.register(Box::new(age.clone()))?;
    registry.register(Box::new(state.clone()))?;

    let checkpoints = CheckpointFamilies::register(&registry)?;

    for job in &engine.jobs {
        checkpoints.add(&job.job, &job.checkpoints, engine.now);
        let label = [job.job.as_str()];
        rows_in.with_label_values(&label).inc_by(job.rows_in);
        rows_out.with_label_values(&label).inc_by(job.rows_out);
        late.with_label_values(&label).inc_by(job.rows_late);
        rejected.with_label_values(&label).inc_by(job.rows_rejected);
        epoch.with_label_values(&label).set(i64::try_from(job.epoch).unwrap_or(i64::MAX));
        state.with_label_values(&label).set(i64::try_from(job.state_bytes).unwrap_or(i64::MAX));
        age.with_label_values(&label).set(job.epoch_age.as_secs_f64());
    }
    for edge in &engine.edges {
        let labels = [edge.job.as_str(), edge.edge.as_str()];
        edge_batches.with_label_values(&labels).inc_by(edge.batches);
        edge_rows.with_label_values(&labels).inc_by(edge.rows);
    }
    for (index, worker) in engine.workers.iter().enumerate() {
        let label = [index.to_string()];
        steps.with_label_values(&label).inc_by(worker.steps);
        parks.with_label_values(&label).inc_by(worker.parks);
    }
    Ok(registry)
}

/// What is told of jobs' checkpoints.
struct CheckpointFamilies {
    ended: IntCounterVec,
    seconds: CounterVec,
    bytes: IntCounterVec,
    age: GaugeVec,
}

impl CheckpointFamilies {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let job = ["job"];
        let families = CheckpointFamilies {
            ended: IntCounterVec::new(
                Opts::new("tidemill_checkpoints_total", "Checkpoints that ended, by how they did."),
                &["job", "outcome"],
            )?,
            seconds: CounterVec::new(
                Opts::new("tidemill_checkpoint_seconds_total", "Time taken to store checkpoints."),
                &job,
            )?,
            bytes: IntCounterVec::new(
                Opts::new("tidemill_checkpoint_bytes_total", "Bytes stored with checkpoints."),
                &job,
            )?,
            age: GaugeVec::new(
                Opts::new("tidemill_checkpoint_age_seconds", "Since the last checkpoint."),
                &job,
            )?,
        };
        registry.register(Box::new(families.ended.clone()))?;
        registry.register(Box::new(families.seconds.clone()))?;
        registry.register(Box::new(families.bytes.clone()))?;
        registry.register(Box::new(families.age.clone()))?;
        Ok(families)
    }

    fn add(&self, job: &str, totals: &CheckpointTotals, now: i64) {
        const MICROS: f64 = 1e6;
        self.ended.with_label_values(&[job, "committed"]).inc_by(totals.committed);
        self.ended.with_label_values(&[job, "failed"]).inc_by(totals.failed);
        self.seconds.with_label_values(&[job]).inc_by(totals.micros as f64 / MICROS);
        self.bytes.with_label_values(&[job]).inc_by(totals.bytes);
        if let Some(at) = totals.last_at {
            self.age.with_label_values(&[job]).set(now.saturating_sub(at) as f64 / MICROS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_server_and_engine() {
        let server = ServerMetrics::new().unwrap();
        let open = server.connection_opened();
        server.statement(Outcome::Completed, Duration::from_millis(2));
        let checkpoints = CheckpointTotals {
            committed: 4,
            failed: 1,
            bytes: 9,
            micros: 1_500_000,
            last_at: Some(2),
        };
        let engine = EngineMetrics {
            now: 3_000_002,
            jobs: vec![JobMetrics {
                job: "v".into(),
                rows_in: 7,
                rows_late: 2,
                checkpoints,
                ..Default::default()
            }],
            edges: vec![EdgeMetrics { job: "v".into(), edge: "1->2".into(), batches: 1, rows: 7 }],
            workers: vec![WorkerMetrics { steps: 5, parks: 3 }],
        };
        let text = render(&server, &engine).unwrap();
        for line in [
            "tidemill_connections 1",
            "tidemill_statements_total{outcome=\"completed\"} 1",
            "tidemill_statement_seconds_bucket{le=\"0.002\"} 1",
            "tidemill_job_rows_in_total{job=\"v\"} 7",
            "tidemill_job_rows_late_total{job=\"v\"} 2",
            "tidemill_edge_rows_total{edge=\"1->2\",job=\"v\"} 7",
            "tidemill_worker_parks_total{worker=\"0\"} 3",
            "tidemill_checkpoints_total{job=\"v\",outcome=\"committed\"} 4",
            "tidemill_checkpoints_total{job=\"v\",outcome=\"failed\"} 1",
            "tidemill_checkpoint_seconds_total{job=\"v\"} 1.5",
            "tidemill_checkpoint_bytes_total{job=\"v\"} 9",
            "tidemill_checkpoint_age_seconds{job=\"v\"} 3",
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line} in\n{text}");
        }
        drop(open);
        assert_eq!(server.connections(), 0);
    }
}
