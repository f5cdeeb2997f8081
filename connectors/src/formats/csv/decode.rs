//! A column of fields to an array.
//!
//! The type is looked at once per column and batch; within, each value is one call
//! of a parser of [`crate::formats::text`]. A value that cannot be read is noted
//! with its row and leaves a null; the caller then takes the row out.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::builder::{
    BinaryViewBuilder, BooleanBuilder, FixedSizeBinaryBuilder, StringViewBuilder,
};
use arrow::array::{ArrayRef, ArrowPrimitiveType, NullBufferBuilder, PrimitiveArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type,
    Int16Type, Int32Type, Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};

use tidemill_types::text::datetime;

use super::split::FieldRef;
use crate::columns::sql_name;
use crate::formats::text::number;
use crate::options::boolean;

/// Characters of a bad value that a message shows.
const SHOWN_CHARS: usize = 60;

/// Whether columns of a type can be read from text.
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
    )
}

/// Rows that cannot be delivered, and why; the first reason of a row stays.
#[derive(Debug, Default)]
pub struct Failures {
    rows: BTreeMap<usize, String>,
}

impl Failures {
    fn note(&mut self, row: usize, reason: impl FnOnce() -> String) {
        self.rows.entry(row).or_insert_with(reason);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    #[must_use]
    pub fn contains(&self, row: usize) -> bool {
        self.rows.contains_key(&row)
    }

    /// By ascending row.
    pub fn into_rows(self) -> impl Iterator<Item = (usize, String)> {
        self.rows.into_iter()
    }
}

/// The texts of one column.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    pub fields: &'a [FieldRef],
    pub buffer: &'a [u8],
    pub side: &'a [u8],
    /// An unquoted field of this text is NULL.
    pub null: &'a [u8],
}

impl<'a> Texts<'a> {
    /// Each row's text, `None` for NULL.
    #[inline]
    fn iter(self) -> impl Iterator<Item = Option<&'a [u8]>> {
        self.fields.iter().map(move |field| {
            let text = field.text(self.buffer, self.side);
            (field.quoted() || text != self.null).then_some(text)
        })
    }
}

/// Decodes the column `field`, whose type is [`supported`], noting bad rows in
/// `failures`. The array has one value per text.
pub fn column(field: &Field, texts: Texts<'_>, failures: &mut Failures) -> ArrayRef {
    let mut errors = Errors { field, failures };
    match field.data_type() {
        DataType::Int16 => primitive::<Int16Type>(texts, &mut errors, |t| {
            number::integer(t).and_then(|v| v.try_into().ok())
        }),
        DataType::Int32 => primitive::<Int32Type>(texts, &mut errors, |t| {
            number::integer(t).and_then(|v| v.try_into().ok())
        }),
        DataType::Int64 => primitive::<Int64Type>(texts, &mut errors, number::integer),
        DataType::Float32 => primitive::<Float32Type>(texts, &mut errors, number::real),
        DataType::Float64 => primitive::<Float64Type>(texts, &mut errors, number::double),
        DataType::Decimal128(precision, scale) => {
            primitive::<Decimal128Type>(texts, &mut errors, |t| {
                number::decimal128(t, *precision, *scale)
            })
        }
        DataType::Decimal256(precision, scale) => {
            primitive::<Decimal256Type>(texts, &mut errors, |t| {
                number::decimal256(t, *precision, *scale)
            })
        }
        DataType::Date32 => primitive::<Date32Type>(texts, &mut errors, |t| datetime::date(t).ok()),
        DataType::Time64(_) => {
            primitive::<Time64MicrosecondType>(texts, &mut errors, |t| datetime::time(t).ok())
        }
        DataType::Timestamp(_, None) => {
            primitive::<TimestampMicrosecondType>(texts, &mut errors, |t| {
                datetime::timestamp(t).ok()
            })
        }
        DataType::Timestamp(_, Some(_)) => {
            primitive::<TimestampMicrosecondType>(texts, &mut errors, |t| {
                datetime::timestamptz(t).ok()
            })
        }
        DataType::Boolean => booleans(texts, &mut errors),
        DataType::BinaryView => binaries(texts, &mut errors),
        DataType::FixedSizeBinary(_) => uuids(texts, &mut errors),
        _ => strings(texts, &mut errors),
    }
}

/// Notes what is wrong with values of one column.
struct Errors<'a> {
    field: &'a Field,
    failures: &'a mut Failures,
}

impl Errors<'_> {
    #[cold]
    fn bad(&mut self, row: usize, text: &[u8]) {
        let field = self.field;
        self.failures.note(row, || {
            let wanted = sql_name(field.data_type());
            format!("column {}: cannot read \"{}\" as {wanted}", field.name(), shown(text))
        });
    }

    #[inline]
    fn null(&mut self, row: usize) {
        if !self.field.is_nullable() {
            let field = self.field;
            self.failures
                .note(row, || format!("column {}: NULL in a NOT NULL column", field.name()));
        }
    }
}

/// A value for a message: readable and not too long.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}

#[inline]
fn primitive<T: ArrowPrimitiveType>(
    texts: Texts<'_>,
    errors: &mut Errors<'_>,
    parse: impl Fn(&[u8]) -> Option<T::Native>,
) -> ArrayRef {
    let mut values = Vec::with_capacity(texts.fields.len());
    let mut nulls = NullBufferBuilder::new(texts.fields.len());
    for (row, text) in texts.iter().enumerate() {
        let value = match text {
            Some(text) => {
                let value = parse(text);
                if value.is_none() {
                    errors.bad(row, text);
                }
                value
            }
            None => {
                errors.null(row);
                None
            }
        };
        nulls.append(value.is_some());
        values.push(value.unwrap_or_default());
    }
    let array = PrimitiveArray::<T>::new(values.into(), nulls.finish());
    Arc::new(array.with_data_type(errors.field.data_type().clone()))
}

/// Appends each value, or what stands in for one that is NULL or bad.
fn append<V>(
    texts: Texts<'_>,
    errors: &mut Errors<'_>,
    mut parse: impl FnMut(&[u8]) -> Option<V>,
    mut push: impl FnMut(Option<V>),
) {
    for (row, text) in texts.iter().enumerate() {
        let Some(text) = text else {
            errors.null(row);
            push(None);
            continue;
        };
        let value = parse(text);
        if value.is_none() {
            errors.bad(row, text);
        }
        push(value);
    }
}

fn booleans(texts: Texts<'_>, errors: &mut Errors<'_>) -> ArrayRef {
    let mut builder = BooleanBuilder::with_capacity(texts.fields.len());
    append(texts, errors, boolean, |value| builder.append_option(value));
    Arc::new(builder.finish())
}

fn binaries(texts: Texts<'_>, errors: &mut Errors<'_>) -> ArrayRef {
    let mut builder = BinaryViewBuilder::with_capacity(texts.fields.len());
    let parse = |text: &[u8]| {
        let mut bytes = Vec::with_capacity(text.len() / 2);
        number::hex_bytes(text, &mut bytes).map(|()| bytes)
    };
    append(texts, errors, parse, |value| builder.append_option(value));
    Arc::new(builder.finish())
}

fn uuids(texts: Texts<'_>, errors: &mut Errors<'_>) -> ArrayRef {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(texts.fields.len(), 16);
    append(texts, errors, number::uuid, |value| match value {
        Some(bytes) => builder.append_value(bytes).expect("a UUID has 16 bytes"),
        None => builder.append_null(),
    });
    Arc::new(builder.finish())
}

fn strings(texts: Texts<'_>, errors: &mut Errors<'_>) -> ArrayRef {
    let mut builder = StringViewBuilder::with_capacity(texts.fields.len());
    for (row, text) in texts.iter().enumerate() {
        let text = text.map(std::str::from_utf8);
        match text {
            Some(Ok(text)) if !text.as_bytes().contains(&0) => builder.append_value(text),
            Some(_) => {
                let field = errors.field;
                errors.failures.note(row, || {
                    format!(
                        "column {}: the text is not valid UTF-8 or has a zero byte",
                        field.name()
                    )
                });
                builder.append_null();
            }
            None => {
                errors.null(row);
                builder.append_null();
            }
        }
    }
    Arc::new(builder.finish())
}
