//! From a plan's bytes to the tasks of one worker.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::execution::TaskContext;
use tidemill_connectors::Connectors;
use tidemill_connectors::source::Source;
use tidemill_storage::state::StateBackend;
use tidemill_storage::views::ViewStore;
use tidemill_types::plan::{
    Fragment, FragmentGraph, Node, Operator as PlanOperator, Output, SourceScan, wire,
};
use tidemill_types::{
    Epoch, EventTime, ExchangeId, JobId, ObjectId, OperatorId, TableId, VnodeMap, WorkerIndex,
};

use super::task::{LeafInput, Task, reads_split};
use crate::control::JobImage;
use crate::error::JobError;
use crate::exchange::{ExchangeReceiver, ExchangeSender, RingReceiver, RingSender};
use crate::operators::{self, BuildContext, Counters, OperatorError, Restored};
use crate::sink_log::SinkProgress;
use crate::source::SourceLeaf;
use crate::source::boundaries::SourceBoundaries;
use crate::source::leaf::{LeafContext, SplitStart};

/// A source opened for one job, the same for all its workers.
#[derive(Clone, Debug)]
pub struct OpenedSource {
    pub source: Arc<dyn Source>,
    /// Every split, and where the job begins to read it.
    pub splits: Arc<[SplitStart]>,
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
    /// The state tables of operators that have some.
    pub tables: Arc<BTreeMap<OperatorId, TableId>>,
    /// The job's sinks with a log, by operator.
    pub(crate) sinks: Arc<BTreeMap<OperatorId, Arc<SinkProgress>>>,
    /// Where the job goes on; `None`: it begins.
    pub restored: Option<Arc<RestoredJob>>,
    pub environment: Environment,
}

/// Where a committed checkpoint left a job, beside its state tables and the
/// positions of its splits.
#[derive(Clone, Debug)]
pub struct RestoredJob {
    pub epoch: Epoch,
    /// The combined watermarks at the end of the epoch, by slot.
    pub watermarks: Vec<EventTime>,
    /// What each operator had counted, over all workers.
    pub counters: Vec<(OperatorId, Counters)>,
}

impl From<&JobImage> for RestoredJob {
    fn from(image: &JobImage) -> Self {
        RestoredJob {
            epoch: image.epoch,
            watermarks: image.watermarks.clone(),
            counters: image.counters.clone(),
        }
    }
}

/// What deployments share.
#[derive(Clone)]
pub struct Environment {
    pub views: Arc<ViewStore>,
    pub connectors: Connectors,
    /// Resolves functions of the plan's expressions by name.
    pub functions: Arc<TaskContext>,
    /// Where committed state is; `None`: nothing is ever made durable.
    pub backend: Option<Arc<dyn StateBackend>>,
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
        let mut tasks = graph
            .fragments
            .iter()
            .map(|fragment| self.build_fragment(fragment))
            .collect::<Result<Vec<_>, _>>()?;
        // Counts are of the whole job; one worker goes on with them.
        if let (Some(restored), WorkerIndex(0)) = (&self.restored, self.worker) {
            for (operator, counters) in &restored.counters {
                tasks.iter_mut().for_each(|t| t.restore_counters(*operator, counters));
            }
        }
        Ok(tasks)
    }

    /// Loads what the job's view held when it was finished; the job does not run.
    pub fn load_view(&self) -> Result<(), JobError> {
        let graph: FragmentGraph = wire::decode(&self.plan, &self.environment.functions)?;
        for fragment in &graph.fragments {
            for node in &fragment.nodes {
                if matches!(node.operator, PlanOperator::Materialize(_)) {
                    let inputs = node.inputs.iter();
                    let inputs: Vec<_> =
                        inputs.map(|i| Arc::clone(&fragment.nodes[*i].schema)).collect();
                    self.build_operator(node, &inputs)?;
                }
            }
        }
        Ok(())
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
        let mine = |s: &&SplitStart| reads_split(self.worker.0, self.parallelism, s.number);
        let splits = opened.splits.iter().filter(mine);
        SourceLeaf::open(
            scan,
            Arc::clone(&node.schema),
            &LeafContext {
                job: self.job,
                operator: node.id,
                source: Arc::clone(&opened.source),
                splits: splits.cloned().collect(),
                boundaries: Arc::clone(&opened.boundaries),
                batch_rows: self.environment.batch_rows,
                sinks: self.sinks.values().cloned().collect(),
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
        let vnodes = VnodeMap::new(self.parallelism);
        let table = self.tables.get(&node.id).copied();
        let context = BuildContext {
            worker: self.worker,
            vnodes,
            table: table.unwrap_or(TableId(0)),
            views: &views,
            sinks: &sinks,
            sink_progress: self.sinks.get(&node.id).cloned(),
            durable: environment.backend.is_some(),
            batch_rows: environment.batch_rows,
        };
        let mut operator = operators::build(node, inputs, &context)?;
        if let (Some(restored), Some(backend)) = (&self.restored, &environment.backend) {
            operator.restore(&Restored {
                backend: &**backend,
                vnodes: vnodes.range(self.worker),
                epoch: restored.epoch,
                watermarks: &restored.watermarks,
            })?;
        }
        Ok(operator)
    }
}

fn missing(exchange: ExchangeId) -> JobError {
    JobError::Invariant(format!("{exchange} has no rings"))
}
