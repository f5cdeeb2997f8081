//! The logged sinks of a job, as the control knows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_connectors::ConnectorError;
use tidemill_connectors::sink::{LoggedSink, RowShape};
use tidemill_storage::state::Delta;
use tidemill_types::plan::{Fragment, FragmentGraph, Node, Operator, Sink, SinkLog};
use tidemill_types::{Diagnostic, Epoch, JobId, OperatorId, TableId};

use super::delivery::DeliveryWork;
use super::durable::StorageWork;
use super::engine::{Engine, State};
use super::status::JobState;
use crate::error::JobError;
use crate::operators::OperatorError;
use crate::sink_log::{LogTable, SinkProgress};

/// A sink whose rows are delivered from its log.
#[derive(Debug)]
pub(super) struct OpenSink {
    pub operator: OperatorId,
    pub name: String,
    pub log: SinkLog,
    pub table: LogTable,
    pub shape: RowShape,
    pub target: Arc<dyn LoggedSink>,
    pub progress: Arc<SinkProgress>,
}

/// Those of one job.
#[derive(Clone, Debug, Default)]
pub(super) struct JobSinks {
    all: Vec<Arc<OpenSink>>,
    /// The log of a job that has ended is being emptied, or has been.
    emptied: bool,
}

impl JobSinks {
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// A checkpoint should be taken before it is due.
    pub fn are_filling(&self) -> bool {
        self.all.iter().any(|s| s.progress.is_filling())
    }

    /// No further row should be read.
    pub fn are_full(&self) -> bool {
        self.all.iter().any(|s| s.progress.is_full())
    }

    /// The checkpoint of `epoch` is committed.
    pub fn committed(&self, epoch: Epoch) {
        self.all.iter().for_each(|s| s.progress.committed(epoch));
    }

    /// The epoch up to which everything is delivered; `None`: nothing is known to be.
    pub fn delivered(&self) -> Option<Epoch> {
        self.all.iter().map(|s| s.progress.delivered()).min().flatten()
    }

    /// Why delivery does not get on.
    pub fn failure(&self) -> Option<Diagnostic> {
        self.all.iter().find_map(|s| s.progress.failure())
    }

    /// For the workers, by operator.
    pub fn progress(&self) -> Arc<BTreeMap<OperatorId, Arc<SinkProgress>>> {
        Arc::new(self.all.iter().map(|s| (s.operator, Arc::clone(&s.progress))).collect())
    }
}

impl Engine {
    /// Opens a plan's logged sinks. `begins`: the job has no checkpoint yet, so that
    /// nothing of it can have been delivered.
    pub(super) fn open_sinks(
        &self,
        graph: &FragmentGraph,
        tables: &BTreeMap<OperatorId, TableId>,
        begins: bool,
    ) -> Result<JobSinks, JobError> {
        let mut sinks = JobSinks::default();
        if self.0.environment.backend.is_none() {
            // The operator says why there can be none.
            return Ok(sinks);
        }
        for fragment in &graph.fragments {
            for node in &fragment.nodes {
                let Operator::Sink(sink) = &node.operator else { continue };
                let Some(log) = sink.log else { continue };
                let opened = self.open_logged_sink(fragment, node, sink, log, tables)?;
                if begins {
                    opened.target.begin(log.incarnation).map_err(|e| failed(sink, e))?;
                }
                sinks.all.push(Arc::new(opened));
            }
        }
        Ok(sinks)
    }

    fn open_logged_sink(
        &self,
        fragment: &Fragment,
        node: &Node,
        sink: &Sink,
        log: SinkLog,
        tables: &BTreeMap<OperatorId, TableId>,
    ) -> Result<OpenSink, JobError> {
        let invariant = |what: &str| JobError::Invariant(format!("sink {}: {what}", sink.name));
        let input = node.inputs.first().ok_or_else(|| invariant("it has no input"))?;
        let table = tables.get(&node.id).ok_or_else(|| invariant("it has no state table"))?;
        let columns = fragment.nodes[*input].schema.project(&sink.columns);
        let columns = Arc::new(columns.map_err(|e| invariant(&e.to_string()))?);
        let changelog = node.properties.changelog;
        let table = LogTable::new(*table, &columns, changelog)
            .map_err(|e| failed(sink, ConnectorError::Options(e.diagnostic())))?;
        let connectors = &self.0.environment.connectors;
        let target = connectors.open_logged_sink(&sink.connector, &sink.options);
        let target = target.map_err(|e| failed(sink, e))?;
        let shape = RowShape { columns, changelog };
        target.check(&shape).map_err(|e| failed(sink, e))?;
        Ok(OpenSink {
            operator: node.id,
            name: sink.name.clone(),
            log,
            table,
            shape,
            target,
            progress: Arc::new(SinkProgress::new(log.memory_bytes)),
        })
    }

    /// Tells the delivery thread of a job that has been registered.
    pub(super) fn begin_delivery(&self, job: JobId, sinks: &JobSinks, committed: Option<Epoch>) {
        if !sinks.is_empty() {
            self.deliver(DeliveryWork::Begin { job, sinks: sinks.all.clone(), committed });
        }
    }

    pub(super) fn deliver(&self, work: DeliveryWork) {
        if let Some(delivery) = &self.0.delivery {
            // A delivery thread that has gone away has nothing to be told.
            delivery.work.lock().send(work).ok();
        }
    }

    /// Everything up to `epoch` is delivered: the log of a job that has ended with that
    /// epoch, and so takes no checkpoint that would expire it, is emptied by one more
    /// commit of its last checkpoint.
    pub(super) fn after_delivery(&self, state: &mut State, job: JobId, epoch: Epoch) {
        let Some(entry) = state.jobs.get_mut(&job) else { return };
        let Some(checkpoints) = &mut entry.checkpoints else { return };
        let Some(image) = checkpoints.image().filter(|i| i.finished && i.epoch == epoch) else {
            return;
        };
        let ended = entry.status.borrow().state == JobState::Finished;
        if !ended || entry.sinks.emptied || checkpoints.is_under_way() {
            return;
        }
        entry.sinks.emptied = true;
        let image = image.clone();
        let mut delta = Delta::new();
        entry.sinks.all.iter().for_each(|s| s.table.expire(&mut delta, epoch));
        checkpoints.commit_again(&image);
        self.store(StorageWork::Commit { job, image, changes: vec![delta] });
    }
}

fn failed(sink: &Sink, error: ConnectorError) -> JobError {
    OperatorError::Sink { sink: sink.name.clone(), error }.into()
}
