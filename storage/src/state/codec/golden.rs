//! The encodings byte by byte. What is stored in these forms is read by every
//! later version: a test that fails here needs a new version number, not new
//! expectations.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BinaryViewArray, BooleanArray, ListArray,
    PrimitiveArray, StringArray, StringViewArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimestampMicrosecondType, i256,
};

use super::samples::{key_types, value_types};
use super::*;

fn numbers<T: ArrowPrimitiveType>(
    data_type: &DataType,
    values: impl IntoIterator<Item = T::Native>,
) -> ArrayRef {
    let values = PrimitiveArray::<T>::from_iter_values(values);
    Arc::new(values.with_data_type(data_type.clone()))
}

/// A few values of a type, none NULL.
fn column(data_type: &DataType) -> ArrayRef {
    match data_type {
        DataType::Boolean => Arc::new(BooleanArray::from(vec![false, true])),
        DataType::Int16 => numbers::<Int16Type>(data_type, [-2, 0x0102]),
        DataType::Int32 => numbers::<Int32Type>(data_type, [-2, 0x0102_0304]),
        DataType::Int64 => numbers::<Int64Type>(data_type, [-2, 0x0102_0304_0506_0708]),
        DataType::Float32 => numbers::<Float32Type>(data_type, [-1.5, -0.0, 0.0, f32::NAN]),
        DataType::Float64 => numbers::<Float64Type>(data_type, [-1.5, -0.0, 0.0, f64::NAN]),
        DataType::Decimal128(_, _) => numbers::<Decimal128Type>(data_type, [-2, 0x0102]),
        DataType::Decimal256(_, _) => {
            numbers::<Decimal256Type>(data_type, [i256::from_i128(-2), i256::from_i128(0x0102)])
        }
        DataType::Date32 => numbers::<Date32Type>(data_type, [-2, 20000]),
        DataType::Time64(_) => numbers::<Time64MicrosecondType>(data_type, [0, 86_399_999_999]),
        DataType::Timestamp(_, _) => {
            numbers::<TimestampMicrosecondType>(data_type, [-2, 1_700_000_000_000_000])
        }
        DataType::Interval(_) => {
            let interval = IntervalMonthDayNano { months: 1, days: -2, nanoseconds: 3 };
            numbers::<IntervalMonthDayNanoType>(data_type, [interval])
        }
        DataType::Utf8View => Arc::new(StringViewArray::from(vec!["", "a\0é"])),
        DataType::Utf8 => Arc::new(StringArray::from(vec!["", "a\0é"])),
        DataType::BinaryView => {
            Arc::new(BinaryViewArray::from_iter_values([&b""[..], b"\x00\xFF\x00"]))
        }
        DataType::Binary => Arc::new(BinaryArray::from_iter_values([&b""[..], b"\x00\xFF\x00"])),
        DataType::FixedSizeBinary(width) => {
            let value: Vec<u8> = (0..*width as u8).collect();
            let mut builder = bytes::BytesBuilder::new(data_type, 1).unwrap();
            builder.push(&value).unwrap();
            builder.finish()
        }
        DataType::List(element) => {
            // The values of the element type, then an empty list.
            let values = column(element.data_type());
            let offsets = OffsetBuffer::from_lengths([values.len(), 0]);
            Arc::new(ListArray::new(Arc::clone(element), offsets, values, None))
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|f| column(f.data_type()).slice(0, 1)).collect();
            Arc::new(StructArray::new(fields.clone(), columns, None))
        }
        other => panic!("no sample of {other}"),
    }
}

fn hex(rows: &EncodedRows) -> String {
    let hex = |row: &[u8]| row.iter().map(|b| format!("{b:02x}")).collect::<String>();
    rows.iter().map(hex).collect::<Vec<_>>().join(" ")
}

fn key_bytes(columns: &[ArrayRef], rows: usize) -> String {
    let types: Vec<_> = columns.iter().map(|c| c.data_type().clone()).collect();
    let mut out = EncodedRows::default();
    KeyCodec::new(&types).unwrap().encode(columns, rows, &mut out).unwrap();
    hex(&out)
}

fn value_bytes(columns: &[ArrayRef], rows: usize) -> String {
    let types: Vec<_> = columns.iter().map(|c| c.data_type().clone()).collect();
    let mut out = EncodedRows::default();
    ValueCodec::new(&types).unwrap().encode(columns, rows, &mut out).unwrap();
    hex(&out)
}

fn compare(types: &[DataType], expected: &[&str], bytes: fn(&[ArrayRef], usize) -> String) {
    let found: Vec<_> = types
        .iter()
        .map(|t| {
            let column = column(t);
            let rows = column.len();
            bytes(&[column], rows)
        })
        .collect();
    let listing: Vec<_> =
        types.iter().zip(&found).map(|(t, f)| format!("// {t}\n{f:?},")).collect();
    assert_eq!(found, expected, "found:\n{}", listing.join("\n"));
}

#[test]
fn key_bytes_are_pinned() {
    compare(&key_types(), &KEYS, key_bytes);
}

#[test]
fn value_bytes_are_pinned() {
    compare(&value_types(), &VALUES, value_bytes);
}

/// Several columns and NULLs.
#[test]
fn rows_are_pinned() {
    let number = Arc::new(PrimitiveArray::<Int32Type>::from(vec![Some(7), None]));
    let text = Arc::new(StringViewArray::from(vec![None, Some("x")]));
    let flag = Arc::new(BooleanArray::from(vec![Some(true), None]));
    let columns: Vec<ArrayRef> = vec![number, text, flag];
    assert_eq!(key_bytes(&columns, 2), "010180000007000101 01000178000000");
    assert_eq!(value_bytes(&columns, 2), "01020700000001 010500000000000178");
    assert_eq!(key_bytes(&[], 1), "01");
    assert_eq!(value_bytes(&[], 1), "01");
    // Nine columns take two bytes of bits; a length of 128 takes two bytes.
    let mut wide = vec![ArrayRef::clone(&columns[0]); 8];
    wide.push(Arc::new(StringViewArray::from(vec!["y".repeat(128), "z".to_owned()])));
    let expected = format!(
        "010000{}8001{} 01ff00{}017a",
        "07000000".repeat(8),
        "79".repeat(128),
        "00".repeat(32)
    );
    assert_eq!(value_bytes(&wide, 2), expected);
    let fields =
        vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8View, true)];
    let nulls = Some(NullBuffer::from(vec![true, false]));
    let record = StructArray::new(fields.into(), columns[..2].to_vec(), nulls);
    assert_eq!(value_bytes(&[Arc::new(record)], 2), "0100050207000000 0101");
    let field = Arc::new(Field::new("item", DataType::Int32, true));
    let offsets = OffsetBuffer::from_lengths([2]);
    let list = ListArray::new(field, offsets, ArrayRef::clone(&columns[0]), None);
    assert_eq!(value_bytes(&[Arc::new(list)], 1), "01000a02020700000000000000");
}

#[rustfmt::skip]
const KEYS: [&str; 19] = [
    // Boolean
    "010100 010101",
    // Int16
    "01017ffe 01018102",
    // Int32
    "01017ffffffe 010181020304",
    // Int64
    "01017ffffffffffffffe 01018102030405060708",
    // Float32
    "0101403fffff 010180000000 010180000000 0101ffc00000",
    // Float64
    "01014007ffffffffffff 01018000000000000000 01018000000000000000 0101fff8000000000000",
    // Decimal128(38, 4)
    "01017ffffffffffffffffffffffffffffffe 010180000000000000000000000000000102",
    // Decimal256(76, 10)
    "01017ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe 01018000000000000000000000000000000000000000000000000000000000000102",
    // Date32
    "01017ffffffe 010180004e20",
    // Time64(µs)
    "01018000000000000000 0101800000141dd75fff",
    // Timestamp(µs)
    "01017ffffffffffffffe 010180060a24181e4000",
    // Timestamp(µs, "UTC")
    "01017ffffffffffffffe 010180060a24181e4000",
    // Interval(MonthDayNano)
    "0101800000017ffffffe8000000000000003",
    // Utf8View
    "01010000 01016100ffc3a90000",
    // Utf8
    "01010000 01016100ffc3a90000",
    // BinaryView
    "01010000 010100ffff00ff0000",
    // Binary
    "01010000 010100ffff00ff0000",
    // FixedSizeBinary(16)
    "0101000102030405060708090a0b0c0d0e0f",
    // FixedSizeBinary(0)
    "0101",
];

#[rustfmt::skip]
const VALUES: [&str; 25] = [
    // Boolean
    "010000 010001",
    // Int16
    "0100feff 01000201",
    // Int32
    "0100feffffff 010004030201",
    // Int64
    "0100feffffffffffffff 01000807060504030201",
    // Float32
    "01000000c0bf 010000000080 010000000000 01000000c07f",
    // Float64
    "0100000000000000f8bf 01000000000000000080 01000000000000000000 0100000000000000f87f",
    // Decimal128(38, 4)
    "0100feffffffffffffffffffffffffffffff 010002010000000000000000000000000000",
    // Decimal256(76, 10)
    "0100feffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff 01000201000000000000000000000000000000000000000000000000000000000000",
    // Date32
    "0100feffffff 0100204e0000",
    // Time64(µs)
    "01000000000000000000 0100ff5fd71d14000000",
    // Timestamp(µs)
    "0100feffffffffffffff 010000401e18240a0600",
    // Timestamp(µs, "UTC")
    "0100feffffffffffffff 010000401e18240a0600",
    // Interval(MonthDayNano)
    "010001000000feffffff0300000000000000",
    // Utf8View
    "010000 0100046100c3a9",
    // Utf8
    "010000 0100046100c3a9",
    // BinaryView
    "010000 01000300ff00",
    // Binary
    "010000 01000300ff00",
    // FixedSizeBinary(16)
    "0100000102030405060708090a0b0c0d0e0f",
    // FixedSizeBinary(0)
    "0100",
    // List(Int64)
    "0100120200feffffffffffffff0807060504030201 01000100",
    // List(Utf8View)
    "010008020000046100c3a9 01000100",
    // List(FixedSizeBinary(3))
    "0100050100000102 01000100",
    // List(List(Float64))
    "0100270200220400000000000000f8bf00000000000000800000000000000000000000000000f87f0100 01000100",
    // List(Struct("a": Int32, "b": Utf8View, "c": List(Boolean)))
    "01000e01000b00feffffff000402000001 01000100",
    // Struct("a": Int32, "b": Utf8View, "c": List(Boolean))
    "01000b00feffffff000402000001",
];
