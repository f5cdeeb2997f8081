//! The operators of a fragment: synchronous transformations of change batches.
//!
//! An operator is driven by its worker and owned by it: it never blocks, never
//! waits, takes no lock and knows neither threads nor rings. It gets whole
//! batches ([`Operator::push`]) and ordered punctuation ([`Operator::barrier`])
//! and appends batches to an [`Output`].
//!
//! # Contract
//! * After [`Step::MoreOutput`] the driver calls [`Operator::resume`] until
//!   [`Step::Done`] before it calls anything else; so an operator with much to
//!   say is bounded per call and still atomic for its driver.
//! * The driver forwards a barrier downstream only after `Done`: what an epoch
//!   owes stands before its barrier.
//! * Barriers come with rising epochs and never falling watermarks. Time moves
//!   only at barriers.
//! * An error is final: the instance is not called again.
//!
//! Invariant: what an operator emits depends on the rows and barriers it got,
//! never on where batches were cut. (Partial aggregates may differ in number,
//! never in what they add up to.)
//!
//! Sources and exchange inputs are not here: the worker drives them itself,
//! because they have no upstream within the fragment.

mod aggregate;
mod assign;
mod error;
mod filter;
mod materialize;
mod placement;
mod project;
mod sink;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidemill_connectors::error::ConnectorError;
use tidemill_connectors::sink::SinkWriter;
use tidemill_storage::state::{Delta, StateBackend};
use tidemill_storage::views::ViewWriter;
use tidemill_types::plan::{self, ChangelogKind};
use tidemill_types::short_circuit::short_circuit;
use tidemill_types::{ChangeBatch, Epoch, EventTime, ObjectId, TableId, VnodeMap, WorkerIndex};

use crate::sink_log::SinkProgress;
pub use error::OperatorError;

/// Whether an operator has said everything that a call owed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Step {
    Done,
    /// [`Operator::resume`] until [`Step::Done`] before anything else.
    MoreOutput,
}

/// The end of an epoch, the same for every operator of the job.
#[derive(Clone, Debug)]
pub struct Barrier {
    pub epoch: Epoch,
    /// The server's clock at the tick, in microseconds since the Unix epoch.
    pub now: EventTime,
    /// The combined watermark of each source of the job, by slot.
    pub watermarks: Arc<[EventTime]>,
    /// Every source has ended: no barrier follows.
    pub end: bool,
    /// The epoch is to be made durable: once it has left a fragment, the state of
    /// the fragment's operators is written down ([`Operator::checkpoint`]).
    pub checkpoint: bool,
}

impl Barrier {
    /// The watermark of slot `slot`.
    pub fn watermark(&self, slot: usize) -> Result<EventTime, OperatorError> {
        self.watermarks.get(slot).copied().ok_or_else(|| {
            OperatorError::internal(format!("the barrier has no watermark slot {slot}"))
        })
    }
}

/// Where an operator puts its batches; the driver drains it into the next one.
#[derive(Debug, Default)]
pub struct Output {
    batches: VecDeque<ChangeBatch>,
    rows: usize,
}

impl Output {
    /// Appends a batch; one without rows is left out.
    pub fn emit(&mut self, batch: ChangeBatch) {
        if batch.num_rows() > 0 {
            self.rows += batch.num_rows();
            self.batches.push_back(batch);
        }
    }

    /// The oldest batch.
    pub fn pop(&mut self) -> Option<ChangeBatch> {
        let batch = self.batches.pop_front()?;
        self.rows -= batch.num_rows();
        Some(batch)
    }

    /// Rows in all waiting batches.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

/// What an operator has counted since it was built; never falls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    pub rows_in: u64,
    pub rows_out: u64,
    /// Rows that a time operator let in.
    pub admitted: u64,
    /// Rows that every window was closed to.
    pub late_rows: u64,
    /// Refused (row, window) pairs.
    pub late_window_rows: u64,
    /// Rows rejected because their event time is NULL.
    pub null_time: u64,
}

impl Counters {
    /// Adds another operator's counts.
    pub fn add(&mut self, other: &Counters) {
        self.rows_in += other.rows_in;
        self.rows_out += other.rows_out;
        self.admitted += other.admitted;
        self.late_rows += other.late_rows;
        self.late_window_rows += other.late_window_rows;
        self.null_time += other.null_time;
    }
}

/// The state that a job was left with by a committed checkpoint.
pub struct Restored<'a> {
    pub backend: &'a dyn StateBackend,
    /// The vnodes that the instance owns now.
    pub vnodes: std::ops::Range<u16>,
    /// The checkpoint's epoch, and the job's combined watermarks at its end.
    pub epoch: Epoch,
    pub watermarks: &'a [EventTime],
}

impl std::fmt::Debug for Restored<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restored")
            .field("vnodes", &self.vnodes)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// One instance of a plan node; see the module's contract.
pub trait Operator: Send {
    /// Takes a batch of input `port` (0 for operators of one input).
    fn push(
        &mut self,
        port: usize,
        batch: ChangeBatch,
        out: &mut Output,
    ) -> Result<Step, OperatorError>;

    /// Every input has reached `barrier`: emits what the epoch owes.
    fn barrier(&mut self, barrier: &Barrier, out: &mut Output) -> Result<Step, OperatorError>;

    /// Goes on where [`Step::MoreOutput`] was answered.
    fn resume(&mut self, out: &mut Output) -> Result<Step, OperatorError>;

    /// Appends to `delta` what has changed in the instance's state tables since the
    /// last call, or since the state was restored. Called after a barrier, when
    /// the instance owes nothing.
    fn checkpoint(&mut self, _delta: &mut Delta) -> Result<(), OperatorError> {
        Ok(())
    }

    /// Takes over what is stored of the instance's vnodes. Called at most once,
    /// before anything else.
    fn restore(&mut self, _from: &Restored<'_>) -> Result<(), OperatorError> {
        Ok(())
    }

    /// Gives up buffered partial output, because the consumer is idle.
    fn flush(&mut self, _out: &mut Output) -> Result<Step, OperatorError> {
        Ok(Step::Done)
    }

    /// Cumulative counts.
    fn counters(&self) -> Counters;

    /// Bytes of memory that the operator holds on to between calls.
    fn state_bytes(&self) -> usize;
}

/// Makes the writer of a view's part on this worker.
pub type OpenView<'a> =
    &'a dyn Fn(ObjectId, &plan::Materialize, &SchemaRef) -> Result<ViewWriter, OperatorError>;

/// Makes the writer of a sink on this worker; the schema has only the columns
/// that the user sees.
pub type OpenSink<'a> =
    &'a dyn Fn(&plan::Sink, SchemaRef) -> Result<Box<dyn SinkWriter>, ConnectorError>;

/// What [`build`] needs beside the plan.
pub struct BuildContext<'a> {
    /// The worker that the instance is for.
    pub worker: WorkerIndex,
    /// Which worker owns which vnode.
    pub vnodes: VnodeMap,
    /// The node's first state table; unused where it has none.
    pub table: TableId,
    pub views: OpenView<'a>,
    pub sinks: OpenSink<'a>,
    /// Of a sink with a log; `None`: the node is no such sink.
    pub(crate) sink_progress: Option<Arc<SinkProgress>>,
    /// Checkpoints will be taken.
    pub durable: bool,
    /// Rows of an emitted batch, at most (at least 1). Batches that are passed
    /// on keep their size.
    pub batch_rows: usize,
}

impl std::fmt::Debug for BuildContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildContext")
            .field("worker", &self.worker)
            .field("vnodes", &self.vnodes)
            .field("batch_rows", &self.batch_rows)
            .finish_non_exhaustive()
    }
}

/// Makes an instance of `node`; `inputs` are the schemas of its inputs.
pub fn build(
    node: &plan::Node,
    inputs: &[SchemaRef],
    cx: &BuildContext<'_>,
) -> Result<Box<dyn Operator>, OperatorError> {
    let name = node.operator.name();
    let input = match inputs {
        [one] => one,
        _ => {
            return Err(OperatorError::internal(format!("{name} has {} inputs", inputs.len())));
        }
    };
    if cx.batch_rows == 0 {
        return Err(OperatorError::internal("a batch has at least one row"));
    }
    let output = Arc::clone(&node.schema);
    Ok(match &node.operator {
        plan::Operator::Source(_) | plan::Operator::ExchangeInput { .. } => {
            return Err(OperatorError::internal(format!("{name} is driven by the worker")));
        }
        plan::Operator::Filter { predicate } => {
            let upsert = node.properties.changelog == ChangelogKind::Upsert;
            Box::new(filter::Filter::new(short_circuit(predicate), upsert))
        }
        plan::Operator::Project { expressions } => {
            let expressions = expressions.iter().map(short_circuit).collect();
            Box::new(project::Project::new(expressions, output)?)
        }
        plan::Operator::AssignSlices(spec) => {
            Box::new(assign::AssignSlices::new(spec.clone(), output))
        }
        plan::Operator::AssignWindows(spec) => {
            Box::new(assign::AssignWindows::new(spec.clone(), output, cx.batch_rows)?)
        }
        plan::Operator::LocalAggregate(spec) => {
            Box::new(aggregate::LocalAggregate::new(spec, input, cx.batch_rows)?)
        }
        plan::Operator::GlobalAggregate(spec) => aggregate::build_global(spec, input, output, cx)?,
        plan::Operator::Materialize(spec) => Box::new(materialize::Materialize::new(
            (cx.views)(spec.view, spec, input)?,
            &node.properties.distribution,
            input,
            cx,
        )?),
        plan::Operator::Sink(spec) => match &spec.log {
            None => Box::new(sink::Direct::new(spec, input, cx)?),
            Some(log) => Box::new(sink::Logged::new(spec, *log, &node.properties, input, cx)?),
        },
    })
}
