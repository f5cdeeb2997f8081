//! The unit of data between operators: rows, and what to do with each.
//!
//! The change marker is beside the rows, never a column of them: an append-only
//! stream pays nothing for it, and kernels see only data columns.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;

/// The name of the column that says what a row does, where changes leave the engine
/// as rows of their own.
pub const CHANGE_COLUMN: &str = "tm_op";

/// What each row of a [`ChangeBatch`] does to the collection it describes.
#[derive(Clone, Debug, PartialEq)]
pub enum Ops {
    /// Every row is an insertion. On an append-only edge this is guaranteed by
    /// the plan, not discovered.
    Insert,
    /// A set bit takes a row back: on a retract edge the row must have been
    /// inserted before; on an upsert edge only its key columns count and the
    /// key may be absent.
    Signs { neg: BooleanBuffer },
}

/// Rows with their change markers, and optionally a hash per row.
#[derive(Clone, Debug)]
pub struct ChangeBatch {
    pub rows: RecordBatch,
    pub ops: Ops,
    /// The stable hash ([`crate::vnode::hash_columns`]) of the distribution key
    /// of the last exchange, one per row; carried along so that routing, caches
    /// and state tables compute it once.
    pub hash: Option<Arc<[u64]>>,
}

impl ChangeBatch {
    /// Insertions without hashes.
    #[must_use]
    pub fn inserts(rows: RecordBatch) -> Self {
        ChangeBatch { rows, ops: Ops::Insert, hash: None }
    }

    #[must_use]
    pub fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    /// Rows `offset .. offset + length`; the columns are shared, not copied.
    #[must_use]
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        ChangeBatch {
            rows: self.rows.slice(offset, length),
            ops: match &self.ops {
                Ops::Insert => Ops::Insert,
                Ops::Signs { neg } => Ops::Signs { neg: neg.slice(offset, length) },
            },
            hash: self.hash.as_ref().map(|h| h[offset..offset + length].into()),
        }
    }

    /// Only the rows whose bit is set in `keep`; null counts as unset.
    pub fn filter(&self, keep: &BooleanArray) -> Result<Self, ArrowError> {
        let rows = filter_record_batch(&self.rows, keep)?;
        let kept = |i: &usize| keep.is_valid(*i) && keep.value(*i);
        Ok(ChangeBatch {
            ops: match &self.ops {
                Ops::Insert => Ops::Insert,
                Ops::Signs { neg } => {
                    Ops::Signs { neg: (0..keep.len()).filter(kept).map(|i| neg.value(i)).collect() }
                }
            },
            hash: self.hash.as_ref().map(|h| (0..keep.len()).filter(kept).map(|i| h[i]).collect()),
            rows,
        })
    }

    /// The same changes to other columns: `rows` must have as many rows.
    #[must_use]
    pub fn with_rows(&self, rows: RecordBatch) -> Self {
        debug_assert_eq!(rows.num_rows(), self.rows.num_rows());
        ChangeBatch { rows, ops: self.ops.clone(), hash: self.hash.clone() }
    }
}
