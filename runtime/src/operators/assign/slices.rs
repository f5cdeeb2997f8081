//! Appends to each row its slice and the first window that still admits it.

use std::sync::Arc;

use arrow::array::{BooleanArray, BooleanBufferBuilder, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use tidemill_types::ChangeBatch;
use tidemill_types::plan;

use super::super::{Barrier, Counters, Operator, OperatorError, Output, Step};
use super::{Assigner, Place, Times};

#[derive(Debug)]
pub(in super::super) struct AssignSlices {
    spec: plan::AssignSlices,
    schema: SchemaRef,
    assigner: Assigner,
    counters: Counters,
}

/// The new columns, one entry for each row that goes on, and the rows that do not.
struct Placed {
    slice_ends: Vec<i64>,
    first_window_ends: Vec<i64>,
    dropped: Vec<usize>,
}

impl Placed {
    fn keep(&self, rows: usize) -> BooleanArray {
        let mut keep = BooleanBufferBuilder::new(rows);
        keep.append_n(rows, true);
        for row in &self.dropped {
            keep.set_bit(*row, false);
        }
        BooleanArray::new(keep.finish(), None)
    }
}

impl AssignSlices {
    /// `schema`: the input's columns and the two new ones.
    pub(in super::super) fn new(spec: plan::AssignSlices, schema: SchemaRef) -> Self {
        let assigner = Assigner::new(spec.window, spec.allowed_lateness);
        AssignSlices { spec, schema, assigner, counters: Counters::default() }
    }

    fn place_all(&mut self, batch: &ChangeBatch) -> Result<Placed, OperatorError> {
        let rows = batch.num_rows();
        let times = Times::of(&batch.rows, self.spec.time_column, self.spec.watermark_column)?;
        let mut placed = Placed {
            slice_ends: Vec::with_capacity(rows),
            first_window_ends: Vec::with_capacity(rows),
            dropped: Vec::new(),
        };
        for row in 0..rows {
            let Some(ts) = times.time(row) else {
                self.counters.null_time += 1;
                placed.dropped.push(row);
                continue;
            };
            match self.assigner.place(ts, times.watermark(row), &mut self.counters) {
                Place::Admitted { slice_end, first_window_end } => {
                    placed.slice_ends.push(slice_end);
                    placed.first_window_ends.push(first_window_end);
                }
                Place::Gap | Place::Late => placed.dropped.push(row),
            }
        }
        Ok(placed)
    }
}

impl Operator for AssignSlices {
    fn push(
        &mut self,
        _port: usize,
        batch: ChangeBatch,
        out: &mut Output,
    ) -> Result<Step, OperatorError> {
        self.counters.rows_in += batch.num_rows() as u64;
        let placed = self.place_all(&batch)?;
        let kept = placed.slice_ends.len();
        if kept == 0 {
            return Ok(Step::Done);
        }
        let batch = if placed.dropped.is_empty() {
            batch
        } else {
            batch.filter(&placed.keep(batch.num_rows()))?
        };
        let mut columns = batch.rows.columns().to_vec();
        columns.push(Arc::new(Int64Array::from(placed.slice_ends)));
        columns.push(Arc::new(Int64Array::from(placed.first_window_ends)));
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        self.counters.rows_out += kept as u64;
        out.emit(ChangeBatch { rows, ops: batch.ops, hash: batch.hash });
        Ok(Step::Done)
    }

    fn barrier(&mut self, _barrier: &Barrier, _out: &mut Output) -> Result<Step, OperatorError> {
        Ok(Step::Done)
    }

    fn resume(&mut self, _out: &mut Output) -> Result<Step, OperatorError> {
        Ok(Step::Done)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn state_bytes(&self) -> usize {
        0
    }
}
