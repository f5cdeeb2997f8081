//! One fragment on one worker: its leaves, its operators, and where rows leave.
//!
//! Work within a fragment is a stack: a batch is driven through the operators
//! depth first while it is in cache, and whatever an operator still owes
//! (bounded output, the rest of a barrier) waits underneath. The stack is only
//! worked on while the exchange behind the root accepts rows, and a leaf is only
//! read while the stack is empty; so a slow consumer stops the source without any
//! queue growing beyond the output of one activation.
//!
//! # Invariant
//! A barrier enters the operators when every leaf has reached it, and leaves the
//! fragment after everything that the operators owed for its epoch.

use tidemill_storage::state::Delta;
use tidemill_types::plan::{Fragment, Operator as PlanOperator, Output as PlanOutput};
use tidemill_types::{ChangeBatch, EventTime, FragmentId, OperatorId};

use crate::error::JobError;
use crate::exchange::receiver::{Received, merge};
use crate::exchange::{ExchangeReceiver, ExchangeSender};
use crate::operators::{Barrier, Counters, Operator, Output, Step};
use crate::source::leaf::{Alignment, EpochEnd, Polled};
use crate::source::{SourceLeaf, SplitProgress};

/// Units of work that a task does before it lets others run.
const QUANTUM: usize = 32;

/// How a run of a task ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It worked and may have more to do.
    Busy,
    /// It waits for input, at the latest until this time (microseconds).
    Idle { ready_at: Option<EventTime> },
    /// It waits for a consumer.
    Blocked,
}

/// Where a fragment's rows come from.
#[derive(Debug)]
pub enum LeafInput {
    Source(Box<SourceLeaf>),
    Exchange(ExchangeReceiver),
}

struct Leaf {
    node: usize,
    input: LeafInput,
    held: Option<Barrier>,
}

enum Work {
    /// A batch for operator `node`.
    Push { node: usize, port: usize, batch: ChangeBatch },
    /// Operator `node` owes more output.
    Resume { node: usize },
    /// Operator `node` and those after it have the barrier before them.
    Barrier { node: usize, barrier: Barrier },
}

/// What a task did for an epoch, reported when the epoch has left it.
#[derive(Debug)]
pub struct TaskEpoch {
    pub barrier: Barrier,
    pub splits: Vec<SplitProgress>,
    pub aligned: bool,
    pub operators: Vec<OperatorSnapshot>,
    /// What the epoch's checkpoint is to store of the fragment's state; also at
    /// the job's end.
    pub delta: Option<Delta>,
}

/// An operator's counters at the end of an epoch.
#[derive(Clone, Debug)]
pub struct OperatorSnapshot {
    pub id: OperatorId,
    pub name: &'static str,
    pub counters: Counters,
    pub state_bytes: usize,
}

/// One fragment instance.
pub struct Task {
    pub fragment: FragmentId,
    nodes: Vec<NodeState>,
    leaves: Vec<Leaf>,
    next_leaf: usize,
    sender: Option<ExchangeSender>,
    stack: Vec<Work>,
    output: Output,
    splits: Vec<SplitProgress>,
    aligned: bool,
    finished: Option<TaskEpoch>,
}

struct NodeState {
    id: OperatorId,
    name: &'static str,
    /// What had been counted before the job was restored.
    restored: Counters,
    /// `None` for leaves.
    operator: Option<Box<dyn Operator>>,
    /// The operator that takes its output, and on which port; `None` for the root.
    consumer: Option<(usize, usize)>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("fragment", &self.fragment).finish_non_exhaustive()
    }
}

impl Task {
    /// `operators` and `leaves` by position in `fragment.nodes`; `sender` where
    /// the fragment ends in an exchange.
    #[must_use]
    pub fn new(
        fragment: &Fragment,
        mut operators: Vec<Option<Box<dyn Operator>>>,
        leaves: Vec<(usize, LeafInput)>,
        sender: Option<ExchangeSender>,
    ) -> Self {
        debug_assert_eq!(sender.is_some(), matches!(fragment.output, PlanOutput::Exchange { .. }));
        let mut nodes: Vec<NodeState> = fragment
            .nodes
            .iter()
            .enumerate()
            .map(|(i, node)| NodeState {
                id: node.id,
                name: node.operator.name(),
                restored: Counters::default(),
                operator: operators[i].take(),
                consumer: None,
            })
            .collect();
        for (i, node) in fragment.nodes.iter().enumerate() {
            for (port, input) in node.inputs.iter().enumerate() {
                nodes[*input].consumer = Some((i, port));
            }
        }
        Task {
            fragment: fragment.id,
            nodes,
            leaves: leaves
                .into_iter()
                .map(|(node, input)| Leaf { node, input, held: None })
                .collect(),
            next_leaf: 0,
            sender,
            stack: Vec::new(),
            output: Output::default(),
            splits: Vec::new(),
            aligned: true,
            finished: None,
        }
    }

    /// Begins the count of operator `id` at `counters`.
    pub fn restore_counters(&mut self, id: OperatorId, counters: &Counters) {
        for node in self.nodes.iter_mut().filter(|n| n.id == id) {
            node.restored.add(counters);
        }
    }

    /// Whether a node of a plan is a leaf, which a task reads, or an operator.
    #[must_use]
    pub fn is_leaf(operator: &PlanOperator) -> bool {
        matches!(operator, PlanOperator::Source(_) | PlanOperator::ExchangeInput { .. })
    }

    /// Tells the fragment's sources to end an epoch.
    pub fn end_epoch(&mut self, end: EpochEnd) {
        for leaf in &mut self.leaves {
            if let LeafInput::Source(source) = &mut leaf.input {
                source.end_epoch(end);
            }
        }
    }

    /// The epoch that has just left the fragment, once.
    pub fn take_finished(&mut self) -> Option<TaskEpoch> {
        self.finished.take()
    }

    /// The exchange's traffic so far.
    #[must_use]
    pub fn traffic(&self) -> Option<crate::exchange::sender::Traffic> {
        self.sender.as_ref().map(ExchangeSender::traffic)
    }

    /// Works until there is nothing to do, the consumer is full, an epoch is
    /// finished, or the quantum is used up.
    pub fn run(&mut self, now: EventTime) -> Result<Progress, JobError> {
        let mut worked = false;
        for _ in 0..QUANTUM {
            if self.sender.as_mut().is_some_and(|s| !s.pump()) {
                return Ok(if worked { Progress::Busy } else { Progress::Blocked });
            }
            if let Some(work) = self.stack.pop() {
                self.work(work)?;
                worked = true;
                if self.finished.is_some() {
                    return Ok(Progress::Busy);
                }
                continue;
            }
            match self.poll_leaves(now)? {
                LeafPoll::Batch { node, batch } => {
                    self.route(node, vec![batch])?;
                    worked = true;
                }
                LeafPoll::Barrier(barrier) => {
                    self.stack.push(Work::Barrier { node: 0, barrier });
                    worked = true;
                }
                LeafPoll::Idle { ready_at } => {
                    worked |= self.flush_to_idle_consumer()?;
                    return Ok(if worked { Progress::Busy } else { Progress::Idle { ready_at } });
                }
            }
        }
        Ok(Progress::Busy)
    }

    fn poll_leaves(&mut self, now: EventTime) -> Result<LeafPoll, JobError> {
        let mut ready_at: Option<EventTime> = None;
        for _ in 0..self.leaves.len() {
            let i = self.next_leaf;
            self.next_leaf = (self.next_leaf + 1) % self.leaves.len();
            let leaf = &mut self.leaves[i];
            if leaf.held.is_some() {
                continue;
            }
            let barrier = match &mut leaf.input {
                LeafInput::Source(source) => match source.poll(now)? {
                    Polled::Batch(batch) => return Ok(LeafPoll::Batch { node: leaf.node, batch }),
                    Polled::Barrier(barrier, splits, alignment) => {
                        self.splits.extend(splits);
                        self.aligned &= alignment == Alignment::Aligned;
                        Some(barrier)
                    }
                    Polled::Idle { ready_at: at } => {
                        ready_at = match (ready_at, at) {
                            (Some(a), Some(b)) => Some(a.min(b)),
                            (a, b) => a.or(b),
                        };
                        None
                    }
                },
                LeafInput::Exchange(exchange) => match exchange.poll()? {
                    Received::Batch(batch) => {
                        return Ok(LeafPoll::Batch { node: leaf.node, batch });
                    }
                    Received::Barrier(barrier) => Some(barrier),
                    Received::Idle => None,
                },
            };
            if let Some(barrier) = barrier {
                leaf.held = Some(barrier);
                if self.leaves.iter().all(|l| l.held.is_some()) {
                    let held = self.leaves.iter_mut().filter_map(|l| l.held.take());
                    return Ok(LeafPoll::Barrier(merge(held)?));
                }
            }
        }
        Ok(LeafPoll::Idle { ready_at })
    }

    fn work(&mut self, work: Work) -> Result<(), JobError> {
        match work {
            Work::Push { node, port, batch } => {
                let operator =
                    self.nodes[node].operator.as_mut().expect("a consumer is an operator");
                let step = operator.push(port, batch, &mut self.output)?;
                self.settle(node, step)
            }
            Work::Resume { node } => {
                let operator = self.nodes[node].operator.as_mut().expect("only operators resume");
                let step = operator.resume(&mut self.output)?;
                self.settle(node, step)
            }
            Work::Barrier { node, barrier } => self.work_barrier(node, barrier),
        }
    }

    fn work_barrier(&mut self, node: usize, barrier: Barrier) -> Result<(), JobError> {
        if node == self.nodes.len() {
            return self.finish_epoch(barrier);
        }
        self.stack.push(Work::Barrier { node: node + 1, barrier: barrier.clone() });
        let Some(operator) = self.nodes[node].operator.as_mut() else { return Ok(()) };
        let step = operator.barrier(&barrier, &mut self.output)?;
        self.settle(node, step)
    }

    /// Passes on what `node` has emitted, before it is asked for more.
    fn settle(&mut self, node: usize, step: Step) -> Result<(), JobError> {
        if step == Step::MoreOutput {
            self.stack.push(Work::Resume { node });
        }
        let mut batches = Vec::new();
        while let Some(batch) = self.output.pop() {
            batches.push(batch);
        }
        self.route(node, batches)
    }

    fn route(&mut self, node: usize, batches: Vec<ChangeBatch>) -> Result<(), JobError> {
        match (self.nodes[node].consumer, &mut self.sender) {
            (Some((consumer, port)), _) => {
                let work = |batch| Work::Push { node: consumer, port, batch };
                self.stack.extend(batches.into_iter().rev().map(work));
            }
            (None, Some(sender)) => {
                for batch in batches {
                    sender.send(batch)?;
                }
            }
            (None, None) => debug_assert!(batches.is_empty(), "the last operator emits nothing"),
        }
        Ok(())
    }

    fn finish_epoch(&mut self, barrier: Barrier) -> Result<(), JobError> {
        if let Some(sender) = &mut self.sender {
            sender.barrier(&barrier)?;
        }
        let mut delta = None;
        if barrier.checkpoint || barrier.end {
            let delta = delta.insert(Delta::default());
            for operator in self.nodes.iter_mut().filter_map(|n| n.operator.as_mut()) {
                operator.checkpoint(delta)?;
            }
        }
        let operators = self.nodes.iter().filter_map(|n| {
            n.operator.as_ref().map(|op| {
                let mut counters = n.restored;
                counters.add(&op.counters());
                OperatorSnapshot { id: n.id, name: n.name, counters, state_bytes: op.state_bytes() }
            })
        });
        self.finished = Some(TaskEpoch {
            delta,
            barrier,
            splits: std::mem::take(&mut self.splits),
            aligned: std::mem::replace(&mut self.aligned, true),
            operators: operators.collect(),
        });
        Ok(())
    }

    /// Nothing to read: what operators and the exchange hold back for larger
    /// batches goes to a consumer that waits. Whether anything went.
    fn flush_to_idle_consumer(&mut self) -> Result<bool, JobError> {
        match &mut self.sender {
            Some(sender) if sender.consumer_idle() => {
                let before = sender.traffic().batches;
                sender.flush()?;
                Ok(sender.traffic().batches > before)
            }
            _ => Ok(false),
        }
    }
}

enum LeafPoll {
    Batch { node: usize, batch: ChangeBatch },
    Barrier(Barrier),
    Idle { ready_at: Option<EventTime> },
}

/// Whether instance `worker` of `workers` reads split number `split`.
#[must_use]
pub fn reads_split(worker: u32, workers: u32, split: u32) -> bool {
    split % workers == worker
}
