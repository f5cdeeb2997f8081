//! The `query` pool: threads, memory and streams of ad hoc queries.
//!
//! Queries run on a tokio runtime of their own, so that neither sockets nor
//! dataflow workers wait for a large sort. A query is one task that plans and
//! executes; its batches cross a channel of [`CHANNEL_BATCHES`] to the session, so
//! a reader that stops reading stops the query. Dropping the stream aborts the
//! task, which drops the plan and everything that it holds, and tells what computes
//! without yielding to stop ([`super::stop`]).
//!
//! Operators that keep state (sorts, joins, aggregations) take their memory from
//! one shared pool; beyond its limit they spill where they can and fail with 53200
//! where they cannot. A panic in a query ends that query alone, with XX000.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::stream::{BoxStream, Stream, StreamExt};
use tidemill_types::{Diagnostic, SqlState};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::error::query_error;
use super::sleep::check_sleep;
use super::stop::{StopFlag, StopOnDrop, stoppable};

/// Batches between a query and its reader.
const CHANNEL_BATCHES: usize = 2;

/// Sizes of the query pool.
#[derive(Clone, Copy, Debug)]
pub struct QueryLimits {
    /// Threads, and partitions that a query is cut into.
    pub threads: usize,
    /// Bytes that all running queries together may keep as state.
    pub memory_bytes: usize,
}

/// Runs queries.
#[derive(Debug)]
pub struct QueryRuntime {
    /// `None` only while being dropped.
    runtime: Option<Runtime>,
    environment: Arc<RuntimeEnv>,
    limits: QueryLimits,
}

/// Rows of a query as they come.
pub type Rows = BoxStream<'static, Result<RecordBatch, Diagnostic>>;

impl QueryRuntime {
    /// Starts the threads.
    ///
    /// # Errors
    /// The operating system refuses threads or a directory for spilled state.
    pub fn start(limits: QueryLimits) -> Result<Self, Diagnostic> {
        let threads = limits.threads.max(1);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("query")
            .thread_stack_size(tidemill_planner::STACK_BYTES_MIN)
            .enable_all()
            .build()
            .map_err(|e| {
                Diagnostic::new(SqlState::INSUFFICIENT_RESOURCES, format!("query threads: {e}"))
            })?;
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(limits.memory_bytes)))
            .build_arc()
            .map_err(|e| query_error(&e))?;
        let limits = QueryLimits { threads, ..limits };
        Ok(QueryRuntime { runtime: Some(runtime), environment, limits })
    }

    /// What sessions' states are built with, so that they share the memory pool.
    #[must_use]
    pub fn environment(&self) -> Arc<RuntimeEnv> {
        Arc::clone(&self.environment)
    }

    #[must_use]
    pub fn limits(&self) -> QueryLimits {
        self.limits
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("the runtime lives as long as its owner")
    }

    /// Optimises, plans and starts a bound query. Returns when it has been
    /// planned, with the columns of its rows.
    ///
    /// # Errors
    /// What planning finds; errors of execution come through the stream.
    pub async fn run(
        &self,
        state: SessionState,
        plan: LogicalPlan,
    ) -> Result<(SchemaRef, Rows), Diagnostic> {
        let (planned, schema) = oneshot::channel();
        let (sender, batches) = mpsc::channel(CHANNEL_BATCHES);
        let stop = StopFlag::default();
        let task = self.runtime().spawn(query(state, plan, stop.clone(), planned, sender));
        let mut rows = TaskRows { batches, task: Some(Task(task)), _stop: StopOnDrop(stop) };
        match schema.await {
            Ok(Ok(schema)) => Ok((schema, rows.boxed())),
            Ok(Err(diagnostic)) => Err(diagnostic),
            // The task ended without an answer: it panicked.
            Err(_) => match rows.next().await {
                Some(Err(diagnostic)) => Err(diagnostic),
                _ => Err(Diagnostic::internal("the query ended without an answer")),
            },
        }
    }

    /// The plan that [`Self::run`] would execute, for EXPLAIN.
    ///
    /// # Errors
    /// What planning finds.
    pub async fn physical_plan(
        &self,
        state: SessionState,
        plan: LogicalPlan,
    ) -> Result<Arc<dyn ExecutionPlan>, Diagnostic> {
        let planning = async move { state.create_physical_plan(&plan).await };
        let mut task = Task(self.runtime().spawn(planning));
        match (&mut task.0).await {
            Ok(plan) => plan.map_err(|e| query_error(&e)),
            Err(error) => Err(panicked(error)),
        }
    }

    /// How many queries, and parts of queries, have not ended.
    #[cfg(test)]
    pub fn tasks(&self) -> usize {
        self.runtime().metrics().num_alive_tasks()
    }

    /// Runs something that may block for a while (listing files) off the sockets'
    /// threads.
    ///
    /// # Errors
    /// XX000 when it panics.
    pub async fn block<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Diagnostic> {
        self.runtime().spawn_blocking(work).await.map_err(panicked)
    }

    /// Like [`Self::block`] for what nobody waits for.
    pub fn detach(&self, work: impl FnOnce() + Send + 'static) {
        drop(self.runtime().spawn_blocking(work));
    }
}

impl Drop for QueryRuntime {
    /// Waiting for blocked threads is not allowed inside another runtime.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn query(
    state: SessionState,
    plan: LogicalPlan,
    stop: StopFlag,
    planned: oneshot::Sender<Result<SchemaRef, Diagnostic>>,
    sender: mpsc::Sender<Result<RecordBatch, Diagnostic>>,
) {
    let stream = state.create_physical_plan(&plan).await.and_then(|physical| {
        check_sleep(&physical)?;
        execute_stream(stoppable(physical, &stop)?, state.task_ctx())
    });
    let mut stream = match stream {
        Ok(stream) => stream,
        Err(error) => {
            // The reader may have gone; nobody is left to tell.
            let _ = planned.send(Err(query_error(&error)));
            return;
        }
    };
    if planned.send(Ok(stream.schema())).is_err() {
        return;
    }
    while let Some(batch) = stream.next().await {
        let failed = batch.is_err();
        if sender.send(batch.map_err(|e| query_error(&e))).await.is_err() || failed {
            return;
        }
    }
}

/// A task that ends with its handle.
#[derive(Debug)]
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct TaskRows {
    batches: mpsc::Receiver<Result<RecordBatch, Diagnostic>>,
    /// `None` once its end has been looked at.
    task: Option<Task<()>>,
    _stop: StopOnDrop,
}

impl Stream for TaskRows {
    type Item = Result<RecordBatch, Diagnostic>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.batches.poll_recv(cx) {
            Poll::Ready(Some(batch)) => return Poll::Ready(Some(batch)),
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => {}
        }
        // The channel closes when the task ends, in whatever way.
        let Some(task) = &mut self.task else { return Poll::Ready(None) };
        match Pin::new(&mut task.0).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(end) => {
                self.task = None;
                Poll::Ready(end.err().map(|error| Err(panicked(error))))
            }
        }
    }
}

fn panicked(error: tokio::task::JoinError) -> Diagnostic {
    if error.is_cancelled() {
        return Diagnostic::new(SqlState::ADMIN_SHUTDOWN, "the server is shutting down");
    }
    let payload = error.into_panic();
    let what = payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    tracing::error!(panic = %what, "a query panicked");
    Diagnostic::internal("the query failed because of a defect of the server")
        .with_detail(what)
        .with_hint("Only this statement failed. Please report it.")
}
