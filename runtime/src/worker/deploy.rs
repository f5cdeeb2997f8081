//! From a plan's bytes to the tasks of one worker.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::execution::TaskContext;
use tidemill_connectors::Connectors;
use tidemill_connectors::source::Source;
use tidemill_storage::views::ViewStore;
use tidemill_types::plan::{
    Fragment, FragmentGraph, Node, Operator as PlanOperator, Output, SourceScan, wire,
};
use tidemill_types::{ExchangeId, JobId, ObjectId, OperatorId, VnodeMap, WorkerIndex};

use super::task::{LeafInput, Task, splits_of};
use crate::error::JobError;
use crate::exchange::{ExchangeReceiver, ExchangeSender, RingReceiver, RingSender};
use crate::operators::{self, BuildContext, OperatorError};
use crate::source::SourceLeaf;
use crate::source::boundaries::SourceBoundaries;
use crate::source::leaf::LeafContext;

/// A source opened for one job, the same for all its workers.
#[derive(Clone, Debug)]
pub struct OpenedSource {
    pub source: Arc<dyn Source>,
    pub splits: Arc<[String]>,
    pub boundaries: Arc<SourceBoundaries>,
}

/// Everything one worker needs to run its share of a job.
pub struct Deployment {
    pub job: JobId,
    pub worker: WorkerIndex,
    /// How many workers run the job.
    pub parallelism: u32,
    /// The plan as protobuf: every worker decodes its own copy.
    pub plan: Arc<[u8]>,
    /// By the operator that scans it.
    pub sources: HashMap<OperatorId, OpenedSource>,
    /// By exchange: this worker's rings to every worker.
    pub senders: HashMap<ExchangeId, Vec<RingSender>>,
    /// By exchange: the rings from every worker to this one.
    pub receivers: HashMap<ExchangeId, Vec<RingReceiver>>,
    pub environment: Environment,
}

/// What deployments share.
#[derive(Clone)]
pub struct Environment {
    pub views: Arc<ViewStore>,
    pub connectors: Connectors,
    /// Resolves functions of the plan's expressions by name.
    pub functions: Arc<TaskContext>,
    /// Rows of a batch, at most.
    pub batch_rows: usize,
}

impl std::fmt::Debug for Deployment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deployment")
            .field("job", &self.job)
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("batch_rows", &self.batch_rows).finish_non_exhaustive()
    }
}

impl Deployment {
    /// Decodes the plan and builds a task per fragment, in plan order.
    pub fn build(mut self) -> Result<Vec<Task>, JobError> {
        let graph: FragmentGraph = wire::decode(&self.plan, &self.environment.functions)?;
        graph.fragments.iter().map(|fragment| self.build_fragment(fragment)).collect()
    }

    fn build_fragment(&mut self, fragment: &Fragment) -> Result<Task, JobError> {
        let mut built = Vec::with_capacity(fragment.nodes.len());
        let mut leaves = Vec::new();
        for (i, node) in fragment.nodes.iter().enumerate() {
            if Task::is_leaf(&node.operator) {
                leaves.push((i, self.open_leaf(node)?));
                built.push(None);
            } else {
                let inputs: Vec<_> =
                    node.inputs.iter().map(|i| Arc::clone(&fragment.nodes[*i].schema)).collect();
                built.push(Some(self.build_operator(node, &inputs)?));
            }
        }
        let sender = match &fragment.output {
            Output::None => None,
            Output::Exchange { id, keys } => {
                let rings = self.senders.remove(id).ok_or_else(|| missing(*id))?;
                Some(ExchangeSender::new(keys.clone(), rings))
            }
        };
        Ok(Task::new(fragment, built, leaves, sender))
    }

    fn open_leaf(&mut self, node: &Node) -> Result<LeafInput, JobError> {
        match &node.operator {
            PlanOperator::ExchangeInput { exchange } => {
                let rings = self.receivers.remove(exchange).ok_or_else(|| missing(*exchange))?;
                Ok(LeafInput::Exchange(ExchangeReceiver::new(rings)))
            }
            PlanOperator::Source(scan) => {
                Ok(LeafInput::Source(Box::new(self.open_source(scan, node)?)))
            }
            other => Err(JobError::Invariant(format!("{} is not a leaf", other.name()))),
        }
    }

    fn open_source(&self, scan: &SourceScan, node: &Node) -> Result<SourceLeaf, JobError> {
        let opened = self
            .sources
            .get(&node.id)
            .ok_or_else(|| JobError::Invariant(format!("source {} was not opened", scan.name)))?;
        SourceLeaf::open(
            scan,
            Arc::clone(&node.schema),
            &LeafContext {
                job: self.job,
                source: Arc::clone(&opened.source),
                splits: splits_of(self.worker.0, self.parallelism, &opened.splits),
                boundaries: Arc::clone(&opened.boundaries),
                batch_rows: self.environment.batch_rows,
            },
        )
    }

    fn build_operator(
        &self,
        node: &Node,
        inputs: &[arrow::datatypes::SchemaRef],
    ) -> Result<Box<dyn operators::Operator>, JobError> {
        let part = self.worker.0 as usize;
        let environment = &self.environment;
        let views = |view: ObjectId, _: &_, _: &_| {
            let view = environment
                .views
                .get(view)
                .ok_or_else(|| OperatorError::internal(format!("{view} has no storage")))?;
            view.writer(part).map_err(|e| OperatorError::View(e.diagnostic()))
        };
        let sinks = |sink: &tidemill_types::plan::Sink, schema| {
            environment.connectors.open_sink(&sink.connector, &sink.options)?.writer(schema)
        };
        let context = BuildContext {
            worker: self.worker,
            vnodes: VnodeMap::new(self.parallelism),
            views: &views,
            sinks: &sinks,
            batch_rows: environment.batch_rows,
        };
        Ok(operators::build(node, inputs, &context)?)
    }
}

fn missing(exchange: ExchangeId) -> JobError {
    JobError::Invariant(format!("{exchange} has no rings"))
}
