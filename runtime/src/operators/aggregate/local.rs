//! The local half: turns rows into partial aggregates, in front of the exchange.
//!
//! Groups of all panes share one table; the pane is part of the key as a tag.
//! The table is emptied at every barrier, when the consumer is idle
//! ([`Operator::flush`]), and when it has [`GROUPS_MAX`] groups, so that it stays
//! in the cache. Where keys hardly repeat, aggregating here only costs: then rows
//! are turned into partials one by one for a while, without the table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::SchemaRef;
use tidemill_types::plan::{Aggregate, AggregateCall};
use tidemill_types::vnode::hash_columns;
use tidemill_types::{ChangeBatch, Ops};

use super::super::{Barrier, Counters, Operator, OperatorError, Output, Step};
use super::{Pane, input_type, int64s, pick, refuse_negative};
use crate::state::accumulators::{Accumulator, Rows};
use crate::state::group_table::{CallInput, GroupTable, Grouping, KeyColumns, filter_bits};
use crate::state::keys::{own_part, tag_of};

/// Groups at which the table is emptied.
const GROUPS_MAX: usize = 32 * 1024;

/// A full table that took fewer rows than this many hundredths of its groups
/// has not been worth its while.
const ROWS_PER_HUNDRED_GROUPS_MIN: usize = 125;

/// Rows that go past the table before it is tried again.
const BYPASS_ROWS: usize = 1024 * 1024;

#[derive(Debug)]
pub(in super::super) struct LocalAggregate {
    group: Vec<usize>,
    calls: Vec<AggregateCall>,
    /// Columns of slice end and first window end.
    pane_columns: Option<(usize, usize)>,
    schema: SchemaRef,
    batch_rows: usize,
    grouping: Grouping,
    table: GroupTable,
    panes: Panes,
    /// Rows in the table.
    absorbed: usize,
    /// The table is being emptied; the slot to go on with.
    draining: Option<usize>,
    /// Rows that still go past the table.
    bypass: usize,
    /// For rows that go past the table.
    single: Vec<Box<dyn Accumulator>>,
    hashes: Vec<u64>,
    counters: Counters,
}

impl LocalAggregate {
    pub(in super::super) fn new(
        spec: &Aggregate,
        input: &SchemaRef,
        batch_rows: usize,
    ) -> Result<Self, OperatorError> {
        let types = spec.group.iter().map(|g| Ok(input_type(input, *g)?.clone()));
        let grouping = Grouping::new(types.collect::<Result<_, OperatorError>>()?, &spec.calls)?;
        Ok(LocalAggregate {
            group: spec.group.clone(),
            calls: spec.calls.clone(),
            pane_columns: spec
                .window
                .as_ref()
                .map(|w| (w.slice_end_column, w.first_window_end_column)),
            schema: spec.partial_schema(input),
            batch_rows,
            table: grouping.table()?,
            single: grouping.accumulators()?,
            grouping,
            panes: Panes::default(),
            absorbed: 0,
            draining: None,
            bypass: 0,
            hashes: Vec::new(),
            counters: Counters::default(),
        })
    }

    /// Adds the rows to the table.
    fn absorb(&mut self, rows: &RecordBatch, keys: &[ArrayRef]) -> Result<(), OperatorError> {
        if let Some((slice_column, first_column)) = self.pane_columns {
            self.panes.number(int64s(rows, slice_column)?, int64s(rows, first_column)?);
        }
        let filters = filters(&self.calls, rows)?;
        let inputs = call_inputs(&self.calls, &filters, rows);
        let keys = KeyColumns { columns: keys, hashes: &self.hashes, tags: &self.panes.tags };
        self.grouping.update(&mut self.table, keys, &inputs)?;
        self.absorbed += rows.num_rows();
        Ok(())
    }

    /// Each row as a partial of its own.
    fn pass(
        &mut self,
        rows: &RecordBatch,
        keys: &[ArrayRef],
    ) -> Result<ChangeBatch, OperatorError> {
        let count = rows.num_rows();
        let slots: Vec<u32> = (0..count as u32).collect();
        let filters = filters(&self.calls, rows)?;
        let inputs = call_inputs(&self.calls, &filters, rows);
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        if let Some((slice_column, first_column)) = self.pane_columns {
            columns.extend(pick(rows, &[slice_column, first_column]));
        }
        columns.extend_from_slice(keys);
        for (accumulator, input) in self.single.iter_mut().zip(inputs) {
            accumulator.clear();
            accumulator.resize(count);
            let rows = Rows { slots: &slots, filter: input.filter, neg: None };
            accumulator.update(rows, input.argument)?;
            accumulator.state(&slots, &mut columns);
        }
        self.bypass = self.bypass.saturating_sub(count);
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        Ok(ChangeBatch { rows, ops: Ops::Insert, hash: Some(self.hashes.as_slice().into()) })
    }

    fn drain(&mut self, out: &mut Output) -> Result<Step, OperatorError> {
        if !self.table.is_empty() {
            self.draining = Some(0);
        }
        self.resume(out)
    }

    /// The partials of slots `start .. end`.
    fn partials(&self, start: usize, end: usize) -> Result<ChangeBatch, OperatorError> {
        let slots: Vec<u32> = (start as u32..end as u32).collect();
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        if self.pane_columns.is_some() {
            let tags = self.table.slots().tags();
            let of = |s: &u32| self.panes.panes[own_part(tag(tags, *s)) as usize];
            let slice_ends = slots.iter().map(|s| of(s).slice_end);
            columns.push(Arc::new(Int64Array::from_iter_values(slice_ends)) as ArrayRef);
            let first_ends = slots.iter().map(|s| of(s).first_window_end);
            columns.push(Arc::new(Int64Array::from_iter_values(first_ends)));
        }
        columns.extend(self.grouping.keys(&self.table, &slots)?);
        columns.extend(self.table.states(&slots));
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let hash = Some(self.table.hashes(&slots).collect());
        Ok(ChangeBatch { rows, ops: Ops::Insert, hash })
    }

    /// Whether rows go past the table.
    #[cfg(test)]
    pub(super) fn is_bypassed(&self) -> bool {
        self.bypass > 0
    }

    fn emptied(&mut self) {
        let groups = self.table.len();
        if groups >= GROUPS_MAX && self.absorbed * 100 < groups * ROWS_PER_HUNDRED_GROUPS_MIN {
            self.bypass = BYPASS_ROWS;
        }
        self.absorbed = 0;
        self.table.clear();
        self.panes.clear();
    }
}

impl Operator for LocalAggregate {
    fn push(
        &mut self,
        _port: usize,
        batch: ChangeBatch,
        out: &mut Output,
    ) -> Result<Step, OperatorError> {
        refuse_negative(&batch)?;
        let rows = &batch.rows;
        if rows.num_rows() == 0 {
            return Ok(Step::Done);
        }
        self.counters.rows_in += rows.num_rows() as u64;
        let keys = pick(rows, &self.group);
        hash_columns(&keys, rows.num_rows(), &mut self.hashes)
            .map_err(|e| OperatorError::internal(e.to_string()))?;
        if self.bypass > 0 {
            let partials = self.pass(rows, &keys)?;
            self.counters.rows_out += partials.num_rows() as u64;
            out.emit(partials);
            return Ok(Step::Done);
        }
        self.absorb(rows, &keys)?;
        if self.table.len() >= GROUPS_MAX { self.drain(out) } else { Ok(Step::Done) }
    }

    fn barrier(&mut self, _barrier: &Barrier, out: &mut Output) -> Result<Step, OperatorError> {
        self.drain(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, OperatorError> {
        let Some(start) = self.draining else {
            return Ok(Step::Done);
        };
        let end = self.table.len().min(start + self.batch_rows);
        self.counters.rows_out += (end - start) as u64;
        out.emit(self.partials(start, end)?);
        if end < self.table.len() {
            self.draining = Some(end);
            return Ok(Step::MoreOutput);
        }
        self.draining = None;
        self.emptied();
        Ok(Step::Done)
    }

    fn flush(&mut self, out: &mut Output) -> Result<Step, OperatorError> {
        self.drain(out)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn state_bytes(&self) -> usize {
        self.table.bytes()
    }
}

fn tag(tags: &[u32], slot: u32) -> u32 {
    tags.get(slot as usize).copied().unwrap_or(0)
}

fn filters(
    calls: &[AggregateCall],
    rows: &RecordBatch,
) -> Result<Vec<Option<BooleanBuffer>>, OperatorError> {
    calls.iter().map(|c| c.filter.map(|f| filter_bits(rows.column(f))).transpose()).collect()
}

fn call_inputs<'a>(
    calls: &[AggregateCall],
    filters: &'a [Option<BooleanBuffer>],
    rows: &'a RecordBatch,
) -> Vec<CallInput<'a>> {
    let one = |(call, filter): (&AggregateCall, &'a Option<BooleanBuffer>)| CallInput {
        argument: call.argument.map(|a| rows.column(a)),
        filter: filter.as_ref(),
    };
    calls.iter().zip(filters).map(one).collect()
}

/// Numbers the panes that are in the table.
#[derive(Debug, Default)]
struct Panes {
    panes: Vec<Pane>,
    numbers: HashMap<Pane, u32>,
    /// The tag of each row of the last batch.
    tags: Vec<u32>,
}

impl Panes {
    fn number(&mut self, slice_ends: &[i64], first_ends: &[i64]) {
        self.tags.clear();
        self.tags.reserve(slice_ends.len());
        let mut last: Option<(Pane, u32)> = None;
        for (slice_end, first_window_end) in slice_ends.iter().zip(first_ends) {
            let pane = Pane { slice_end: *slice_end, first_window_end: *first_window_end };
            let tag = match last {
                Some((same, tag)) if same == pane => tag,
                _ => self.tag_of(pane),
            };
            last = Some((pane, tag));
            self.tags.push(tag);
        }
    }

    fn tag_of(&mut self, pane: Pane) -> u32 {
        let panes = &mut self.panes;
        let number = *self.numbers.entry(pane).or_insert_with(|| {
            panes.push(pane);
            panes.len() as u32 - 1
        });
        tag_of(number)
    }

    fn clear(&mut self) {
        self.panes.clear();
        self.numbers.clear();
    }
}
