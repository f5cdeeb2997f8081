//! Chunks and runs: the immutable pieces that versions share.
//!
//! A chunk is at most [`CHUNK_ROWS`] rows; a run is a list of chunks. Chunks own
//! their memory: string columns are compacted on the way in, since a single short
//! string could otherwise keep the whole buffer alive that it was decoded into.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, RecordBatch, RecordBatchOptions, StructArray,
};
use arrow::buffer::{BooleanBuffer, OffsetBuffer};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow_row::{Rows, SortField};

use super::ViewSchema;

/// Most rows of a chunk, and what merging aims at.
pub(super) const CHUNK_ROWS: usize = 8192;

/// Rows that never change.
#[derive(Debug)]
pub(super) struct Chunk {
    pub rows: RecordBatch,
    /// Encoded keys, ascending; `None` in append-only views.
    pub keys: Option<Rows>,
    /// A set bit is a tombstone: the key is gone, the other columns mean nothing.
    pub dead: Option<BooleanBuffer>,
    pub bytes: usize,
}

impl Chunk {
    /// `rows` must own its memory, see [`compact`].
    pub fn new(rows: RecordBatch, keys: Option<Rows>, dead: Option<BooleanBuffer>) -> Self {
        debug_assert!(keys.as_ref().is_none_or(|k| k.num_rows() == rows.num_rows()));
        let dead = dead.filter(|d| d.count_set_bits() > 0);
        let bytes = batch_bytes(&rows) + keys.as_ref().map_or(0, Rows::size);
        Chunk { rows, keys, dead, bytes }
    }

    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// The keys of a keyed view's chunk.
    pub fn keys(&self) -> &Rows {
        self.keys.as_ref().expect("chunks of a keyed view carry their keys")
    }

    /// Whether a row is a tombstone.
    pub fn is_dead(&self, row: usize) -> bool {
        self.dead.as_ref().is_some_and(|d| d.value(row))
    }
}

/// Chunks in order.
#[derive(Debug)]
pub(super) struct Run {
    pub chunks: Vec<Arc<Chunk>>,
    /// Rows and tombstones.
    pub rows: usize,
    pub bytes: usize,
}

impl Run {
    pub fn new(chunks: Vec<Arc<Chunk>>) -> Self {
        let rows = chunks.iter().map(|c| c.len()).sum();
        let bytes = chunks.iter().map(|c| c.bytes).sum();
        Run { chunks, rows, bytes }
    }
}

/// The order of a keyed view. A view without key columns has one possible key,
/// which is encoded as a constant.
pub(super) fn key_fields(schema: &ViewSchema) -> Vec<SortField> {
    if schema.key.is_empty() {
        return vec![SortField::new(DataType::Boolean)];
    }
    schema.key.iter().map(|i| SortField::new(schema.stored.field(*i).data_type().clone())).collect()
}

/// The columns that [`key_fields`] describes.
pub(super) fn key_columns(schema: &ViewSchema, rows: &RecordBatch) -> Vec<ArrayRef> {
    if schema.key.is_empty() {
        return vec![Arc::new(BooleanArray::from(vec![false; rows.num_rows()]))];
    }
    schema.key.iter().map(|i| Arc::clone(rows.column(*i))).collect()
}

/// The same rows in memory of their own, without what they do not refer to.
pub(super) fn compact(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().map(compact_column).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(rows.schema(), columns, &options)
}

fn compact_column(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        DataType::Struct(fields) => {
            let array = column.as_struct();
            let children =
                array.columns().iter().map(compact_column).collect::<Result<Vec<_>, _>>()?;
            Arc::new(StructArray::try_new_with_length(
                fields.clone(),
                children,
                array.nulls().cloned(),
                array.len(),
            )?)
        }
        DataType::List(field) => {
            let array: &ListArray = column.as_list();
            let (first, last) = match array.offsets().as_ref() {
                [first, .., last] => (*first, *last),
                _ => (0, 0),
            };
            let values = array.values().slice(first as usize, (last - first) as usize);
            let offsets = OffsetBuffer::from_lengths(array.offsets().lengths());
            Arc::new(ListArray::try_new(
                Arc::clone(field),
                offsets,
                compact_column(&values)?,
                array.nulls().cloned(),
            )?)
        }
        _ => Arc::clone(column),
    })
}

/// Bytes that the rows refer to; exact for compacted rows.
fn batch_bytes(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(column_bytes).sum()
}

fn column_bytes(column: &ArrayRef) -> usize {
    let strings: usize = match column.data_type() {
        DataType::Utf8View => column.as_string_view().data_buffers().iter().map(|b| b.len()).sum(),
        DataType::BinaryView => {
            column.as_binary_view().data_buffers().iter().map(|b| b.len()).sum()
        }
        DataType::Struct(_) => return column.as_struct().columns().iter().map(column_bytes).sum(),
        _ => 0,
    };
    strings + column.to_data().get_slice_memory_size().unwrap_or(0)
}
