//! What can be summed: per argument type, the running sum and its columns.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Decimal128Array, Decimal256Array, Float64Array,
    Int64Array,
};
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, i256,
};
use datafusion::common::Result;
use tidemill_types::{Diagnostic, SqlState};

/// 22003.
pub(super) fn out_of_range(data_type: &DataType) -> datafusion::common::DataFusionError {
    let message = format!("{} out of range", crate::types_sql::pg_type_name(data_type));
    let diagnostic = Diagnostic::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message);
    datafusion::common::DataFusionError::External(Box::new(diagnostic))
}

/// A running sum before it is given its result type.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Total {
    Exact(i256),
    Float(f64),
}

/// An argument type of `sum` and `avg`.
pub(super) trait Number: ArrowPrimitiveType + std::fmt::Debug + Send + 'static {
    /// The running sum.
    type Sum: Copy + Default + Send + Sync + std::fmt::Debug + 'static;

    /// Adds a value; `false`: the sum does not fit.
    fn add(sum: &mut Self::Sum, value: Self::Native) -> bool;
    /// Adds another sum; `false`: the result does not fit.
    fn merge(sum: &mut Self::Sum, other: Self::Sum) -> bool;
    fn total(sum: Self::Sum) -> Total;
    /// The state columns in front of the count. `scale` is the argument's.
    fn encode(sums: &[Self::Sum], scale: i8) -> Result<Vec<ArrayRef>>;
    /// The other way round; `columns` are the state columns.
    fn decode(columns: &[ArrayRef], row: usize) -> Self::Sum;
}

macro_rules! small_integer {
    ($t:ty) => {
        impl Number for $t {
            type Sum = i64;

            #[inline]
            fn add(sum: &mut i64, value: Self::Native) -> bool {
                let (total, overflow) = sum.overflowing_add(i64::from(value));
                *sum = total;
                !overflow
            }

            fn merge(sum: &mut i64, other: i64) -> bool {
                let (total, overflow) = sum.overflowing_add(other);
                *sum = total;
                !overflow
            }

            fn total(sum: i64) -> Total {
                Total::Exact(i256::from_i128(i128::from(sum)))
            }

            fn encode(sums: &[i64], _scale: i8) -> Result<Vec<ArrayRef>> {
                Ok(vec![Arc::new(Int64Array::from(sums.to_vec()))])
            }

            fn decode(columns: &[ArrayRef], row: usize) -> i64 {
                columns[0].as_primitive::<Int64Type>().value(row)
            }
        }
    };
}

small_integer!(Int16Type);
small_integer!(Int32Type);

impl Number for Int64Type {
    type Sum = i128;

    #[inline]
    fn add(sum: &mut i128, value: i64) -> bool {
        // 2^64 values would be needed to leave the range.
        *sum = sum.wrapping_add(i128::from(value));
        true
    }

    fn merge(sum: &mut i128, other: i128) -> bool {
        let (total, overflow) = sum.overflowing_add(other);
        *sum = total;
        !overflow
    }

    fn total(sum: i128) -> Total {
        Total::Exact(i256::from_i128(sum))
    }

    fn encode(sums: &[i128], _scale: i8) -> Result<Vec<ArrayRef>> {
        let column = Decimal128Array::from(sums.to_vec()).with_precision_and_scale(38, 0)?;
        Ok(vec![Arc::new(column)])
    }

    fn decode(columns: &[ArrayRef], row: usize) -> i128 {
        columns[0].as_primitive::<Decimal128Type>().value(row)
    }
}

/// A sum and the part of it that did not fit into its 53 bits (Neumaier's
/// variant of Kahan's summation).
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub(super) struct Compensated {
    sum: f64,
    compensation: f64,
}

impl Compensated {
    #[inline]
    fn add(&mut self, value: f64) {
        let total = self.sum + value;
        // With an infinity or NaN in it the difference is NaN and means nothing.
        if total.is_finite() {
            self.compensation += if self.sum.abs() >= value.abs() {
                (self.sum - total) + value
            } else {
                (value - total) + self.sum
            };
        }
        self.sum = total;
    }

    fn value(self) -> f64 {
        if self.sum.is_finite() { self.sum + self.compensation } else { self.sum }
    }
}

macro_rules! float {
    ($t:ty) => {
        impl Number for $t {
            type Sum = Compensated;

            #[inline]
            fn add(sum: &mut Compensated, value: Self::Native) -> bool {
                sum.add(f64::from(value));
                true
            }

            fn merge(sum: &mut Compensated, other: Compensated) -> bool {
                sum.add(other.sum);
                sum.compensation += other.compensation;
                true
            }

            fn total(sum: Compensated) -> Total {
                Total::Float(sum.value())
            }

            fn encode(sums: &[Compensated], _scale: i8) -> Result<Vec<ArrayRef>> {
                let part = |f: fn(&Compensated) -> f64| -> ArrayRef {
                    Arc::new(Float64Array::from_iter_values(sums.iter().map(f)))
                };
                Ok(vec![part(|s| s.sum), part(|s| s.compensation)])
            }

            fn decode(columns: &[ArrayRef], row: usize) -> Compensated {
                Compensated {
                    sum: columns[0].as_primitive::<Float64Type>().value(row),
                    compensation: columns[1].as_primitive::<Float64Type>().value(row),
                }
            }
        }
    };
}

float!(Float32Type);
float!(Float64Type);

macro_rules! decimal {
    ($t:ty, $widen:expr) => {
        impl Number for $t {
            type Sum = i256;

            #[inline]
            fn add(sum: &mut i256, value: Self::Native) -> bool {
                Self::merge(sum, $widen(value))
            }

            #[inline]
            fn merge(sum: &mut i256, other: i256) -> bool {
                match sum.checked_add(other) {
                    Some(total) => {
                        *sum = total;
                        true
                    }
                    None => false,
                }
            }

            fn total(sum: i256) -> Total {
                Total::Exact(sum)
            }

            fn encode(sums: &[i256], scale: i8) -> Result<Vec<ArrayRef>> {
                let column = Decimal256Array::from_iter_values(sums.iter().copied());
                Ok(vec![Arc::new(column.with_precision_and_scale(76, scale)?)])
            }

            fn decode(columns: &[ArrayRef], row: usize) -> i256 {
                columns[0].as_primitive::<Decimal256Type>().value(row)
            }
        }
    };
}

decimal!(Decimal128Type, i256::from_i128);
decimal!(Decimal256Type, std::convert::identity);

/// How many values a state row stands for: its last column.
pub(super) fn decode_count(columns: &[ArrayRef], row: usize) -> i64 {
    let counts = columns[columns.len() - 1].as_primitive::<Int64Type>();
    if counts.is_null(row) { 0 } else { counts.value(row) }
}
