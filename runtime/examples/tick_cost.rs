//! What idle jobs cost: CPU time of the process while many jobs tick and hardly
//! any row arrives.
//!
//!     cargo run --release -p tidemill-runtime --example tick_cost
//!
//! Each job has five operators in two fragments (source, local and global
//! aggregate, exchange, materialize) and a source of one event a second. Prints
//! the share of one core that the process used over ten seconds.

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::prelude::SessionContext;
use support::{bid_columns, counting_plan, options};
use tidemill_connectors::{ConnectorConfig, Connectors};
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::{Engine, EngineConfig, JobKind, JobSpec, RestartStrategy};
use tidemill_storage::views::{ViewSchema, ViewStore};
use tidemill_types::{JobId, ObjectId, TableId};

const SECONDS: u64 = 10;

/// User and system time of this process, in clock ticks of 10 ms.
fn cpu_ticks() -> Result<u64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let field = |i: usize| after_name.split_whitespace().nth(i).and_then(|f| f.parse::<u64>().ok());
    Ok(field(11).unwrap_or(0) + field(12).unwrap_or(0))
}

fn measure(workers: usize, jobs: u32) -> Result<f64, Box<dyn std::error::Error>> {
    let connectors = Connectors::new(&ConnectorConfig::default());
    let views = Arc::new(ViewStore::new());
    let engine = Engine::start(
        EngineConfig {
            workers,
            batch_rows: 8192,
            tick: Duration::from_millis(100),
            restart: RestartStrategy::None,
        },
        connectors.clone(),
        SessionContext::new().task_ctx(),
        Arc::clone(&views),
        Arc::new(SystemClock),
        None,
    )?;
    let stored = Arc::new(Schema::new(vec![
        bid_columns()[0].clone(),
        Field::new("n", DataType::Int64, false),
    ]));
    for id in 0..jobs {
        let view = ObjectId(100 + id);
        let schema = ViewSchema { stored: Arc::clone(&stored), key: vec![0], append_only: false };
        views.create(view, schema, workers)?;
        engine.create_job(JobSpec {
            job: JobId(id),
            name: format!("job{id}"),
            kind: JobKind::MaterializedView,
            plan: counting_plan(&connectors, &options(0, 1), view, true),
            parallelism: workers,
            view: Some(view),
            first_table: TableId(1),
            restored: None,
        })?;
    }
    std::thread::sleep(Duration::from_secs(1));
    let before = cpu_ticks()?;
    std::thread::sleep(Duration::from_secs(SECONDS));
    let used = cpu_ticks()? - before;
    engine.stop();
    Ok(used as f64 / SECONDS as f64)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout();
    writeln!(out, "workers  jobs  operators  % of one core")?;
    for workers in [1, 2] {
        for jobs in [0, 10, 40] {
            let percent = measure(workers, jobs)?;
            writeln!(out, "{workers:7}  {jobs:4}  {:9}  {percent:13.1}", jobs * 5)?;
        }
    }
    Ok(())
}
