//! Aggregate state, one plain vector per part of it, indexed by slot.
//!
//! An [`Accumulator`] is one aggregate call over all groups of a table. Kernels
//! work on a batch: `slots[row]` says where a row belongs. Rows may be negative
//! (taking an earlier row back): linear kernels subtract, extremes refuse.
//!
//! Arithmetic never fails on the way where it can be carried on exactly: integer
//! sums have room for every possible input, and range is judged when a result is
//! made. Sums that leave even that room fail at once, with the same error.
//!
//! | call | parts |
//! |---|---|
//! | count | `i64` |
//! | sum, avg of smallint, int | `i64`, count |
//! | sum, avg of bigint | `i128`, count |
//! | sum, avg of numeric | `i256`, count |
//! | sum, avg of real, double precision | `f64`, compensation, count |
//! | min, max | value, whether there is one |

mod count;
mod extreme;
mod float_sum;
mod integer_sum;

#[cfg(test)]
mod tests;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type,
    Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use tidemill_types::plan::{AggregateCall, AggregateFunction};

use crate::operators::OperatorError;

/// Which rows of a batch go where.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The slot of each row.
    pub slots: &'a [u32],
    /// Only rows whose bit is set count; `None`: all.
    pub filter: Option<&'a BooleanBuffer>,
    /// Rows whose bit is set are taken back; `None`: none.
    pub neg: Option<&'a BooleanBuffer>,
}

impl<'a> Rows<'a> {
    /// Every row counts, none is taken back.
    #[must_use]
    pub fn all(slots: &'a [u32]) -> Self {
        Rows { slots, filter: None, neg: None }
    }

    /// Calls `add(slot, row)` for rows that count and are not NULL, and
    /// `subtract(slot, row)` for those of them that are taken back.
    #[inline]
    fn each(
        &self,
        nulls: Option<&NullBuffer>,
        add: impl FnMut(usize, usize),
        subtract: impl FnMut(usize, usize),
    ) {
        let nulls = nulls.filter(|n| n.null_count() > 0).map(NullBuffer::inner);
        let counting = match (self.filter, nulls) {
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => Some(one.clone()),
            (Some(a), Some(b)) => Some(a & b),
        };
        match self.neg.filter(|neg| neg.count_set_bits() > 0) {
            None => self.visit(counting.as_ref(), add),
            Some(neg) => {
                let all = BooleanBuffer::new_set(self.slots.len());
                let counting = counting.unwrap_or(all);
                self.visit(Some(&(&counting & &!neg)), add);
                self.visit(Some(&(&counting & neg)), subtract);
            }
        }
    }

    #[inline]
    fn visit(&self, counting: Option<&BooleanBuffer>, mut f: impl FnMut(usize, usize)) {
        match counting {
            None => {
                for (row, slot) in self.slots.iter().enumerate() {
                    f(*slot as usize, row);
                }
            }
            Some(bits) => {
                for row in bits.set_indices() {
                    f(self.slots[row] as usize, row);
                }
            }
        }
    }
}

/// The state of one aggregate call for every slot of a table.
pub trait Accumulator: Send {
    /// Makes room for slots `0 .. slots`; new ones are as before the first row.
    fn resize(&mut self, slots: usize);

    /// Takes a batch of rows. `argument` is the call's argument column, absent
    /// for `count(*)`.
    fn update(&mut self, rows: Rows<'_>, argument: Option<&ArrayRef>) -> Result<(), OperatorError>;

    /// Takes a batch of partial states ([`AggregateCall::state_fields`]).
    fn merge(&mut self, slots: &[u32], states: &[ArrayRef]) -> Result<(), OperatorError>;

    /// Appends the state columns of `slots`.
    fn state(&self, slots: &[u32], out: &mut Vec<ArrayRef>);

    /// The result column of `slots`; 22003 where a result leaves its type.
    fn result(&self, slots: &[u32]) -> Result<ArrayRef, OperatorError>;

    /// Forgets everything; memory is kept.
    fn clear(&mut self);

    /// Bytes of memory.
    fn bytes(&self) -> usize;
}

impl std::fmt::Debug for dyn Accumulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accumulator").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

/// The accumulator of `call`.
pub fn accumulator(call: &AggregateCall) -> Result<Box<dyn Accumulator>, OperatorError> {
    match call.function {
        AggregateFunction::Count => Ok(Box::new(count::Count::default())),
        AggregateFunction::Sum | AggregateFunction::Avg => sum(call),
        AggregateFunction::Min | AggregateFunction::Max => extreme(call),
    }
}

fn sum(call: &AggregateCall) -> Result<Box<dyn Accumulator>, OperatorError> {
    use DataType::{Decimal128, Decimal256, Float32, Float64, Int16, Int32, Int64};
    use integer_sum::IntegerSum;
    Ok(match &call.input_type {
        Int16 => Box::new(IntegerSum::<i64, Int16Type>::new(call)),
        Int32 => Box::new(IntegerSum::<i64, Int32Type>::new(call)),
        Int64 => Box::new(IntegerSum::<i128, Int64Type>::new(call)),
        Decimal128(_, _) => {
            Box::new(IntegerSum::<arrow::datatypes::i256, Decimal128Type>::new(call))
        }
        Decimal256(_, _) => {
            Box::new(IntegerSum::<arrow::datatypes::i256, Decimal256Type>::new(call))
        }
        Float32 => Box::new(float_sum::FloatSum::<Float32Type>::new(call)),
        Float64 => Box::new(float_sum::FloatSum::<Float64Type>::new(call)),
        _ => return Err(no_such_aggregate(call)),
    })
}

fn extreme(call: &AggregateCall) -> Result<Box<dyn Accumulator>, OperatorError> {
    use DataType::{
        Date32, Decimal128, Decimal256, Float32, Float64, Int16, Int32, Int64, Time64, Timestamp,
        Utf8View,
    };
    use extreme::{Extreme, TextExtreme};
    Ok(match &call.input_type {
        Int16 => Box::new(Extreme::<Int16Type>::new(call)),
        Int32 => Box::new(Extreme::<Int32Type>::new(call)),
        Int64 => Box::new(Extreme::<Int64Type>::new(call)),
        Float32 => Box::new(Extreme::<Float32Type>::new(call)),
        Float64 => Box::new(Extreme::<Float64Type>::new(call)),
        Date32 => Box::new(Extreme::<Date32Type>::new(call)),
        Time64(TimeUnit::Microsecond) => Box::new(Extreme::<Time64MicrosecondType>::new(call)),
        Timestamp(TimeUnit::Microsecond, _) => {
            Box::new(Extreme::<TimestampMicrosecondType>::new(call))
        }
        Decimal128(_, _) => Box::new(Extreme::<Decimal128Type>::new(call)),
        Decimal256(_, _) => Box::new(Extreme::<Decimal256Type>::new(call)),
        Utf8View => Box::new(TextExtreme::new(call)),
        _ => return Err(no_such_aggregate(call)),
    })
}

fn no_such_aggregate(call: &AggregateCall) -> OperatorError {
    OperatorError::internal(format!("no {} of {}", call.function.name(), call.input_type))
}

/// `column` as an array of primitive type `T`.
fn primitive<T: ArrowPrimitiveType>(
    column: Option<&ArrayRef>,
) -> Result<&arrow::array::PrimitiveArray<T>, OperatorError> {
    use arrow::array::AsArray;
    column.and_then(|c| c.as_primitive_opt::<T>()).ok_or_else(|| {
        let found = column.map(|c| c.data_type());
        OperatorError::internal(format!("an aggregate's column is {found:?}, not {}", T::DATA_TYPE))
    })
}

/// The values of `part` at `slots`.
fn gather<T: Copy>(part: &[T], slots: &[u32]) -> Vec<T> {
    slots.iter().map(|s| part[*s as usize]).collect()
}

/// NULL where no value has been counted; `None`: nowhere.
fn null_where_zero(counts: &[i64], slots: &[u32]) -> Option<NullBuffer> {
    let valid: BooleanBuffer = slots.iter().map(|s| counts[*s as usize] != 0).collect();
    Some(NullBuffer::new(valid)).filter(|n| n.null_count() > 0)
}

/// SQLSTATE 22003 in the name of `call`.
fn out_of_range(name: &str, output_type: &DataType) -> OperatorError {
    let data_type = match output_type {
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => format!("numeric({p},{s})"),
        other => other.to_string(),
    };
    OperatorError::OutOfRange { what: format!("aggregate \"{name}\""), data_type }
}
