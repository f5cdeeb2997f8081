//! Which worker owns a key: stable hashes, virtual nodes, and their owners.
//!
//! Rows are routed and keyed state is laid out by **vnode**, one of
//! [`VNODE_COUNT`] buckets of the distribution key's hash. The hash and the
//! number of vnodes are part of the format of everything that is written down:
//! they never change. Rescaling moves vnodes between workers; it never moves a
//! key between vnodes.
//!
//! # The hash, version 1
//! XXH3-64 (Y. Collet, the xxHash specification) chained over the key's columns:
//! `h(0) = 0`, `h(i) = xxh3_64(canonical bytes of column i, seed = h(i-1))`.
//! Canonical bytes, all little-endian:
//!
//! | type | bytes |
//! |---|---|
//! | boolean, integers, date, time, timestamps | the value as `i64` |
//! | real, double precision | the value as `f64`, `-0.0` as `0.0`, every NaN as one NaN |
//! | numeric | the unscaled value as `i128` or `i256` |
//! | text, bytea, uuid | the bytes |
//! | NULL of any type | none, and the seed is `h(i-1)` xor [`NULL_SEED`] |

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type,
    Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ids::WorkerIndex;

/// The number of virtual nodes, a constant of the format.
pub const VNODE_COUNT: u32 = 1024;

/// Folded into the seed where a column is NULL.
pub const NULL_SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// The vnode of a hash. The bits are taken from the middle on purpose: a hash
/// table indexes by the low bits and tags by the top seven, so the same hash
/// serves both without correlation.
#[inline]
#[must_use]
pub fn vnode_of(hash: u64) -> u16 {
    ((hash >> 40) & u64::from(VNODE_COUNT - 1)) as u16
}

/// A hash whose vnode is `vnode`, for rows that have no key of their own.
#[must_use]
pub fn hash_of_vnode(vnode: u16) -> u64 {
    u64::from(vnode) << 40
}

/// The hash of the empty key: where everything goes that has no key.
pub const EMPTY_KEY_HASH: u64 = 0;

/// A column type that cannot be part of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a value of type {0} cannot be a key")]
pub struct UnhashableType(pub DataType);

/// Whether [`hash_columns`] accepts a column of this type.
#[must_use]
pub fn is_hashable(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Date32
            | DataType::Time64(TimeUnit::Microsecond)
            | DataType::Timestamp(TimeUnit::Microsecond, _)
            | DataType::Decimal128(_, _)
            | DataType::Decimal256(_, _)
            | DataType::Utf8View
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

/// Writes the stable hash of each row's key into `out`, which is resized to
/// `rows`. No columns: [`EMPTY_KEY_HASH`].
pub fn hash_columns(
    columns: &[ArrayRef],
    rows: usize,
    out: &mut Vec<u64>,
) -> Result<(), UnhashableType> {
    out.clear();
    out.resize(rows, EMPTY_KEY_HASH);
    for column in columns {
        debug_assert_eq!(column.len(), rows);
        hash_column(column, out)?;
    }
    Ok(())
}

fn hash_column(column: &ArrayRef, out: &mut [u64]) -> Result<(), UnhashableType> {
    match column.data_type() {
        DataType::Boolean => {
            let values: &BooleanArray = column.as_boolean();
            fold(column, out, |i, seed| word(i64::from(values.value(i)), seed));
        }
        DataType::Int16 => integers::<Int16Type>(column, out),
        DataType::Int32 => integers::<Int32Type>(column, out),
        DataType::Int64 => integers::<Int64Type>(column, out),
        DataType::Date32 => integers::<Date32Type>(column, out),
        DataType::Time64(TimeUnit::Microsecond) => integers::<Time64MicrosecondType>(column, out),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            integers::<TimestampMicrosecondType>(column, out);
        }
        DataType::Float32 => {
            let values: &PrimitiveArray<Float32Type> = column.as_primitive();
            fold(column, out, |i, seed| float(f64::from(values.value(i)), seed));
        }
        DataType::Float64 => {
            let values: &PrimitiveArray<Float64Type> = column.as_primitive();
            fold(column, out, |i, seed| float(values.value(i), seed));
        }
        DataType::Decimal128(_, _) => {
            let values: &PrimitiveArray<Decimal128Type> = column.as_primitive();
            fold(column, out, |i, seed| xxh3_64_with_seed(&values.value(i).to_le_bytes(), seed));
        }
        DataType::Decimal256(_, _) => {
            let values: &PrimitiveArray<Decimal256Type> = column.as_primitive();
            fold(column, out, |i, seed| xxh3_64_with_seed(&values.value(i).to_le_bytes(), seed));
        }
        DataType::Utf8View => {
            let values = column.as_string_view();
            fold(column, out, |i, seed| xxh3_64_with_seed(values.value(i).as_bytes(), seed));
        }
        DataType::BinaryView => {
            let values = column.as_binary_view();
            fold(column, out, |i, seed| xxh3_64_with_seed(values.value(i), seed));
        }
        DataType::FixedSizeBinary(_) => {
            let values: &FixedSizeBinaryArray = column.as_fixed_size_binary();
            fold(column, out, |i, seed| xxh3_64_with_seed(values.value(i), seed));
        }
        other => return Err(UnhashableType(other.clone())),
    }
    Ok(())
}

fn integers<T>(column: &ArrayRef, out: &mut [u64])
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    let values: &PrimitiveArray<T> = column.as_primitive();
    if values.null_count() == 0 {
        for (hash, value) in out.iter_mut().zip(values.values()) {
            *hash = word((*value).into(), *hash);
        }
    } else {
        fold(column, out, |i, seed| word(values.value(i).into(), seed));
    }
}

fn fold(column: &ArrayRef, out: &mut [u64], hash: impl Fn(usize, u64) -> u64) {
    match column.nulls() {
        None => {
            for (i, h) in out.iter_mut().enumerate() {
                *h = hash(i, *h);
            }
        }
        Some(nulls) => {
            for (i, h) in out.iter_mut().enumerate() {
                *h = if nulls.is_valid(i) {
                    hash(i, *h)
                } else {
                    xxh3_64_with_seed(&[], *h ^ NULL_SEED)
                };
            }
        }
    }
}

#[inline]
fn word(value: i64, seed: u64) -> u64 {
    xxh3_64_with_seed(&value.to_le_bytes(), seed)
}

fn float(value: f64, seed: u64) -> u64 {
    let canonical = if value == 0.0 {
        0.0
    } else if value.is_nan() {
        f64::NAN
    } else {
        value
    };
    xxh3_64_with_seed(&canonical.to_bits().to_le_bytes(), seed)
}

/// Which worker of a job owns each vnode: contiguous ranges of near-equal size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VnodeMap {
    workers: u32,
}

impl VnodeMap {
    /// `workers` is between 1 and [`VNODE_COUNT`].
    #[must_use]
    pub fn new(workers: u32) -> Self {
        assert!((1..=VNODE_COUNT).contains(&workers), "a job runs on 1 to {VNODE_COUNT} workers");
        VnodeMap { workers }
    }

    #[must_use]
    pub fn workers(&self) -> u32 {
        self.workers
    }

    /// The owner of a vnode.
    #[inline]
    #[must_use]
    pub fn owner(&self, vnode: u16) -> WorkerIndex {
        WorkerIndex(u32::from(vnode) * self.workers / VNODE_COUNT)
    }

    /// The vnodes of a worker, as a half-open range.
    #[must_use]
    pub fn range(&self, worker: WorkerIndex) -> std::ops::Range<u16> {
        let first = |w: u32| (w * VNODE_COUNT).div_ceil(self.workers) as u16;
        first(worker.0)..first(worker.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int16Array, Int64Array, StringViewArray};

    use super::*;

    fn hashes(columns: &[ArrayRef]) -> Vec<u64> {
        let mut out = Vec::new();
        hash_columns(columns, columns.first().map_or(0, |c| c.len()), &mut out)
            .expect("hashable types");
        out
    }

    /// The hash is a format: these numbers may never change.
    #[test]
    fn the_hash_is_pinned() {
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), Some(1), Some(-1), None]));
        let text: ArrayRef =
            Arc::new(StringViewArray::from(vec![Some(""), Some("a"), Some("tide"), None]));
        let got = hashes(&[ints, text]);
        assert_eq!(got, PINNED);
    }

    const PINNED: [u64; 4] =
        [3821706932637198330, 13213116439985672097, 5139012223236131450, 13842697244266975408];

    #[test]
    fn equal_values_hash_alike_whatever_their_form() {
        let narrow: ArrayRef = Arc::new(Int16Array::from(vec![7, -3]));
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![7, -3]));
        assert_eq!(hashes(&[narrow]), hashes(&[wide]));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]));
        let got = hashes(&[floats]);
        assert_eq!(got[0], got[1]);
        assert_eq!(got[2], got[3]);
    }

    #[test]
    fn every_vnode_has_exactly_one_owner() {
        for workers in [1, 2, 3, 5, 7, 64, 1000, 1024] {
            let map = VnodeMap::new(workers);
            let mut next = 0;
            for w in 0..workers {
                let range = map.range(WorkerIndex(w));
                assert_eq!(range.start, next);
                assert!(range.clone().all(|v| map.owner(v) == WorkerIndex(w)));
                next = range.end;
            }
            assert_eq!(u32::from(next), VNODE_COUNT);
        }
    }
}
