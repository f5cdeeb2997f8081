//! Collects rows and writes them to the sink's log at each checkpoint.
//!
//! Rows are encoded and dealt to lanes and parts as they come. A checkpoint makes the
//! rows since the one before a slice of the log and lets go of them; slices that have
//! been delivered expire with it. Nothing is loaded at a restore: what is in the log is
//! the delivery's affair.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::nullif;
use arrow::datatypes::SchemaRef;
use tidemill_connectors::error::ConnectorError;
use tidemill_storage::state::Delta;
use tidemill_types::plan::{self, ChangelogKind, Properties, SinkLog};
use tidemill_types::{ChangeBatch, Diagnostic, Epoch, Ops, SqlState};

use crate::operators::placement::{Placement, pick};
use crate::operators::{
    Barrier, BuildContext, Counters, Operator, OperatorError, Output, Restored, Step,
};
use crate::sink_log::{Collector, LogTable, SinkProgress};

pub(in crate::operators) struct Logged {
    /// The columns that the user sees; of a row that is taken back, those that are not
    /// `kept` have no meaning.
    columns: Vec<usize>,
    kept: Vec<bool>,
    placement: Placement,
    collector: Collector,
    table: LogTable,
    progress: Arc<SinkProgress>,
    /// The epoch that ended last.
    ended: Epoch,
    /// The worker that lets slices expire, for all.
    expires: bool,
    expired: Option<Epoch>,
    counters: Counters,
}

impl Logged {
    pub fn new(
        spec: &plan::Sink,
        log: SinkLog,
        properties: &Properties,
        input: &SchemaRef,
        cx: &BuildContext<'_>,
    ) -> Result<Self, OperatorError> {
        let failed = |diagnostic| OperatorError::Sink {
            sink: spec.name.clone(),
            error: ConnectorError::Options(diagnostic),
        };
        if !cx.durable {
            let message = "a sink that writes each row exactly once needs checkpoints";
            return Err(failed(
                Diagnostic::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                    .with_hint("Start the server with a directory to keep its data in."),
            ));
        }
        let progress = cx
            .sink_progress
            .clone()
            .ok_or_else(|| OperatorError::internal("a sink's log without its progress"))?;
        let columns = Arc::new(input.project(&spec.columns)?);
        let table = LogTable::new(cx.table, &columns, properties.changelog)
            .map_err(|error| failed(error.diagnostic()))?;
        // Rows of a retracting collection are taken back as wholes.
        let whole = properties.changelog != ChangelogKind::Upsert;
        let vnodes = cx.vnodes.range(cx.worker);
        Ok(Logged {
            kept: spec.columns.iter().map(|c| whole || spec.key.contains(c)).collect(),
            columns: spec.columns.clone(),
            placement: Placement::of(&properties.distribution, cx),
            collector: Collector::new(log, &vnodes),
            table,
            progress,
            ended: Epoch::ZERO,
            expires: vnodes.start == 0,
            expired: None,
            counters: Counters::default(),
        })
    }

    /// What is stored of the rows: their signs, where they have some, and columns.
    fn values(&self, batch: &ChangeBatch) -> Result<Vec<ArrayRef>, OperatorError> {
        let mut columns = pick(&batch.rows, &self.columns);
        if !self.table.is_signed() {
            return Ok(columns);
        }
        let taken_back = match &batch.ops {
            Ops::Insert => BooleanBuffer::new_unset(batch.num_rows()),
            Ops::Signs { neg } => neg.clone(),
        };
        let taken_back = BooleanArray::new(taken_back, None);
        if taken_back.true_count() > 0 {
            for (column, kept) in columns.iter_mut().zip(&self.kept) {
                if !kept {
                    *column = nullif(column, &taken_back)?;
                }
            }
        }
        columns.insert(0, Arc::new(taken_back));
        Ok(columns)
    }
}

impl Operator for Logged {
    fn push(
        &mut self,
        _port: usize,
        batch: ChangeBatch,
        _out: &mut Output,
    ) -> Result<Step, OperatorError> {
        let hashes = self.placement.hashes(&batch.rows)?;
        let values = self.values(&batch)?;
        let bytes = self
            .collector
            .push(self.table.values(), &values, &hashes)?
            .ok_or_else(|| OperatorError::internal("a row of another worker's vnode"))?;
        self.progress.collected(bytes);
        self.counters.rows_in += batch.num_rows() as u64;
        self.counters.rows_out += batch.num_rows() as u64;
        Ok(Step::Done)
    }

    fn barrier(&mut self, barrier: &Barrier, _out: &mut Output) -> Result<Step, OperatorError> {
        self.ended = barrier.epoch;
        Ok(Step::Done)
    }

    fn resume(&mut self, _out: &mut Output) -> Result<Step, OperatorError> {
        Ok(Step::Done)
    }

    fn checkpoint(&mut self, delta: &mut Delta) -> Result<(), OperatorError> {
        let bytes = self.collector.bytes();
        for lane in self.collector.take() {
            self.table.write(delta, self.ended, &lane)?;
        }
        self.progress.dumped(self.ended, bytes);
        let delivered = self.progress.delivered();
        if let Some(last) = delivered.filter(|_| self.expires && delivered > self.expired) {
            self.table.expire(delta, last);
            self.expired = delivered;
        }
        Ok(())
    }

    fn restore(&mut self, from: &Restored<'_>) -> Result<(), OperatorError> {
        self.ended = from.epoch;
        Ok(())
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn state_bytes(&self) -> usize {
        usize::try_from(self.collector.bytes()).unwrap_or(usize::MAX)
    }
}
