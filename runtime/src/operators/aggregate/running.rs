//! Aggregation without windows: one table for ever.
//!
//! At each barrier the groups that got partials in the epoch are emitted, as
//! upserts by group key. An aggregate without group columns has one row from the
//! start: the owner of the empty key emits it at its first barrier, rows or not.

use tidemill_storage::state::Delta;
use tidemill_types::ChangeBatch;
use tidemill_types::vnode::{EMPTY_KEY_HASH, vnode_of};

use super::super::{
    Barrier, BuildContext, Counters, Operator, OperatorError, Output, Restored, Step,
};
use super::durable::DurableGroups;
use super::{Partials, Results};
use crate::state::group_table::{GroupTable, KeyColumns, TouchedSlots};

#[derive(Debug)]
pub(super) struct RunningAggregate {
    partials: Partials,
    results: Results,
    stored: DurableGroups,
    table: GroupTable,
    touched: TouchedSlots,
    /// Slots that have changed since the last checkpoint.
    dirty: TouchedSlots,
    /// Slots that are being emitted, and how many of them have been.
    emitting: Vec<u32>,
    emitted: usize,
    counters: Counters,
}

impl RunningAggregate {
    pub(super) fn new(
        mut partials: Partials,
        results: Results,
        stored: DurableGroups,
        cx: &BuildContext<'_>,
    ) -> Result<Self, OperatorError> {
        let mut table = partials.grouping.table()?;
        let (mut touched, mut dirty) = (TouchedSlots::default(), TouchedSlots::default());
        let owner = cx.vnodes.owner(vnode_of(EMPTY_KEY_HASH));
        if partials.group.is_empty() && owner == cx.worker {
            let key = KeyColumns { columns: &[], hashes: &[EMPTY_KEY_HASH], tags: &[] };
            let slots = partials.grouping.add(&mut table, key)?;
            touched.mark(slots, 1);
            dirty.mark(slots, 1);
        }
        Ok(RunningAggregate {
            partials,
            results,
            stored,
            table,
            touched,
            dirty,
            emitting: Vec::new(),
            emitted: 0,
            counters: Counters::default(),
        })
    }
}

impl Operator for RunningAggregate {
    fn push(
        &mut self,
        _port: usize,
        batch: ChangeBatch,
        _out: &mut Output,
    ) -> Result<Step, OperatorError> {
        self.counters.rows_in += batch.num_rows() as u64;
        let all = self.partials.hashed(&batch)?;
        let slots = self.partials.merge(&mut self.table, &all)?;
        self.touched.mark(slots, self.table.len());
        self.dirty.mark(slots, self.table.len());
        Ok(Step::Done)
    }

    fn barrier(&mut self, _barrier: &Barrier, out: &mut Output) -> Result<Step, OperatorError> {
        self.emitting = self.touched.take();
        self.emitted = 0;
        self.resume(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, OperatorError> {
        let end = self.emitting.len().min(self.emitted + self.results.batch_rows);
        let slots = &self.emitting[self.emitted..end];
        if slots.is_empty() {
            return Ok(Step::Done);
        }
        out.emit(self.results.batch(&self.partials.grouping, &self.table, slots, None)?);
        self.counters.rows_out += slots.len() as u64;
        self.emitted = end;
        if end < self.emitting.len() {
            return Ok(Step::MoreOutput);
        }
        self.emitting = Vec::new();
        self.emitted = 0;
        Ok(Step::Done)
    }

    fn checkpoint(&mut self, delta: &mut Delta) -> Result<(), OperatorError> {
        let slots = self.dirty.take();
        self.stored.write(delta, &self.partials.grouping, &self.table, &slots, None)
    }

    fn restore(&mut self, from: &Restored<'_>) -> Result<(), OperatorError> {
        // What is there has been emitted; the row of the empty key too.
        self.table.clear();
        (self.touched, self.dirty) = Default::default();
        let (grouping, table) = (&mut self.partials.grouping, &mut self.table);
        self.stored.read(from, |groups| groups.load(0..groups.len(), grouping, table))
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn state_bytes(&self) -> usize {
        self.table.bytes() + self.touched.bytes() + self.dirty.bytes()
    }
}
