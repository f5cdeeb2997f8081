//! Value to text, as PostgreSQL writes it.
//!
//! [`cells`] looks at a column's type once and answers a writer of its values that
//! are not NULL; what NULL looks like, and whether a text needs quotes, is the
//! format's affair. What [`super::datetime`] and [`super::number`] read, this
//! writes: a value survives the way there and back.

mod number;
mod time;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type,
    Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};

/// Appends the value of a row that is not NULL.
pub type Cells<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

/// What stands between the date and the time of a timestamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Separator {
    /// A blank, as PostgreSQL's output has it.
    Blank,
    /// The `T` of ISO 8601, as its JSON has it.
    T,
}

/// Whether [`cells`] writes values of a type: all but lists and composite types.
#[must_use]
pub fn supported(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
            | DataType::Utf8View
            | DataType::BinaryView
            | DataType::FixedSizeBinary(16)
            | DataType::Date32
            | DataType::Time64(TimeUnit::Microsecond)
            | DataType::Timestamp(TimeUnit::Microsecond, _)
            | DataType::Interval(IntervalUnit::MonthDayNano)
    )
}

/// The writer of a column's values; `None` for types that are not [`supported`].
#[must_use]
pub fn cells(array: &dyn Array, separator: Separator) -> Option<Cells<'_>> {
    if !supported(array.data_type()) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Boolean => {
            let array = array.as_boolean();
            Box::new(|row, out| out.push(if array.value(row) { b't' } else { b'f' }))
        }
        DataType::Int16 => integers::<Int16Type>(array),
        DataType::Int32 => integers::<Int32Type>(array),
        DataType::Int64 => integers::<Int64Type>(array),
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().values();
            Box::new(|row, out| number::real(values[row], out))
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            Box::new(|row, out| number::double(values[row], out))
        }
        DataType::Decimal128(_, scale) => {
            let (values, scale) = (array.as_primitive::<Decimal128Type>().values(), *scale);
            Box::new(move |row, out| number::decimal(&values[row], scale, out))
        }
        DataType::Decimal256(_, scale) => {
            let (values, scale) = (array.as_primitive::<Decimal256Type>().values(), *scale);
            Box::new(move |row, out| number::decimal(&values[row], scale, out))
        }
        DataType::BinaryView => {
            let array = array.as_binary_view();
            Box::new(|row, out| bytea(array.value(row), out))
        }
        DataType::FixedSizeBinary(_) => {
            let array = array.as_fixed_size_binary();
            Box::new(|row, out| uuid(array.value(row), out))
        }
        DataType::Date32 => {
            let values = array.as_primitive::<Date32Type>().values();
            Box::new(|row, out| time::date(values[row], out))
        }
        DataType::Time64(_) => {
            let values = array.as_primitive::<Time64MicrosecondType>().values();
            Box::new(|row, out| time::time(values[row], out))
        }
        DataType::Timestamp(_, zone) => {
            let values = array.as_primitive::<TimestampMicrosecondType>().values();
            // Values with a zone are instants; they are shown in UTC.
            let zone: &[u8] = match (zone, separator) {
                (None, _) => b"",
                (Some(_), Separator::Blank) => b"+00",
                (Some(_), Separator::T) => b"+00:00",
            };
            let between = if separator == Separator::T { b'T' } else { b' ' };
            Box::new(move |row, out| time::timestamp(values[row], between, zone, out))
        }
        DataType::Interval(_) => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>().values();
            Box::new(|row, out| time::interval(values[row], out))
        }
        _ => {
            let array = array.as_string_view();
            Box::new(|row, out| out.extend_from_slice(array.value(row).as_bytes()))
        }
    })
}

fn integers<T>(array: &dyn Array) -> Cells<'_>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    let values = array.as_primitive::<T>().values();
    Box::new(|row, out| number::integer(values[row].into(), out))
}

fn bytea(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\x");
    value.iter().for_each(|byte| hex(*byte, out));
}

fn uuid(value: &[u8], out: &mut Vec<u8>) {
    for (i, byte) in value.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        hex(*byte, out);
    }
}

fn hex(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}
