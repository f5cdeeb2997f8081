//! The writers of the binary format.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use tidemill_types::Diagnostic;

use super::decimal::Digits;
use super::temporal::{EPOCH_DAYS, EPOCH_MICROS, micros};
use super::text::{interval_parts, strings};
use super::{Style, Visit, nested};
use crate::pgwire::types::oid;

/// Gives `visit` the writer of `array`, of the type with `type_oid`.
pub fn writer<'a, V: Visit<'a>>(
    array: &'a dyn Array,
    type_oid: u32,
    style: &'a Style,
    visit: V,
) -> Result<V::Out, Diagnostic> {
    /// Writes the numbers of a primitive array, converted, in network order.
    macro_rules! number {
        ($array_type:ty, $convert:expr) => {{
            let values = array.as_primitive::<$array_type>().values();
            visit.visit(move |row, out| {
                let number = $convert(values[row]);
                out.extend_from_slice(&number.to_be_bytes());
            })
        }};
    }
    macro_rules! decimal {
        ($array_type:ty, $scale:expr, $convert:expr) => {{
            let (values, scale) = (array.as_primitive::<$array_type>().values(), $scale);
            visit.visit(move |row, out| {
                Digits::from($convert(values[row])).write_binary(scale, out);
            })
        }};
    }
    Ok(match array.data_type() {
        DataType::Null => visit.visit(|_, _| ()),
        DataType::Boolean => {
            let array = array.as_boolean();
            visit.visit(|row, out| out.push(u8::from(array.value(row))))
        }
        DataType::Int8 => number!(Int8Type, i16::from),
        DataType::UInt8 => number!(UInt8Type, i16::from),
        DataType::Int16 => number!(Int16Type, i16::from),
        DataType::UInt16 => number!(UInt16Type, i32::from),
        DataType::Int32 => number!(Int32Type, i32::from),
        DataType::UInt32 => number!(UInt32Type, i64::from),
        DataType::Int64 => number!(Int64Type, i64::from),
        DataType::Float32 => number!(Float32Type, f32::from),
        DataType::Float64 => number!(Float64Type, f64::from),
        DataType::UInt64 => decimal!(UInt64Type, 0, i128::from),
        DataType::Decimal32(_, scale) => decimal!(Decimal32Type, *scale, i128::from),
        DataType::Decimal64(_, scale) => decimal!(Decimal64Type, *scale, i128::from),
        DataType::Decimal128(_, scale) => decimal!(Decimal128Type, *scale, i128::from),
        DataType::Decimal256(_, scale) => decimal!(Decimal256Type, *scale, |value| value),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View if type_oid == oid::JSONB => {
            strings(array, Jsonb(visit))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => strings(array, visit),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => bytes(array, visit),
        // The days since 2000.
        DataType::Date32 => number!(Date32Type, |days: i32| days.saturating_sub(EPOCH_DAYS)),
        DataType::Date64 => number!(Date64Type, |millis: i64| {
            (millis.div_euclid(86_400_000) as i32).saturating_sub(EPOCH_DAYS)
        }),
        DataType::Time32(_) | DataType::Time64(_) => {
            let micros = time_micros(array)?;
            visit.visit(move |row, out| out.extend_from_slice(&micros(row).to_be_bytes()))
        }
        // The microseconds since 2000 in UTC, with and without time zone.
        DataType::Timestamp(_, _) => {
            let micros = timestamp_micros(array)?;
            visit.visit(move |row, out| {
                let micros = micros(row).saturating_sub(EPOCH_MICROS);
                out.extend_from_slice(&micros.to_be_bytes());
            })
        }
        DataType::Interval(_) | DataType::Duration(_) => {
            let parts = interval_parts(array)?;
            visit.visit(move |row, out| {
                let (months, days, micros) = parts(row);
                out.extend_from_slice(&micros.to_be_bytes());
                out.extend_from_slice(&days.to_be_bytes());
                out.extend_from_slice(&months.to_be_bytes());
            })
        }
        other => match nested::binary(array, style)? {
            Some(write) => visit.visit(write),
            None => return Err(unsupported(other)),
        },
    })
}

/// Puts jsonb's version in front of the text.
struct Jsonb<V>(V);

impl<'a, V: Visit<'a>> Visit<'a> for Jsonb<V> {
    type Out = V::Out;

    fn visit(self, write: impl Fn(usize, &mut Vec<u8>) + 'a) -> V::Out {
        const VERSION: u8 = 1;
        self.0.visit(move |row, out| {
            out.push(VERSION);
            write(row, out);
        })
    }
}

fn bytes<'a, V: Visit<'a>>(array: &'a dyn Array, visit: V) -> V::Out {
    match array.data_type() {
        DataType::BinaryView => {
            let array = array.as_binary_view();
            visit.visit(|row, out| out.extend_from_slice(array.value(row)))
        }
        DataType::LargeBinary => {
            let array = array.as_binary::<i64>();
            visit.visit(|row, out| out.extend_from_slice(array.value(row)))
        }
        DataType::FixedSizeBinary(_) => {
            let array = array.as_fixed_size_binary();
            visit.visit(|row, out| out.extend_from_slice(array.value(row)))
        }
        _ => {
            let array = array.as_binary::<i32>();
            visit.visit(|row, out| out.extend_from_slice(array.value(row)))
        }
    }
}

/// Reads a timestamp or duration array of any unit in microseconds.
pub(super) fn timestamp_micros(
    array: &dyn Array,
) -> Result<impl Fn(usize) -> i64 + '_, Diagnostic> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let (values, unit) = match array.data_type() {
        DataType::Timestamp(Second, _) => {
            (array.as_primitive::<TimestampSecondType>().values(), Second)
        }
        DataType::Timestamp(Millisecond, _) => {
            (array.as_primitive::<TimestampMillisecondType>().values(), Millisecond)
        }
        DataType::Timestamp(Microsecond, _) => {
            (array.as_primitive::<TimestampMicrosecondType>().values(), Microsecond)
        }
        DataType::Timestamp(Nanosecond, _) => {
            (array.as_primitive::<TimestampNanosecondType>().values(), Nanosecond)
        }
        DataType::Duration(Second) => (array.as_primitive::<DurationSecondType>().values(), Second),
        DataType::Duration(Millisecond) => {
            (array.as_primitive::<DurationMillisecondType>().values(), Millisecond)
        }
        DataType::Duration(Microsecond) => {
            (array.as_primitive::<DurationMicrosecondType>().values(), Microsecond)
        }
        DataType::Duration(Nanosecond) => {
            (array.as_primitive::<DurationNanosecondType>().values(), Nanosecond)
        }
        other => return Err(unsupported(other)),
    };
    Ok(move |row: usize| micros(unit, values[row]))
}

/// Reads a time array of any unit in microseconds since midnight.
pub(super) fn time_micros(array: &dyn Array) -> Result<impl Fn(usize) -> i64 + '_, Diagnostic> {
    enum Values<'a> {
        Narrow(&'a [i32]),
        Wide(&'a [i64]),
    }
    let (values, unit) = match array.data_type() {
        DataType::Time32(TimeUnit::Second) => {
            let values = array.as_primitive::<Time32SecondType>().values();
            (Values::Narrow(values), TimeUnit::Second)
        }
        DataType::Time32(_) => {
            let values = array.as_primitive::<Time32MillisecondType>().values();
            (Values::Narrow(values), TimeUnit::Millisecond)
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let values = array.as_primitive::<Time64MicrosecondType>().values();
            (Values::Wide(values), TimeUnit::Microsecond)
        }
        DataType::Time64(_) => {
            let values = array.as_primitive::<Time64NanosecondType>().values();
            (Values::Wide(values), TimeUnit::Nanosecond)
        }
        other => return Err(unsupported(other)),
    };
    Ok(move |row: usize| match values {
        Values::Narrow(values) => micros(unit, i64::from(values[row])),
        Values::Wide(values) => micros(unit, values[row]),
    })
}

/// A type that has no counterpart on the wire.
pub(super) fn unsupported(data_type: &DataType) -> Diagnostic {
    Diagnostic::unsupported(format!("columns of type {data_type} cannot be sent to a client"))
        .with_hint("Cast the column to text.")
}
