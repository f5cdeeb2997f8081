//! Rows as JSON objects, one per line, with values as PostgreSQL's `to_json` has them.
//!
//! | value | JSON |
//! |---|---|
//! | boolean | `true`, `false` |
//! | numbers | a number with all its digits: `1.50`, `12345678901234567890.1`, `1e+300` |
//! | NaN, infinities | a string, because JSON has no such numbers |
//! | timestamps | `"2013-01-31T06:05:04.5"`, with time zone in UTC: `"...+00:00"` |
//! | bytea | `"\\xdead"` |
//! | date, time, interval, uuid, text | a string |
//! | array, composite value | an array, an object |
//! | NULL | `null`; a key is never left out |

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type};

use crate::formats::text::output::{self, Cells, Separator};

/// Whether values of a type can be written.
#[must_use]
pub fn supported(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(element) => supported(element.data_type()),
        DataType::Struct(fields) => fields.iter().all(|f| supported(f.data_type())),
        other => output::supported(other),
    }
}

/// Appends the rows of a batch. `lead` names a first field that is not a column and
/// gives each row's text. `false`: a column's type cannot be written.
#[must_use]
pub fn rows(
    batch: &RecordBatch,
    lead: Option<(&str, &dyn Fn(usize) -> &'static str)>,
    out: &mut Vec<u8>,
) -> bool {
    let schema = batch.schema();
    let mut fields = Vec::with_capacity(batch.num_columns());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let Some(write) = values(column) else { return false };
        fields.push((key(field.name()), write));
    }
    let lead = lead.map(|(name, text)| (key(name), text));
    for row in 0..batch.num_rows() {
        out.push(b'{');
        let mut first = true;
        if let Some((key, text)) = &lead {
            out.extend_from_slice(key);
            string(text(row), out);
            first = false;
        }
        for (key, write) in &fields {
            if !std::mem::replace(&mut first, false) {
                out.push(b',');
            }
            out.extend_from_slice(key);
            write(row, out);
        }
        out.extend_from_slice(b"}\n");
    }
    true
}

/// `"name":`
fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::new();
    string(name, &mut key);
    key.push(b':');
    key
}

/// The writer of a column's values, NULL included.
fn values(array: &dyn Array) -> Option<Cells<'_>> {
    let write = values_not_null(array)?;
    if array.null_count() == 0 {
        return Some(write);
    }
    Some(Box::new(move |row, out| {
        if array.is_null(row) {
            out.extend_from_slice(b"null");
        } else {
            write(row, out);
        }
    }))
}

fn values_not_null(array: &dyn Array) -> Option<Cells<'_>> {
    Some(match array.data_type() {
        DataType::Boolean => {
            let array = array.as_boolean();
            Box::new(|row, out| {
                out.extend_from_slice(if array.value(row) { b"true" } else { b"false" });
            })
        }
        DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => output::cells(array, Separator::T)?,
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().values();
            floats(array, |row| values[row].is_finite())?
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            floats(array, |row| values[row].is_finite())?
        }
        DataType::Utf8View => {
            let array = array.as_string_view();
            Box::new(|row, out| string(array.value(row), out))
        }
        DataType::BinaryView => {
            let write = output::cells(array, Separator::T)?;
            Box::new(move |row, out| {
                // Its text begins with the one character that needs another before it.
                out.extend_from_slice(b"\"\\");
                write(row, out);
                out.push(b'"');
            })
        }
        DataType::List(_) => {
            let array = array.as_list::<i32>();
            let (offsets, write) = (array.value_offsets(), values(array.values())?);
            Box::new(move |row, out| {
                out.push(b'[');
                let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
                for element in from..to {
                    if element > from {
                        out.push(b',');
                    }
                    write(element, out);
                }
                out.push(b']');
            })
        }
        DataType::Struct(fields) => {
            let children = array.as_struct().columns().iter();
            let members = fields.iter().zip(children);
            let members: Vec<_> = members
                .map(|(field, child)| Some((key(field.name()), values(child)?)))
                .collect::<Option<_>>()?;
            Box::new(move |row, out| {
                out.push(b'{');
                for (i, (key, write)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(key);
                    write(row, out);
                }
                out.push(b'}');
            })
        }
        _ => quoted(output::cells(array, Separator::T)?),
    })
}

/// Texts that need nothing but quotes.
fn quoted(write: Cells<'_>) -> Cells<'_> {
    Box::new(move |row, out| {
        out.push(b'"');
        write(row, out);
        out.push(b'"');
    })
}

fn floats<'a>(array: &'a dyn Array, finite: impl Fn(usize) -> bool + 'a) -> Option<Cells<'a>> {
    let write = output::cells(array, Separator::T)?;
    Some(Box::new(move |row, out| {
        let quotes: &[u8] = if finite(row) { b"" } else { b"\"" };
        out.extend_from_slice(quotes);
        write(row, out);
        out.extend_from_slice(quotes);
    }))
}

/// A string with what JSON does not allow in one escaped.
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    for (i, byte) in bytes.iter().enumerate() {
        let code;
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1f => {
                code = format!("\\u{byte:04x}");
                code.as_bytes()
            }
            _ => continue,
        };
        out.extend_from_slice(&bytes[written..i]);
        out.extend_from_slice(escape);
        written = i + 1;
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::types::IntervalMonthDayNano;
    use arrow::array::{
        ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
        FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int64Array,
        IntervalMonthDayNanoArray, ListArray, StringViewArray, StructArray, Time64MicrosecondArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Field, Int32Type, i256};

    use super::*;

    fn line(column: ArrayRef) -> String {
        assert!(supported(column.data_type()));
        let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
        let mut out = Vec::new();
        assert!(rows(&batch, None, &mut out));
        String::from_utf8(out).unwrap()
    }

    /// Expected values are those of PostgreSQL's `to_json`.
    #[test]
    fn every_type() {
        let wide = i256::from_string("12345678901234567890123456789012345678901").unwrap();
        let pair = StructArray::from(vec![
            (
                Arc::new(Field::new("x", DataType::Int64, true)),
                Arc::new(Int64Array::from(vec![None])) as ArrayRef,
            ),
            (
                Arc::new(Field::new("y", DataType::Boolean, true)),
                Arc::new(BooleanArray::from(vec![false])) as ArrayRef,
            ),
        ]);
        let list =
            ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None, Some(3)])]);
        let cases: Vec<(ArrayRef, &str)> = vec![
            (Arc::new(BooleanArray::from(vec![true])), "true"),
            (Arc::new(Int16Array::from(vec![-5])), "-5"),
            (Arc::new(Int64Array::from(vec![i64::MAX])), "9223372036854775807"),
            (Arc::new(Int64Array::from(vec![None])), "null"),
            (Arc::new(Float64Array::from(vec![1e300])), "1e+300"),
            (Arc::new(Float64Array::from(vec![f64::NAN])), "\"NaN\""),
            (Arc::new(Float32Array::from(vec![f32::NEG_INFINITY])), "\"-Infinity\""),
            (
                Arc::new(Decimal128Array::from(vec![150]).with_precision_and_scale(10, 2).unwrap()),
                "1.50",
            ),
            (
                Arc::new(
                    Decimal256Array::from(vec![wide]).with_precision_and_scale(60, 1).unwrap(),
                ),
                "1234567890123456789012345678901234567890.1",
            ),
            (Arc::new(StringViewArray::from(vec!["a\"\\\n\u{1}é"])), "\"a\\\"\\\\\\n\\u0001é\""),
            (Arc::new(BinaryViewArray::from(vec![&b"\xde\xad"[..]])), "\"\\\\xdead\""),
            (
                Arc::new(FixedSizeBinaryArray::try_from_iter([[0xAB; 16]].into_iter()).unwrap()),
                "\"abababab-abab-abab-abab-abababababab\"",
            ),
            (Arc::new(Date32Array::from(vec![15_400])), "\"2012-03-01\""),
            (Arc::new(Time64MicrosecondArray::from(vec![1_500_000])), "\"00:00:01.5\""),
            (Arc::new(TimestampMicrosecondArray::from(vec![0])), "\"1970-01-01T00:00:00\""),
            (
                Arc::new(TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC")),
                "\"1970-01-01T00:00:00+00:00\"",
            ),
            (
                Arc::new(IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, 2, 0)])),
                "\"1 mon 2 days\"",
            ),
            (Arc::new(list), "[1,null,3]"),
            (Arc::new(pair), "{\"x\":null,\"y\":false}"),
        ];
        for (column, expected) in cases {
            let shown = column.data_type().to_string();
            assert_eq!(line(column), format!("{{\"a\":{expected}}}\n"), "{shown}");
        }
    }

    #[test]
    fn a_slice_of_a_list_has_its_own_elements() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1)]),
            None,
            Some(vec![]),
            Some(vec![Some(2), Some(3)]),
        ]);
        let sliced: ArrayRef = Arc::new(list.slice(1, 3));
        assert_eq!(line(sliced), "{\"a\":null}\n{\"a\":[]}\n{\"a\":[2,3]}\n");
    }

    #[test]
    fn a_kind_of_change_comes_first() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("n \"q\"", numbers)]).unwrap();
        let mut out = Vec::new();
        assert!(rows(&batch, Some(("tm_op", &|_| "insert")), &mut out));
        assert_eq!(out, b"{\"tm_op\":\"insert\",\"n \\\"q\\\"\":1}\n");
    }
}
