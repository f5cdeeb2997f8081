//! The writers of the text format.

use arrow::array::timezone::Tz;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type,
    Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use chrono::{DateTime, Offset, TimeZone};
use tidemill_types::Diagnostic;

use super::binary::{time_micros, timestamp_micros};
use super::decimal::Digits;
use super::float::{write_f32, write_f64};
use super::temporal::{write_date, write_interval, write_time, write_timestamp};
use super::{Style, Visit, nested};

/// Gives `visit` the writer of `array`.
pub fn writer<'a, V: Visit<'a>>(
    array: &'a dyn Array,
    style: &'a Style,
    visit: V,
) -> Result<V::Out, Diagnostic> {
    Ok(match array.data_type() {
        DataType::Null => visit.visit(|_, _| ()),
        DataType::Boolean => {
            let array = array.as_boolean();
            visit.visit(|row, out| out.push(if array.value(row) { b't' } else { b'f' }))
        }
        DataType::Int8 => integer::<Int8Type, V>(array, visit),
        DataType::Int16 => integer::<Int16Type, V>(array, visit),
        DataType::Int32 => integer::<Int32Type, V>(array, visit),
        DataType::Int64 => integer::<Int64Type, V>(array, visit),
        DataType::UInt8 => integer::<UInt8Type, V>(array, visit),
        DataType::UInt16 => integer::<UInt16Type, V>(array, visit),
        DataType::UInt32 => integer::<UInt32Type, V>(array, visit),
        DataType::UInt64 => integer::<UInt64Type, V>(array, visit),
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().values();
            visit.visit(|row, out| write_f32(values[row], out))
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            visit.visit(|row, out| write_f64(values[row], out))
        }
        DataType::Decimal32(_, scale) => {
            let (values, scale) = (array.as_primitive::<Decimal32Type>().values(), *scale);
            visit.visit(move |row, out| {
                Digits::from(i128::from(values[row])).write_text(scale, out);
            })
        }
        DataType::Decimal64(_, scale) => {
            let (values, scale) = (array.as_primitive::<Decimal64Type>().values(), *scale);
            visit.visit(move |row, out| {
                Digits::from(i128::from(values[row])).write_text(scale, out);
            })
        }
        DataType::Decimal128(_, scale) => {
            let (values, scale) = (array.as_primitive::<Decimal128Type>().values(), *scale);
            visit.visit(move |row, out| Digits::from(values[row]).write_text(scale, out))
        }
        DataType::Decimal256(_, scale) => {
            let (values, scale) = (array.as_primitive::<Decimal256Type>().values(), *scale);
            visit.visit(move |row, out| Digits::from(values[row]).write_text(scale, out))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => strings(array, visit),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => binaries(array, visit),
        DataType::Date32 => {
            let values = array.as_primitive::<Date32Type>().values();
            visit.visit(|row, out| write_date(i64::from(values[row]), out))
        }
        DataType::Date64 => {
            let values = array.as_primitive::<Date64Type>().values();
            visit.visit(|row, out| write_date(values[row].div_euclid(86_400_000), out))
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            let micros = time_micros(array)?;
            visit.visit(move |row, out| write_time(micros(row), out))
        }
        DataType::Timestamp(_, None) => {
            let micros = timestamp_micros(array)?;
            visit.visit(move |row, out| write_timestamp(micros(row), None, out))
        }
        DataType::Timestamp(_, Some(_)) => zoned(array, style, visit)?,
        DataType::Interval(_) | DataType::Duration(_) => intervals(array, visit)?,
        other => match nested::text(array, style)? {
            Some(write) => visit.visit(write),
            None => return Err(super::binary::unsupported(other)),
        },
    })
}

fn integer<'a, T, V: Visit<'a>>(array: &'a dyn Array, visit: V) -> V::Out
where
    T: ArrowPrimitiveType,
    T::Native: itoa::Integer,
{
    let values = array.as_primitive::<T>().values();
    visit.visit(|row, out| {
        out.extend_from_slice(itoa::Buffer::new().format(values[row]).as_bytes());
    })
}

/// Text as it is; also what binary text looks like.
pub(super) fn strings<'a, V: Visit<'a>>(array: &'a dyn Array, visit: V) -> V::Out {
    match array.data_type() {
        DataType::Utf8View => {
            let array = array.as_string_view();
            visit.visit(|row, out| out.extend_from_slice(array.value(row).as_bytes()))
        }
        DataType::LargeUtf8 => {
            let array = array.as_string::<i64>();
            visit.visit(|row, out| out.extend_from_slice(array.value(row).as_bytes()))
        }
        _ => {
            let array = array.as_string::<i32>();
            visit.visit(|row, out| out.extend_from_slice(array.value(row).as_bytes()))
        }
    }
}

fn binaries<'a, V: Visit<'a>>(array: &'a dyn Array, visit: V) -> V::Out {
    match array.data_type() {
        DataType::BinaryView => {
            let array = array.as_binary_view();
            visit.visit(|row, out| write_bytea(array.value(row), out))
        }
        DataType::LargeBinary => {
            let array = array.as_binary::<i64>();
            visit.visit(|row, out| write_bytea(array.value(row), out))
        }
        DataType::FixedSizeBinary(16) => {
            let array = array.as_fixed_size_binary();
            visit.visit(|row, out| write_uuid(array.value(row), out))
        }
        DataType::FixedSizeBinary(_) => {
            let array = array.as_fixed_size_binary();
            visit.visit(|row, out| write_bytea(array.value(row), out))
        }
        _ => {
            let array = array.as_binary::<i32>();
            visit.visit(|row, out| write_bytea(array.value(row), out))
        }
    }
}

fn write_bytea(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\x");
    out.extend(value.iter().flat_map(|byte| hex(*byte)));
}

fn write_uuid(value: &[u8], out: &mut Vec<u8>) {
    for (index, byte) in value.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend(hex(*byte));
    }
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// Timestamps with time zone, shown in the session's.
fn zoned<'a, V: Visit<'a>>(
    array: &'a dyn Array,
    style: &'a Style,
    visit: V,
) -> Result<V::Out, Diagnostic> {
    let micros = timestamp_micros(array)?;
    Ok(match &style.zone {
        None => visit.visit(move |row, out| write_timestamp(micros(row), Some(0), out)),
        Some(zone) => visit.visit(move |row, out| {
            let instant = micros(row);
            let offset = offset_at(zone, instant);
            let local = instant.saturating_add(i64::from(offset) * 1_000_000);
            write_timestamp(local, Some(offset), out);
        }),
    })
}

/// Seconds that a zone is ahead of UTC; 0 beyond the calendar of the zones.
fn offset_at(zone: &Tz, instant: i64) -> i32 {
    DateTime::from_timestamp_micros(instant).map_or(0, |instant| {
        zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc()
    })
}

fn intervals<'a, V: Visit<'a>>(array: &'a dyn Array, visit: V) -> Result<V::Out, Diagnostic> {
    let parts = interval_parts(array)?;
    Ok(visit.visit(move |row, out| {
        let (months, days, micros) = parts(row);
        write_interval(months, days, micros, out);
    }))
}

/// Months, days and microseconds of an interval.
pub(super) type IntervalParts<'a> = Box<dyn Fn(usize) -> (i32, i32, i64) + 'a>;

/// Intervals are rare in results: one boxed reader serves both formats.
pub(super) fn interval_parts(array: &dyn Array) -> Result<IntervalParts<'_>, Diagnostic> {
    Ok(match array.data_type() {
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>().values();
            Box::new(|row| {
                let value = values[row];
                (value.months, value.days, value.nanoseconds.div_euclid(1_000))
            })
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let values = array.as_primitive::<IntervalDayTimeType>().values();
            Box::new(|row| (0, values[row].days, i64::from(values[row].milliseconds) * 1_000))
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            let values = array.as_primitive::<IntervalYearMonthType>().values();
            Box::new(|row| (values[row], 0, 0))
        }
        _ => {
            let micros = timestamp_micros(array)?;
            Box::new(move |row| (0, 0, micros(row)))
        }
    })
}
