//! Random columns of every type, extremes and NULLs among them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, ListArray, PrimitiveArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, i256,
};
use rand::Rng;
use rand::rngs::StdRng;

use super::bytes::BytesBuilder;

/// Every type of a key.
pub(in super::super) fn key_types() -> Vec<DataType> {
    let micros = TimeUnit::Microsecond;
    vec![
        DataType::Boolean,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(38, 4),
        DataType::Decimal256(76, 10),
        DataType::Date32,
        DataType::Time64(micros),
        DataType::Timestamp(micros, None),
        DataType::Timestamp(micros, Some("UTC".into())),
        DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Utf8View,
        DataType::Utf8,
        DataType::BinaryView,
        DataType::Binary,
        DataType::FixedSizeBinary(16),
        DataType::FixedSizeBinary(0),
    ]
}

/// Every type of a value: nested ones too.
pub(in super::super) fn value_types() -> Vec<DataType> {
    let list = |t| DataType::List(Arc::new(Field::new("item", t, true)));
    let record = DataType::Struct(
        vec![
            Field::new("a", DataType::Int32, true),
            Field::new("b", DataType::Utf8View, true),
            Field::new("c", list(DataType::Boolean), true),
        ]
        .into(),
    );
    let mut types = key_types();
    types.extend([
        list(DataType::Int64),
        list(DataType::Utf8View),
        list(DataType::FixedSizeBinary(3)),
        list(list(DataType::Float64)),
        list(record.clone()),
        record,
    ]);
    types
}

/// A random number of `choices` of `types`, with repetitions.
pub(in super::super) fn choose(
    rng: &mut StdRng,
    types: &[DataType],
    choices: std::ops::Range<usize>,
) -> Vec<DataType> {
    let count = rng.random_range(choices);
    (0..count).map(|_| types[rng.random_range(0..types.len())].clone()).collect()
}

/// A column of `rows` random values, sometimes with NULLs, sometimes a slice.
pub(in super::super) fn column(rng: &mut StdRng, data_type: &DataType, rows: usize) -> ArrayRef {
    let offset = rng.random_range(0..3);
    let null_share = [0.0, 0.3, 1.0][rng.random_range(0..3)];
    let all = values(rng, data_type, rows + offset, null_share);
    all.slice(offset, rows)
}

fn values(rng: &mut StdRng, data_type: &DataType, rows: usize, null_share: f64) -> ArrayRef {
    let valid: Vec<bool> = (0..rows).map(|_| !rng.random_bool(null_share)).collect();
    let nulls = Some(NullBuffer::from(valid.clone())).filter(|n| n.null_count() > 0);
    match data_type {
        DataType::Boolean => {
            let values: Vec<bool> = (0..rows).map(|_| rng.random()).collect();
            Arc::new(BooleanArray::new(values.into(), nulls))
        }
        DataType::Int16 => primitive::<Int16Type>(rows, nulls, data_type, || integer(rng) as i16),
        DataType::Int32 => primitive::<Int32Type>(rows, nulls, data_type, || integer(rng) as i32),
        DataType::Date32 => primitive::<Date32Type>(rows, nulls, data_type, || integer(rng) as i32),
        DataType::Int64 => primitive::<Int64Type>(rows, nulls, data_type, || integer(rng) as i64),
        DataType::Time64(_) => {
            primitive::<Time64MicrosecondType>(rows, nulls, data_type, || integer(rng) as i64)
        }
        DataType::Timestamp(_, _) => {
            primitive::<TimestampMicrosecondType>(rows, nulls, data_type, || integer(rng) as i64)
        }
        DataType::Float32 => primitive::<Float32Type>(rows, nulls, data_type, || float(rng) as f32),
        DataType::Float64 => primitive::<Float64Type>(rows, nulls, data_type, || float(rng)),
        DataType::Decimal128(_, _) => {
            primitive::<Decimal128Type>(rows, nulls, data_type, || integer(rng))
        }
        DataType::Decimal256(_, _) => {
            primitive::<Decimal256Type>(rows, nulls, data_type, || match rng.random_range(0..4) {
                0 => i256::MIN,
                1 => i256::MAX,
                _ => i256::from_parts(integer(rng) as u128, integer(rng)),
            })
        }
        DataType::Interval(_) => {
            primitive::<IntervalMonthDayNanoType>(rows, nulls, data_type, || IntervalMonthDayNano {
                months: integer(rng) as i32,
                days: integer(rng) as i32,
                nanoseconds: integer(rng) as i64,
            })
        }
        DataType::List(element) => {
            let lengths: Vec<usize> = (0..rows).map(|_| rng.random_range(0..12)).collect();
            let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
            let values = column(rng, element.data_type(), lengths.iter().sum());
            Arc::new(ListArray::new(Arc::clone(element), offsets, values, nulls))
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|f| column(rng, f.data_type(), rows)).collect();
            Arc::new(StructArray::new(fields.clone(), columns, nulls))
        }
        other => {
            let mut builder = BytesBuilder::new(other, rows).unwrap();
            for valid in valid {
                if valid {
                    builder.push(&bytes(rng, other)).unwrap();
                } else {
                    builder.push_null();
                }
            }
            builder.finish()
        }
    }
}

fn primitive<T: ArrowPrimitiveType>(
    rows: usize,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
    mut value: impl FnMut() -> T::Native,
) -> ArrayRef {
    let values: Vec<T::Native> = (0..rows).map(|_| value()).collect();
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls).with_data_type(data_type.clone()))
}

/// Small numbers often, to have equal ones; extremes of every width.
fn integer(rng: &mut StdRng) -> i128 {
    let edge = [15, 16, 31, 32, 63, 64, 127][rng.random_range(0..7)];
    match rng.random_range(0..8) {
        0 => 1i128.wrapping_shl(edge),
        1 => 1i128.wrapping_shl(edge).wrapping_sub(1),
        2 => 1i128.wrapping_shl(edge).wrapping_neg(),
        3 => rng.random(),
        _ => rng.random_range(-2..3),
    }
}

fn float(rng: &mut StdRng) -> f64 {
    let special = [
        0.0,
        -0.0,
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        1.0,
        -1.5,
    ];
    match rng.random_range(0..3) {
        0 => f64::from_bits(rng.random()),
        1 => rng.random_range(-10.0..10.0),
        _ => special[rng.random_range(0..special.len())],
    }
}

/// Bytes or text, short and long, with zeros and what escapes them.
fn bytes(rng: &mut StdRng, data_type: &DataType) -> Vec<u8> {
    let text = matches!(data_type, DataType::Utf8 | DataType::Utf8View);
    let length = match data_type {
        DataType::FixedSizeBinary(width) => *width as usize,
        _ => [0, 1, 2, 12, 13, 200][rng.random_range(0..6)],
    };
    if text {
        let letters = ['\0', '\u{1}', 'a', 'b', 'é', '\u{10FFFF}'];
        (0..length).map(|_| letters[rng.random_range(0..6)]).collect::<String>().into_bytes()
    } else {
        (0..length).map(|_| [0, 0, 1, 97, 254, 255][rng.random_range(0..6)]).collect()
    }
}
