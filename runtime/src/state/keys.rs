//! Keys in the form in which slot tables compare and store them.
//!
//! One or two columns of at most eight bytes are machine words; everything else
//! is arrow-row bytes. Either way equal keys have equal encodings: floats are
//! made canonical first, `-0.0` becoming `0.0` and every NaN the same NaN, as
//! [`tidemill_types::vnode`] hashes them.
//!
//! Beside its columns a key has a **tag**, a small number that takes part in
//! equality: the operator's own part (which window, say) in the upper bits, and
//! in the lowest two whether the first and second word are NULL. Most tables
//! have no tag but 0 and store none.
//!
//! The encodings live in memory only; they are not a format.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use arrow_row::{RowConverter, Rows, SortField};

use super::slot_table::SlotTable;
use crate::operators::OperatorError;

/// Bits of a tag that mark NULL words.
const NULL_BITS: u32 = 2;

/// The tag of a key that is not NULL and belongs to `own`, the operator's part.
#[must_use]
pub fn tag_of(own: u32) -> u32 {
    own << NULL_BITS
}

/// The operator's part of a tag.
#[must_use]
pub fn own_part(tag: u32) -> u32 {
    tag >> NULL_BITS
}

/// Turns key columns into [`KeyBatch`]es and stored keys back into columns.
#[derive(Debug)]
pub struct KeyEncoder {
    types: Vec<DataType>,
    /// For keys that are not words.
    converter: Option<RowConverter>,
    batch: KeyBatch,
}

/// Encoded keys of a batch of rows.
#[derive(Debug)]
pub struct KeyBatch {
    pub(super) values: BatchValues,
    /// Empty: all 0.
    pub(super) tags: Vec<u32>,
}

#[derive(Debug)]
pub(super) enum BatchValues {
    /// Keys of no columns.
    Empty,
    One(Vec<[u64; 1]>),
    Two(Vec<[u64; 2]>),
    Bytes(Rows),
}

/// Keys as a table keeps them, by slot.
#[derive(Debug)]
pub(super) enum StoredKeys {
    Empty,
    One(Vec<[u64; 1]>),
    Two(Vec<[u64; 2]>),
    Bytes(ByteKeys),
}

/// Byte strings one after another.
#[derive(Debug, Default)]
pub(super) struct ByteKeys {
    arena: Vec<u8>,
    /// Where each string ends; it begins where the one before ends.
    ends: Vec<usize>,
}

impl ByteKeys {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.arena.extend_from_slice(bytes);
        self.ends.push(self.arena.len());
    }

    #[inline]
    pub(super) fn get(&self, slot: usize) -> &[u8] {
        let start = if slot == 0 { 0 } else { self.ends[slot - 1] };
        &self.arena[start..self.ends[slot]]
    }
}

impl StoredKeys {
    pub(super) fn clear(&mut self) {
        match self {
            StoredKeys::Empty => {}
            StoredKeys::One(words) => words.clear(),
            StoredKeys::Two(words) => words.clear(),
            StoredKeys::Bytes(keys) => {
                keys.arena.clear();
                keys.ends.clear();
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            StoredKeys::Empty => 0,
            StoredKeys::One(words) => words.capacity() * 8,
            StoredKeys::Two(words) => words.capacity() * 16,
            StoredKeys::Bytes(keys) => keys.arena.capacity() + keys.ends.capacity() * 8,
        }
    }
}

impl KeyEncoder {
    /// For keys of columns of these types.
    pub fn new(types: Vec<DataType>) -> Result<Self, OperatorError> {
        let words = types.len() <= 2 && types.iter().all(is_word);
        let converter = if words {
            None
        } else {
            let fields = types.iter().map(|t| SortField::new(t.clone())).collect();
            Some(RowConverter::new(fields)?)
        };
        let values = match &converter {
            Some(converter) => BatchValues::Bytes(converter.empty_rows(0, 0)),
            None => match types.len() {
                0 => BatchValues::Empty,
                1 => BatchValues::One(Vec::new()),
                _ => BatchValues::Two(Vec::new()),
            },
        };
        Ok(KeyEncoder { types, converter, batch: KeyBatch { values, tags: Vec::new() } })
    }

    /// An empty table for keys of this encoder.
    #[must_use]
    pub fn table(&self) -> SlotTable {
        SlotTable::new(match &self.batch.values {
            BatchValues::Empty => StoredKeys::Empty,
            BatchValues::One(_) => StoredKeys::One(Vec::new()),
            BatchValues::Two(_) => StoredKeys::Two(Vec::new()),
            BatchValues::Bytes(_) => StoredKeys::Bytes(ByteKeys::default()),
        })
    }

    /// The keys of `rows` rows. `tags` ([`tag_of`]) has one entry per row or
    /// none.
    pub fn encode(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        tags: &[u32],
    ) -> Result<&KeyBatch, OperatorError> {
        debug_assert!(tags.is_empty() || tags.len() == rows);
        debug_assert!(columns.iter().all(|c| c.len() == rows));
        let batch = &mut self.batch;
        batch.tags.clear();
        batch.tags.extend_from_slice(tags);
        match &mut batch.values {
            BatchValues::Empty => {}
            BatchValues::One(words) => {
                words.clear();
                words.resize(rows, [0]);
                encode_word::<1>(&columns[0], 0, words, &mut batch.tags)?;
            }
            BatchValues::Two(words) => {
                words.clear();
                words.resize(rows, [0; 2]);
                encode_word::<2>(&columns[0], 0, words, &mut batch.tags)?;
                encode_word::<2>(&columns[1], 1, words, &mut batch.tags)?;
            }
            BatchValues::Bytes(encoded) => {
                let columns: Vec<_> = columns.iter().map(canonical_floats).collect();
                encoded.clear();
                converter(self.converter.as_ref())?.append(encoded, &columns)?;
            }
        }
        Ok(&self.batch)
    }

    /// The keys of slots `slots` of another table with the same kind of keys.
    pub fn copy_from(
        &mut self,
        table: &SlotTable,
        slots: Range<usize>,
    ) -> Result<&KeyBatch, OperatorError> {
        let batch = &mut self.batch;
        batch.tags.clear();
        if !table.tags().is_empty() {
            batch.tags.extend_from_slice(&table.tags()[slots.clone()]);
        }
        match (&mut batch.values, table.keys()) {
            (BatchValues::Empty, StoredKeys::Empty) => {}
            (BatchValues::One(words), StoredKeys::One(stored)) => {
                words.clear();
                words.extend_from_slice(&stored[slots]);
            }
            (BatchValues::Two(words), StoredKeys::Two(stored)) => {
                words.clear();
                words.extend_from_slice(&stored[slots]);
            }
            (BatchValues::Bytes(encoded), StoredKeys::Bytes(stored)) => {
                let parser = converter(self.converter.as_ref())?.parser();
                encoded.clear();
                for slot in slots {
                    encoded.push(parser.parse(stored.get(slot)));
                }
            }
            _ => return Err(OperatorError::internal("tables with different keys")),
        }
        Ok(&self.batch)
    }

    /// The key columns of `slots` of `table`.
    pub fn decode(&self, table: &SlotTable, slots: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        match table.keys() {
            StoredKeys::Empty => Ok(Vec::new()),
            StoredKeys::One(stored) => {
                Ok(vec![decode_word(&self.types[0], 0, stored, table.tags(), slots)?])
            }
            StoredKeys::Two(stored) => Ok(vec![
                decode_word(&self.types[0], 0, stored, table.tags(), slots)?,
                decode_word(&self.types[1], 1, stored, table.tags(), slots)?,
            ]),
            StoredKeys::Bytes(stored) => {
                let converter = converter(self.converter.as_ref())?;
                let parser = converter.parser();
                let rows = slots.iter().map(|s| parser.parse(stored.get(*s as usize)));
                Ok(converter.convert_rows(rows)?)
            }
        }
    }
}

fn converter(converter: Option<&RowConverter>) -> Result<&RowConverter, OperatorError> {
    converter.ok_or_else(|| OperatorError::internal("keys of bytes without a converter"))
}

fn is_word(data_type: &DataType) -> bool {
    use DataType::{Date32, Float32, Float64, Int16, Int32, Int64, Time64, Timestamp};
    matches!(
        data_type,
        Int16
            | Int32
            | Int64
            | Float32
            | Float64
            | Date32
            | Time64(TimeUnit::Microsecond)
            | Timestamp(TimeUnit::Microsecond, _)
    )
}

fn encode_word<const N: usize>(
    column: &ArrayRef,
    position: usize,
    words: &mut [[u64; N]],
    tags: &mut Vec<u32>,
) -> Result<(), OperatorError> {
    use DataType::{Date32, Float32, Float64, Int16, Int32, Int64, Time64, Timestamp};
    fn fill<T: ArrowPrimitiveType, const N: usize>(
        column: &ArrayRef,
        position: usize,
        words: &mut [[u64; N]],
        word: impl Fn(T::Native) -> u64,
    ) {
        let values: &PrimitiveArray<T> = column.as_primitive();
        for (out, value) in words.iter_mut().zip(values.values()) {
            out[position] = word(*value);
        }
    }
    match column.data_type() {
        Int16 => fill::<Int16Type, N>(column, position, words, |v| i64::from(v) as u64),
        Int32 => fill::<Int32Type, N>(column, position, words, |v| i64::from(v) as u64),
        Date32 => fill::<Date32Type, N>(column, position, words, |v| i64::from(v) as u64),
        Int64 => fill::<Int64Type, N>(column, position, words, |v| v as u64),
        Time64(TimeUnit::Microsecond) => {
            fill::<Time64MicrosecondType, N>(column, position, words, |v| v as u64);
        }
        Timestamp(TimeUnit::Microsecond, _) => {
            fill::<TimestampMicrosecondType, N>(column, position, words, |v| v as u64);
        }
        Float32 => fill::<Float32Type, N>(column, position, words, |v| {
            u64::from(canonical_f32(v).to_bits())
        }),
        Float64 => {
            fill::<Float64Type, N>(column, position, words, |v| canonical_f64(v).to_bits());
        }
        other => return Err(OperatorError::internal(format!("a key word of type {other}"))),
    }
    if let Some(nulls) = column.nulls().filter(|n| n.null_count() > 0) {
        mark_nulls(nulls, position, words, tags);
    }
    Ok(())
}

/// NULL is the word 0 with a bit in the tag.
fn mark_nulls<const N: usize>(
    nulls: &NullBuffer,
    position: usize,
    words: &mut [[u64; N]],
    tags: &mut Vec<u32>,
) {
    tags.resize(words.len(), 0);
    for row in (!nulls.inner()).set_indices() {
        words[row][position] = 0;
        tags[row] |= 1 << position;
    }
}

fn decode_word<const N: usize>(
    data_type: &DataType,
    position: usize,
    stored: &[[u64; N]],
    tags: &[u32],
    slots: &[u32],
) -> Result<ArrayRef, OperatorError> {
    use DataType::{Date32, Float32, Float64, Int16, Int32, Int64, Time64, Timestamp};
    let null_bit = 1u32 << position;
    let nulls = if tags.is_empty() {
        None
    } else {
        let valid = slots.iter().map(|s| tags[*s as usize] & null_bit == 0).collect();
        Some(NullBuffer::new(valid)).filter(|n| n.null_count() > 0)
    };
    let words = slots.iter().map(|s| stored[*s as usize][position]);
    Ok(match data_type {
        Int16 => primitive::<Int16Type>(words.map(|w| w as i16), nulls, data_type),
        Int32 => primitive::<Int32Type>(words.map(|w| w as i32), nulls, data_type),
        Date32 => primitive::<Date32Type>(words.map(|w| w as i32), nulls, data_type),
        Int64 => primitive::<Int64Type>(words.map(|w| w as i64), nulls, data_type),
        Time64(TimeUnit::Microsecond) => {
            primitive::<Time64MicrosecondType>(words.map(|w| w as i64), nulls, data_type)
        }
        Timestamp(TimeUnit::Microsecond, _) => {
            primitive::<TimestampMicrosecondType>(words.map(|w| w as i64), nulls, data_type)
        }
        Float32 => {
            primitive::<Float32Type>(words.map(|w| f32::from_bits(w as u32)), nulls, data_type)
        }
        Float64 => primitive::<Float64Type>(words.map(f64::from_bits), nulls, data_type),
        other => return Err(OperatorError::internal(format!("a key word of type {other}"))),
    })
}

fn primitive<T: ArrowPrimitiveType>(
    values: impl Iterator<Item = T::Native>,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> ArrayRef {
    let values: Vec<T::Native> = values.collect();
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls).with_data_type(data_type.clone()))
}

fn canonical_floats(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(canonical_f32))
        }
        DataType::Float64 => {
            Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(canonical_f64))
        }
        _ => Arc::clone(column),
    }
}

/// One zero, one NaN.
#[must_use]
pub fn canonical_f64(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}

/// One zero, one NaN.
#[must_use]
pub fn canonical_f32(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { value + 0.0 }
}
