//! Puts rows into a view: one writer for this worker's part of it.
//!
//! Rows are handed to the writer as they come; nobody sees them before the
//! barrier seals the epoch. What has changed since the last checkpoint goes into
//! the view's state table:
//!
//! | view | key | value |
//! |---|---|---|
//! | keyed | the view's key columns | the other columns |
//! | append-only | epoch of the checkpoint, ordinal within it | all columns |
//!
//! A keyed row's vnode is that of its distribution key, so that after a change of
//! parallelism it is where its next change will arrive. Rows of an append-only
//! view are never touched again; they carry the first vnode of their writer.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::{DataType, SchemaRef};
use tidemill_storage::state::{Delta, Family, KeyCodec, StateTable, ValueCodec};
use tidemill_storage::views::{ViewError, ViewSchema, ViewWriter};
use tidemill_types::plan::Distribution;
use tidemill_types::{ChangeBatch, Epoch};

use super::placement::{Placement, pick};
use super::{Barrier, BuildContext, Counters, Operator, OperatorError, Output, Restored, Step};

#[derive(Debug)]
pub(super) struct Materialize {
    writer: ViewWriter,
    table: StateTable,
    layout: Layout,
    /// The epoch that was sealed last.
    sealed: Epoch,
    counters: Counters,
}

/// Where a row's columns are stored.
#[derive(Debug)]
struct Layout {
    schema: SchemaRef,
    /// Columns of the stored key; empty in an append-only view.
    key: Vec<usize>,
    value: Vec<usize>,
    append_only: bool,
    placement: Placement,
}

impl Materialize {
    pub(super) fn new(
        mut writer: ViewWriter,
        distribution: &Distribution,
        schema: &SchemaRef,
        cx: &BuildContext<'_>,
    ) -> Result<Self, OperatorError> {
        let ViewSchema { key, append_only, .. } = writer.schema();
        let layout = Layout::new(schema, key, *append_only, distribution, cx);
        let types = |columns: &[usize]| -> Vec<DataType> {
            columns.iter().map(|c| schema.field(*c).data_type().clone()).collect()
        };
        let key_types = match layout.append_only {
            true => vec![DataType::Int64, DataType::Int64],
            false => types(&layout.key),
        };
        let (key, value) = (KeyCodec::new(&key_types)?, ValueCodec::new(&types(&layout.value))?);
        let table = StateTable::new(cx.table, Family::View, false, false, key, value)?;
        if cx.durable {
            writer.keep_changes();
        }
        Ok(Materialize {
            writer,
            table,
            layout,
            sealed: Epoch::ZERO,
            counters: Counters::default(),
        })
    }
}

impl Layout {
    fn new(
        schema: &SchemaRef,
        key: &[usize],
        append_only: bool,
        distribution: &Distribution,
        cx: &BuildContext<'_>,
    ) -> Self {
        let key = if append_only { Vec::new() } else { key.to_vec() };
        let value = (0..schema.fields().len()).filter(|c| !key.contains(c)).collect();
        let placement = match append_only {
            true => Placement::at_writer(cx),
            false => Placement::of(distribution, cx),
        };
        Layout { schema: Arc::clone(schema), key, value, append_only, placement }
    }

    /// A row of the view from its stored parts.
    fn rows(
        &self,
        keys: Vec<ArrayRef>,
        values: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<RecordBatch, OperatorError> {
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.schema.fields().len()];
        let keys = if self.append_only { Vec::new() } else { keys };
        for (column, place) in keys.into_iter().zip(&self.key) {
            columns[*place] = Some(column);
        }
        for (column, place) in values.into_iter().zip(&self.value) {
            columns[*place] = Some(column);
        }
        let columns = columns.into_iter().collect::<Option<Vec<_>>>();
        let columns = columns.ok_or_else(|| OperatorError::State("a column is missing".into()))?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

impl Operator for Materialize {
    fn push(
        &mut self,
        _port: usize,
        batch: ChangeBatch,
        _out: &mut Output,
    ) -> Result<Step, OperatorError> {
        self.writer.apply(&batch).map_err(|e| failed(&e))?;
        self.counters.rows_in += batch.num_rows() as u64;
        self.counters.rows_out += batch.num_rows() as u64;
        Ok(Step::Done)
    }

    fn barrier(&mut self, barrier: &Barrier, _out: &mut Output) -> Result<Step, OperatorError> {
        self.writer.seal(barrier.epoch).map_err(|e| failed(&e))?;
        self.sealed = barrier.epoch;
        Ok(Step::Done)
    }

    fn resume(&mut self, _out: &mut Output) -> Result<Step, OperatorError> {
        Ok(Step::Done)
    }

    fn checkpoint(&mut self, delta: &mut Delta) -> Result<(), OperatorError> {
        let mut ordinal = 0_i64;
        for saved in self.writer.take_changes().map_err(|e| failed(&e))? {
            let rows = saved.rows.num_rows();
            if self.layout.append_only {
                let epoch = i64::try_from(self.sealed.0).unwrap_or(i64::MAX);
                let epochs: ArrayRef = Arc::new(Int64Array::from_value(epoch, rows));
                let ordinals = (ordinal..ordinal + rows as i64).collect::<Vec<_>>();
                ordinal += rows as i64;
                let keys = [epochs, Arc::new(Int64Array::from(ordinals)) as ArrayRef];
                let hashes = self.layout.placement.hashes(&saved.rows)?;
                let values = pick(&saved.rows, &self.layout.value);
                self.table.write(delta, None, &hashes, &keys, &values)?;
                continue;
            }
            let (kept, gone) = match saved.dead {
                None => (saved.rows, None),
                Some(dead) => {
                    let dead = BooleanArray::new(dead, None);
                    let gone = filter_record_batch(&saved.rows, &dead)?;
                    (filter_record_batch(&saved.rows, &not(&dead)?)?, Some(gone))
                }
            };
            let hashes = self.layout.placement.hashes(&kept)?;
            let (keys, values) = (pick(&kept, &self.layout.key), pick(&kept, &self.layout.value));
            self.table.write(delta, None, &hashes, &keys, &values)?;
            if let Some(gone) = gone {
                let (hashes, keys) =
                    (self.layout.placement.hashes(&gone)?, pick(&gone, &self.layout.key));
                self.table.delete(delta, None, &hashes, &keys)?;
            }
        }
        Ok(())
    }

    fn restore(&mut self, from: &Restored<'_>) -> Result<(), OperatorError> {
        let mut batches = Vec::new();
        let layout = &self.layout;
        self.table.read(from.backend, from.vnodes.clone(), |stored| {
            batches.push(layout.rows(stored.keys, stored.values, stored.rows)?);
            Ok::<(), OperatorError>(())
        })?;
        self.sealed = from.epoch;
        self.writer.load(from.epoch, batches).map_err(|e| failed(&e))
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    /// The view's contents are the storage's to account for.
    fn state_bytes(&self) -> usize {
        0
    }
}

fn failed(error: &ViewError) -> OperatorError {
    OperatorError::View(error.diagnostic())
}
