//! Values of fixed width, as plain and as order-preserving bytes.

use arrow::array::ArrowPrimitiveType;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, i256,
};

/// A native value of a primitive column.
pub(super) trait Word: Copy + Default {
    type Bytes: Copy + AsRef<[u8]> + for<'a> TryFrom<&'a [u8]>;
    const WIDTH: usize = size_of::<Self::Bytes>();

    /// Little-endian, every bit kept.
    fn plain(self) -> Self::Bytes;
    fn from_plain(bytes: Self::Bytes) -> Self;
    /// Bytes that sort as values do; equal values have equal bytes.
    fn ordered(self) -> Self::Bytes;
    fn from_ordered(bytes: Self::Bytes) -> Self;
}

macro_rules! integer {
    ($($native:ty),*) => {$(
        impl Word for $native {
            type Bytes = [u8; size_of::<$native>()];

            fn plain(self) -> Self::Bytes {
                self.to_le_bytes()
            }

            fn from_plain(bytes: Self::Bytes) -> Self {
                <$native>::from_le_bytes(bytes)
            }

            /// Big-endian with the sign bit flipped.
            fn ordered(self) -> Self::Bytes {
                let mut bytes = self.to_be_bytes();
                bytes[0] ^= 0x80;
                bytes
            }

            fn from_ordered(mut bytes: Self::Bytes) -> Self {
                bytes[0] ^= 0x80;
                <$native>::from_be_bytes(bytes)
            }
        }
    )*};
}

integer!(i16, i32, i64, i128, i256);

macro_rules! float {
    ($native:ty, $bits:ty) => {
        impl Word for $native {
            type Bytes = [u8; size_of::<$native>()];

            fn plain(self) -> Self::Bytes {
                self.to_le_bytes()
            }

            fn from_plain(bytes: Self::Bytes) -> Self {
                <$native>::from_le_bytes(bytes)
            }

            /// One zero and one NaN, as `types::vnode` hashes them; NaN is above
            /// infinity. Negative numbers have all bits flipped, others the sign.
            fn ordered(self) -> Self::Bytes {
                const SIGN: $bits = 1 << (<$bits>::BITS - 1);
                // The bits of NaN are not promised to be positive.
                let canonical = if self.is_nan() { <$native>::NAN.abs() } else { self + 0.0 };
                let bits = canonical.to_bits();
                let ordered = if bits & SIGN == 0 { bits | SIGN } else { !bits };
                ordered.to_be_bytes()
            }

            fn from_ordered(bytes: Self::Bytes) -> Self {
                const SIGN: $bits = 1 << (<$bits>::BITS - 1);
                let ordered = <$bits>::from_be_bytes(bytes);
                let bits = if ordered & SIGN == 0 { !ordered } else { ordered & !SIGN };
                <$native>::from_bits(bits)
            }
        }
    };
}

float!(f32, u32);
float!(f64, u64);

/// Months, then days, then nanoseconds, each as an integer: the order of Arrow.
/// (A month is not 30 days here, so intervals that SQL calls equal may differ.)
impl Word for IntervalMonthDayNano {
    type Bytes = [u8; 16];

    fn plain(self) -> Self::Bytes {
        join(self.months.plain(), self.days.plain(), self.nanoseconds.plain())
    }

    fn from_plain(bytes: Self::Bytes) -> Self {
        let (months, days, nanoseconds) = part(bytes);
        IntervalMonthDayNano {
            months: i32::from_plain(months),
            days: i32::from_plain(days),
            nanoseconds: i64::from_plain(nanoseconds),
        }
    }

    fn ordered(self) -> Self::Bytes {
        join(self.months.ordered(), self.days.ordered(), self.nanoseconds.ordered())
    }

    fn from_ordered(bytes: Self::Bytes) -> Self {
        let (months, days, nanoseconds) = part(bytes);
        IntervalMonthDayNano {
            months: i32::from_ordered(months),
            days: i32::from_ordered(days),
            nanoseconds: i64::from_ordered(nanoseconds),
        }
    }
}

fn join(months: [u8; 4], days: [u8; 4], nanoseconds: [u8; 8]) -> [u8; 16] {
    let [a, b, c, d] = months;
    let [e, f, g, h] = days;
    let [i, j, k, l, m, n, o, p] = nanoseconds;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

fn part(bytes: [u8; 16]) -> ([u8; 4], [u8; 4], [u8; 8]) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    ([a, b, c, d], [e, f, g, h], [i, j, k, l, m, n, o, p])
}

/// Work for one primitive type; [`visit`] chooses it.
pub(super) trait Visitor {
    type Output;

    fn visit<T>(self) -> Self::Output
    where
        T: ArrowPrimitiveType,
        T::Native: Word;
}

/// Runs `visitor` for the primitive type of a column; `None` for other types.
pub(super) fn visit<V: Visitor>(data_type: &DataType, visitor: V) -> Option<V::Output> {
    Some(match data_type {
        DataType::Int16 => visitor.visit::<Int16Type>(),
        DataType::Int32 => visitor.visit::<Int32Type>(),
        DataType::Int64 => visitor.visit::<Int64Type>(),
        DataType::Float32 => visitor.visit::<Float32Type>(),
        DataType::Float64 => visitor.visit::<Float64Type>(),
        DataType::Decimal128(_, _) => visitor.visit::<Decimal128Type>(),
        DataType::Decimal256(_, _) => visitor.visit::<Decimal256Type>(),
        DataType::Date32 => visitor.visit::<Date32Type>(),
        DataType::Time64(TimeUnit::Microsecond) => visitor.visit::<Time64MicrosecondType>(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            visitor.visit::<TimestampMicrosecondType>()
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            visitor.visit::<IntervalMonthDayNanoType>()
        }
        _ => return None,
    })
}

struct Width;

impl Visitor for Width {
    type Output = usize;

    fn visit<T>(self) -> usize
    where
        T: ArrowPrimitiveType,
        T::Native: Word,
    {
        T::Native::WIDTH
    }
}

/// Bytes of a value of this type, where all have the same number.
pub(super) fn fixed_width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Boolean => Some(1),
        DataType::FixedSizeBinary(width) => usize::try_from(*width).ok(),
        other => visit(other, Width),
    }
}
