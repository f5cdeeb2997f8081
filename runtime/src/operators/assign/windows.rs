//! Repeats each row once for every window that admits it.
//!
//! A row may be in very many windows (a day that hops by a second), so output is
//! cut into batches and the operator can stop in the middle of a row.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use tidemill_types::plan;
use tidemill_types::{ChangeBatch, EventTime, Ops};

use super::super::{Barrier, Counters, Operator, OperatorError, Output, Step};
use super::{Assigner, Place, Times};

#[derive(Debug)]
pub(in super::super) struct AssignWindows {
    spec: plan::AssignWindows,
    schema: SchemaRef,
    zone: Option<Arc<str>>,
    batch_rows: usize,
    assigner: Assigner,
    /// The batch that is being repeated.
    pending: Option<Pending>,
    counters: Counters,
}

#[derive(Debug)]
struct Pending {
    batch: ChangeBatch,
    /// The first row that is not finished.
    row: usize,
    /// The windows that the row still has to be repeated for, if it has been placed.
    ends: Option<Ends>,
}

/// Window ends `next, next + slide, ... last`.
#[derive(Clone, Copy, Debug)]
struct Ends {
    next: EventTime,
    last: EventTime,
}

impl AssignWindows {
    /// `schema`: the input's columns, `window_start` and `window_end`.
    pub(in super::super) fn new(
        spec: plan::AssignWindows,
        schema: SchemaRef,
        batch_rows: usize,
    ) -> Result<Self, OperatorError> {
        let zone = match schema.fields().last().map(|f| f.data_type()) {
            Some(DataType::Timestamp(TimeUnit::Microsecond, zone)) => zone.clone(),
            _ => return Err(OperatorError::internal("window_end is not a timestamp")),
        };
        let assigner = Assigner::new(spec.window, spec.allowed_lateness);
        let counters = Counters::default();
        Ok(AssignWindows { spec, schema, zone, batch_rows, assigner, pending: None, counters })
    }

    /// Places the rest of the pending batch into at most `batch_rows` pairs of
    /// row and window end.
    fn repeat(
        &mut self,
        pending: &mut Pending,
    ) -> Result<(Vec<u32>, Vec<EventTime>), OperatorError> {
        let rows = &pending.batch.rows;
        let times = Times::of(rows, self.spec.time_column, self.spec.watermark_column)?;
        let (mut indices, mut window_ends) = (Vec::new(), Vec::new());
        while pending.row < rows.num_rows() {
            if pending.ends.is_none() {
                pending.ends = self.windows_of(&times, pending.row);
            }
            while let Some(ends) = &mut pending.ends {
                if indices.len() == self.batch_rows {
                    return Ok((indices, window_ends));
                }
                indices.push(pending.row as u32);
                window_ends.push(ends.next);
                let next = ends.next.saturating_add(self.spec.window.slide);
                // The end of time saturates: `next` may not have moved.
                if ends.next == ends.last || next > ends.last {
                    pending.ends = None;
                } else {
                    ends.next = next;
                }
            }
            pending.row += 1;
        }
        Ok((indices, window_ends))
    }

    fn windows_of(&mut self, times: &Times<'_>, row: usize) -> Option<Ends> {
        let Some(ts) = times.time(row) else {
            self.counters.null_time += 1;
            return None;
        };
        match self.assigner.place(ts, times.watermark(row), &mut self.counters) {
            Place::Admitted { slice_end, first_window_end } => Some(Ends {
                next: first_window_end,
                last: self.spec.window.latest_window_end(slice_end),
            }),
            Place::Gap | Place::Late => None,
        }
    }

    fn assemble(
        &self,
        batch: &ChangeBatch,
        indices: Vec<u32>,
        window_ends: Vec<EventTime>,
    ) -> Result<ChangeBatch, OperatorError> {
        let starts = window_ends.iter().map(|e| self.spec.window.window_start(*e)).collect();
        let repeated = pick(batch, indices)?;
        let mut columns = repeated.rows.columns().to_vec();
        columns.push(self.timestamps(starts));
        columns.push(self.timestamps(window_ends));
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        Ok(repeated.with_rows(rows))
    }

    fn timestamps(&self, values: Vec<EventTime>) -> ArrayRef {
        let array = TimestampMicrosecondArray::from(values);
        Arc::new(array.with_timezone_opt(self.zone.clone()))
    }
}

/// The rows of `batch` at `indices`; shared, not copied, if those are all rows.
fn pick(batch: &ChangeBatch, indices: Vec<u32>) -> Result<ChangeBatch, OperatorError> {
    let all = indices.len() == batch.num_rows()
        && indices.iter().enumerate().all(|(i, index)| i == *index as usize);
    if all {
        return Ok(batch.clone());
    }
    let ops = match &batch.ops {
        Ops::Insert => Ops::Insert,
        Ops::Signs { neg } => {
            Ops::Signs { neg: indices.iter().map(|i| neg.value(*i as usize)).collect() }
        }
    };
    let hash = batch.hash.as_ref().map(|h| indices.iter().map(|i| h[*i as usize]).collect());
    let rows = take_record_batch(&batch.rows, &UInt32Array::from(indices))?;
    Ok(ChangeBatch { rows, ops, hash })
}

impl Operator for AssignWindows {
    fn push(
        &mut self,
        _port: usize,
        batch: ChangeBatch,
        out: &mut Output,
    ) -> Result<Step, OperatorError> {
        self.counters.rows_in += batch.num_rows() as u64;
        self.pending = Some(Pending { batch, row: 0, ends: None });
        self.resume(out)
    }

    fn barrier(&mut self, _barrier: &Barrier, _out: &mut Output) -> Result<Step, OperatorError> {
        Ok(Step::Done)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, OperatorError> {
        let Some(mut pending) = self.pending.take() else {
            return Ok(Step::Done);
        };
        let (indices, window_ends) = self.repeat(&mut pending)?;
        self.counters.rows_out += indices.len() as u64;
        if !indices.is_empty() {
            out.emit(self.assemble(&pending.batch, indices, window_ends)?);
        }
        if pending.row == pending.batch.num_rows() {
            return Ok(Step::Done);
        }
        self.pending = Some(pending);
        Ok(Step::MoreOutput)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn state_bytes(&self) -> usize {
        0
    }
}
