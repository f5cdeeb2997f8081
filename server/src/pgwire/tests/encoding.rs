//! Text and binary of every type, compared with `postgres15.tsv`, a table that
//! PostgreSQL wrote, and the way back through parameters.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
    Decimal256Array, DictionaryArray, FixedSizeBinaryArray, Float32Array, Float64Array, Int64Array,
    IntervalMonthDayNanoArray, ListArray, RecordBatch, StringViewArray, StructArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt64Array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, IntervalMonthDayNano, Schema, i256};
use bytes::{Buf, Bytes, BytesMut};
use datafusion::scalar::ScalarValue;

use crate::pgwire::encode::{RowEncoder, Style};
use crate::pgwire::parameters;
use crate::pgwire::types::{Format, TYPE_KEY, oid};

const TABLE: &str = include_str!("postgres15.tsv");

/// A batch of one column as its encoder writes it.
fn encode_field(field: Field, array: ArrayRef, format: Format, style: Style) -> Vec<Option<Bytes>> {
    let schema = Arc::new(Schema::new(vec![field]));
    let batch = RecordBatch::try_new(schema.clone(), vec![array]).unwrap();
    let mut encoder = RowEncoder::new(&schema, &[format], style).unwrap();
    let (mut out, mut next) = (BytesMut::new(), 0);
    while next < batch.num_rows() {
        next += encoder.encode(&batch, next, 3, &mut out).unwrap();
    }
    let mut values = Vec::new();
    while out.has_remaining() {
        assert_eq!(out.get_u8(), b'D');
        let length = out.get_u32() as usize - 4;
        let mut row = out.split_to(length);
        assert_eq!(row.get_u16(), 1);
        let length = row.get_i32();
        values.push((length >= 0).then(|| row.split_to(length as usize).freeze()));
        assert!(row.is_empty());
    }
    values
}

fn encode(array: ArrayRef, format: Format) -> Vec<Option<Bytes>> {
    let field = Field::new("c", array.data_type().clone(), true);
    encode_field(field, array, format, Style::default())
}

fn text_of(array: ArrayRef) -> Vec<String> {
    let values = encode(array, Format::Text);
    values.iter().map(|v| String::from_utf8(v.as_ref().unwrap().to_vec()).unwrap()).collect()
}

fn hex_of(array: ArrayRef) -> Vec<String> {
    let hex = |bytes: &Bytes| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    encode(array, Format::Binary).iter().map(|v| hex(v.as_ref().unwrap())).collect()
}

/// The value of a line of the table.
fn array_of(kind: &str, value: &str) -> ArrayRef {
    let micros = || vec![value.parse::<i64>().unwrap()];
    match kind {
        "float8" => Arc::new(Float64Array::from(vec![value.parse::<f64>().unwrap()])),
        "float4" => Arc::new(Float32Array::from(vec![value.parse::<f32>().unwrap()])),
        "numeric" => decimal_of(value),
        "date" => Arc::new(Date32Array::from(vec![value.parse::<i32>().unwrap()])),
        "time" => Arc::new(Time64MicrosecondArray::from(micros())),
        "timestamp" => Arc::new(TimestampMicrosecondArray::from(micros())),
        "interval" => {
            let parts: Vec<i64> = value.split(',').map(|p| p.parse().unwrap()).collect();
            let (months, days) = (parts[0] as i32, parts[1] as i32);
            let value = IntervalMonthDayNano::new(months, days, parts[2] * 1000);
            Arc::new(IntervalMonthDayNanoArray::from(vec![value]))
        }
        _ => Arc::new(TimestampMicrosecondArray::from(micros()).with_timezone("UTC")),
    }
}

fn decimal_of(value: &str) -> ArrayRef {
    let scale = value.split_once('.').map_or(0, |(_, fraction)| fraction.len()) as i8;
    let digits = value.replace('.', "");
    match digits.parse::<i128>() {
        Ok(number) if digits.trim_start_matches(['-', '0']).len() <= 38 && scale <= 38 => {
            let array = Decimal128Array::from(vec![number]);
            Arc::new(array.with_precision_and_scale(38, scale).unwrap())
        }
        _ => {
            let array = Decimal256Array::from(vec![i256::from_string(&digits).unwrap()]);
            Arc::new(array.with_precision_and_scale(76, scale).unwrap())
        }
    }
}

#[test]
fn text_and_binary_are_those_of_postgresql() {
    let mut compared = 0;
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [kind, value, text, binary] = fields[..] else { panic!("{line}") };
        let style = Style::in_zone(kind.strip_prefix("zoned:").unwrap_or("UTC"));
        let array = array_of(kind, value);
        let field = Field::new("c", array.data_type().clone(), true);
        let ours = encode_field(field, array.clone(), Format::Text, style);
        assert_eq!(ours, [Some(Bytes::copy_from_slice(text.as_bytes()))], "{line}");
        assert_eq!(hex_of(array), [binary], "{line}");
        compared += 1;
    }
    assert!(compared > 500, "{compared} lines");
}

#[test]
fn what_postgresql_wrote_is_read_back_as_parameters() {
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [kind, value, text, binary] = fields[..] else { panic!("{line}") };
        let array = array_of(kind, value);
        let expected = ScalarValue::try_from_array(&array, 0).unwrap();
        let type_oid = match kind {
            "float8" => oid::FLOAT8,
            "float4" => oid::FLOAT4,
            "numeric" => oid::NUMERIC,
            "date" => oid::DATE,
            "time" => oid::TIME,
            "timestamp" => oid::TIMESTAMP,
            "interval" => oid::INTERVAL,
            _ => oid::TIMESTAMPTZ,
        };
        let unhex = |at: usize| u8::from_str_radix(&binary[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..binary.len()).step_by(2).map(unhex).collect();
        let back = parameter(&expected.data_type(), type_oid, 1, &bytes);
        // NaN is equal to nothing but has one text.
        assert_eq!(back.to_string(), expected.to_string(), "{line}");
        if matches!(kind, "float8" | "float4" | "numeric") {
            let back = parameter(&expected.data_type(), type_oid, 0, text.as_bytes());
            assert_eq!(back.to_string(), expected.to_string(), "{line}");
        }
    }
}

fn parameter(data_type: &DataType, type_oid: u32, format: i16, bytes: &[u8]) -> ScalarValue {
    let values = [Some(Bytes::copy_from_slice(bytes))];
    let types = [data_type.clone()];
    let mut decoded =
        parameters::decode(&types, &[type_oid], &[format], &values, &Style::default()).unwrap();
    decoded.remove(0)
}

fn refused(data_type: &DataType, type_oid: u32, format: i16, bytes: &[u8]) -> String {
    let values = [Some(Bytes::copy_from_slice(bytes))];
    let types = [data_type.clone()];
    let style = Style::default();
    let error = parameters::decode(&types, &[type_oid], &[format], &values, &style).unwrap_err();
    error.state.code().to_owned()
}

#[test]
fn arrays_and_records_are_those_of_postgresql() {
    let numbers = ListArray::from_iter_primitive::<arrow::datatypes::Int64Type, _, _>([
        Some(vec![Some(1), None, Some(3)]),
        Some(vec![]),
    ]);
    let numbers: ArrayRef = Arc::new(numbers);
    assert_eq!(text_of(numbers.clone()), ["{1,NULL,3}", "{}"]);
    assert_eq!(
        hex_of(numbers),
        [
            "0000000100000001000000140000000300000001000000080000000000000001ffffffff00000008\
             0000000000000003",
            "000000000000000000000014"
        ]
    );

    let words = [
        Some("a b"),
        Some(""),
        Some("NULL"),
        Some("q\"x"),
        Some("b\\s"),
        Some("{x}"),
        Some("c,d"),
        None,
        Some("plain"),
    ];
    let words = list_of(Arc::new(StringViewArray::from_iter(words)), &[9]);
    assert_eq!(
        text_of(words.clone()),
        [r#"{"a b","","NULL","q\"x","b\\s","{x}","c,d",NULL,plain}"#]
    );
    assert_eq!(
        hex_of(words),
        ["00000001000000010000001900000009000000010000000361206200000000000000044e554c4c00000003\
          71227800000003625c73000000037b787d00000003632c64ffffffff00000005706c61696e"]
    );

    let inner = list_of(Arc::new(Int64Array::from(vec![1, 2, 3, 4])), &[2, 2]);
    assert_eq!(text_of(list_of(inner, &[2])), ["{{1,2},{3,4}}"]);

    let record = record_of(vec![
        Arc::new(Int64Array::from(vec![1])),
        Arc::new(StringViewArray::from(vec!["a b"])),
        new_null_array(&DataType::Utf8View, 1),
        Arc::new(StringViewArray::from(vec![""])),
        Arc::new(StringViewArray::from(vec!["(x)"])),
        Arc::new(StringViewArray::from(vec!["q\"s\\"])),
        Arc::new(BooleanArray::from(vec![true])),
    ]);
    assert_eq!(text_of(record.clone()), [r#"(1,"a b",,"","(x)","q""s\\",t)"#]);
    assert_eq!(
        hex_of(record),
        ["0000000700000014000000080000000000000001000000190000000361206200000019ffffffff00000019\
          00000000000000190000000328782900000019000000047122735c000000100000000101"]
    );
    let records = record_of(vec![
        Arc::new(Int64Array::from(vec![1])),
        Arc::new(StringViewArray::from(vec!["x y"])),
    ]);
    assert_eq!(text_of(list_of(records, &[1])), [r#"{"(1,\"x y\")"}"#]);
}

fn list_of(values: ArrayRef, lengths: &[usize]) -> ArrayRef {
    let item = Arc::new(Field::new("item", values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Arc::new(ListArray::new(item, offsets, values, None))
}

fn record_of(columns: Vec<ArrayRef>) -> ArrayRef {
    let field = |column: &ArrayRef| Field::new("f", column.data_type().clone(), true);
    let fields: Vec<Field> = columns.iter().map(field).collect();
    Arc::new(StructArray::new(fields.into(), columns, None))
}

#[test]
fn plain_types_in_both_formats() {
    let cases: [(ArrayRef, &str, &str); 6] = [
        (Arc::new(BooleanArray::from(vec![true])), "t", "01"),
        (Arc::new(Int64Array::from(vec![i64::MIN])), "-9223372036854775808", "8000000000000000"),
        // As numeric: four groups of base 10,000, weight 4, positive, scale 0.
        (
            Arc::new(UInt64Array::from(vec![u64::MAX])),
            "18446744073709551615",
            "0005000400000000073412ba01d1165f064f",
        ),
        (
            Arc::new(BinaryViewArray::from_iter_values([[0xde_u8, 0xad, 0xbe, 0xef, 0]])),
            "\\xdeadbeef00",
            "deadbeef00",
        ),
        (
            Arc::new(
                FixedSizeBinaryArray::try_from_iter([(0..16).collect::<Vec<u8>>()].iter()).unwrap(),
            ),
            "00010203-0405-0607-0809-0a0b0c0d0e0f",
            "000102030405060708090a0b0c0d0e0f",
        ),
        (Arc::new(["x"].into_iter().collect::<DictionaryArray<Int32Type>>()), "x", "78"),
    ];
    for (array, text, binary) in cases {
        assert_eq!(text_of(array.clone()), [text]);
        if !binary.starts_with("0005") {
            assert_eq!(hex_of(array), [binary]);
        }
    }
    let jsonb = Field::new("c", DataType::Utf8View, true)
        .with_metadata([(TYPE_KEY.to_owned(), "jsonb".to_owned())].into());
    let json: ArrayRef = Arc::new(StringViewArray::from(vec!["{\"a\": 1}"]));
    let binary = encode_field(jsonb, json, Format::Binary, Style::default());
    assert_eq!(binary, [Some(Bytes::from_static(b"\x01{\"a\": 1}"))]);
}

#[test]
fn nulls_and_slices_keep_their_rows() {
    let array: ArrayRef = Arc::new(StringViewArray::from_iter(
        (0..5000).map(|i| (i % 3 != 0).then(|| format!("value number {i}"))),
    ));
    let sliced = array.slice(1000, 2000);
    let values = encode(sliced.clone(), Format::Text);
    assert_eq!(values.len(), 2000);
    for (row, value) in values.iter().enumerate() {
        let expected =
            (!(row + 1000).is_multiple_of(3)).then(|| format!("value number {}", row + 1000));
        assert_eq!(value.as_deref(), expected.as_deref().map(str::as_bytes));
        assert_eq!(sliced.as_string_view().is_valid(row), value.is_some());
    }
    assert_eq!(encode(new_null_array(&DataType::Null, 2), Format::Text), [None, None]);
}

use arrow::array::Array;

#[test]
fn a_chunk_stays_near_a_portion_whatever_the_rows_are() {
    let short = std::iter::repeat_n("x".to_owned(), 20_000);
    let long = std::iter::repeat_n("y".repeat(1 << 20), 8);
    let array: ArrayRef = Arc::new(StringViewArray::from_iter_values(short.chain(long)));
    let schema = Arc::new(Schema::new(vec![Field::new("c", DataType::Utf8View, false)]));
    let batch = RecordBatch::try_new(schema.clone(), vec![array]).unwrap();
    let mut encoder = RowEncoder::new(&schema, &[], Style::default()).unwrap();
    let (mut next, mut chunks) = (0, 0);
    while next < batch.num_rows() {
        let mut out = BytesMut::new();
        next += encoder.encode(&batch, next, usize::MAX, &mut out).unwrap();
        assert!(out.len() < (1 << 20) + (256 << 10), "a chunk of {} bytes", out.len());
        chunks += 1;
    }
    assert!(chunks < 40, "{chunks} chunks");
}

#[test]
fn text_parameters_follow_postgresql() {
    use DataType as T;
    let text = |data_type: &T, text: &str| parameter(data_type, 0, 0, text.as_bytes());
    assert_eq!(text(&T::Boolean, " YES "), ScalarValue::Boolean(Some(true)));
    assert_eq!(text(&T::Boolean, "off"), ScalarValue::Boolean(Some(false)));
    assert_eq!(text(&T::Int32, " -7 "), ScalarValue::Int32(Some(-7)));
    assert_eq!(text(&T::Float64, "-Infinity"), ScalarValue::Float64(Some(f64::NEG_INFINITY)));
    let numeric = T::Decimal128(10, 2);
    assert_eq!(text(&numeric, "1.005"), ScalarValue::Decimal128(Some(101), 10, 2));
    assert_eq!(text(&numeric, "-1.005e1"), ScalarValue::Decimal128(Some(-1005), 10, 2));
    assert_eq!(text(&numeric, "0.004"), ScalarValue::Decimal128(Some(0), 10, 2));
    assert_eq!(text(&T::BinaryView, "\\x00fF"), ScalarValue::BinaryView(Some(vec![0, 255])));
    assert_eq!(
        text(&T::BinaryView, "a\\\\\\001"),
        ScalarValue::BinaryView(Some(b"a\\\x01".to_vec()))
    );
    assert_eq!(text(&T::Date32, "2000-01-01"), ScalarValue::Date32(Some(10_957)));
    let list = T::new_list(T::Int64, true);
    let ScalarValue::List(elements) = text(&list, "{1, NULL,\"3\"}") else { panic!("a list") };
    let expected = ScalarValue::new_list_nullable(
        &[ScalarValue::Int64(Some(1)), ScalarValue::Int64(None), ScalarValue::Int64(Some(3))],
        &T::Int64,
    );
    assert_eq!(elements, expected);

    for (data_type, bad, state) in [
        (T::Boolean, "maybe", "22P02"),
        (T::Int32, "1.5", "22P02"),
        (T::Int32, "2147483648", "22003"),
        (T::Float64, "1e999", "22003"),
        (T::Float32, "1e39", "22003"),
        (numeric.clone(), "123456789", "22003"),
        (numeric, "1e3000", "22003"),
        (T::Date32, "2000-13-01", "22007"),
        (T::FixedSizeBinary(16), "0123", "22P02"),
        (list, "{1,{2}}", "22P02"),
    ] {
        assert_eq!(refused(&data_type, 0, 0, bad.as_bytes()), state, "{bad}");
    }
    assert_eq!(refused(&T::Int32, oid::INT4, 1, &[0; 3]), "22P03");
    assert_eq!(refused(&T::Int16, oid::INT4, 1, &[0x7f, 0, 0, 0]), "22003");
    assert_eq!(refused(&T::Utf8View, oid::TEXT, 1, &[0xff]), "22021");
}
