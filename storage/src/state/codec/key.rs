//! Keys: bytes that sort as rows of key columns do.
//!
//! A row is the version, then column after column. A NULL is `00` and comes
//! first; any other value is `01` and then
//!
//! | type | bytes |
//! |---|---|
//! | smallint, integer, bigint, date, time, timestamps, numeric | big-endian, the sign bit flipped |
//! | interval | months, days, nanoseconds, each like an integer |
//! | real, double precision | big-endian bits, all flipped if negative, else the sign; one zero, one NaN, which is last |
//! | boolean | `00`, `01` |
//! | uuid and other byte strings of fixed width | the bytes |
//! | text, bytea | the bytes, each `00` as `00 FF`, then `00 00` |
//!
//! Equal rows have equal bytes, no row's bytes begin another's, and the bytes of
//! some leading columns begin those of every row that has them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, BooleanBufferBuilder,
    PrimitiveArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

use super::super::StateError;
use super::bytes::{BytesBuilder, BytesColumn, is_bytes};
use super::word::{Visitor, Word, fixed_width, visit};
use super::{EncodedRows, check_columns, ends_early, trailing_bytes};

/// The version of the encoding, the first byte of every key's columns.
pub const KEY_VERSION: u8 = 1;

const NULL: u8 = 0;
const VALUE: u8 = 1;

/// Follows a `00` that is part of a value.
const ESCAPED: u8 = 0xFF;
/// Follows a `00` that ends a value.
const END: u8 = 0;

/// Encodes and decodes rows of key columns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyCodec {
    types: Vec<DataType>,
}

impl KeyCodec {
    /// For columns of `types`, in key order; none is a key like any other.
    ///
    /// # Errors
    /// [`StateError::UnsupportedType`].
    pub fn new(types: &[DataType]) -> Result<Self, StateError> {
        match types.iter().find(|t| fixed_width(t).is_none() && !is_bytes(t)) {
            None => Ok(KeyCodec { types: types.to_vec() }),
            Some(t) => Err(StateError::UnsupportedType { part: "key", data_type: (*t).clone() }),
        }
    }

    /// The types of the columns.
    #[must_use]
    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    /// The bytes of `rows` rows, in place of what `out` had.
    ///
    /// # Errors
    /// [`StateError::Columns`] when the columns are others than the codec's.
    pub fn encode(
        &self,
        columns: &[ArrayRef],
        rows: usize,
        out: &mut EncodedRows,
    ) -> Result<(), StateError> {
        self.encode_after(0, columns, rows, out)
    }

    /// As [`KeyCodec::encode`], with `lead` bytes of zeros before each row.
    pub(in super::super) fn encode_after(
        &self,
        lead: usize,
        columns: &[ArrayRef],
        rows: usize,
        out: &mut EncodedRows,
    ) -> Result<(), StateError> {
        check_columns(&self.types, columns, rows)?;
        out.plan(rows, lead + 1);
        for column in columns {
            add_lengths(column, out.lengths());
        }
        let mut at = out.allocate();
        for at in &mut at {
            out.bytes[*at + lead] = KEY_VERSION;
            *at += lead + 1;
        }
        for column in columns {
            write_column(column, &mut out.bytes, &mut at);
        }
        Ok(())
    }

    /// The columns of encoded rows.
    ///
    /// # Errors
    /// [`StateError::Damaged`] for bytes that are not of this version and these
    /// types; [`StateError::TooLong`] when a column of 32-bit offsets overflows.
    pub fn decode(&self, rows: &[&[u8]]) -> Result<Vec<ArrayRef>, StateError> {
        if rows.iter().any(|row| row.first() != Some(&KEY_VERSION)) {
            return Err(StateError::damaged("a key of an unknown version"));
        }
        let mut readers: Vec<&[u8]> = rows.iter().map(|row| &row[1..]).collect();
        let columns: Result<Vec<_>, _> =
            self.types.iter().map(|t| read_column(t, &mut readers)).collect();
        let columns = columns?;
        if readers.iter().any(|rest| !rest.is_empty()) {
            return Err(trailing_bytes());
        }
        Ok(columns)
    }
}

fn add_lengths(column: &ArrayRef, lengths: &mut [usize]) {
    let nulls = column.nulls().filter(|n| n.null_count() > 0);
    let valid = |row| nulls.is_none_or(|n| n.is_valid(row));
    if let Some(width) = fixed_width(column.data_type()) {
        for (row, length) in lengths.iter_mut().enumerate() {
            *length += 1 + if valid(row) { width } else { 0 };
        }
    } else if let Some(values) = BytesColumn::new(column) {
        for (row, length) in lengths.iter_mut().enumerate() {
            *length += 1;
            if valid(row) {
                let value = values.value(row);
                *length += value.len() + memchr::memchr_iter(0, value).count() + 2;
            }
        }
    }
}

/// Writes each row's value at its position in `at`, which moves behind it.
fn write_column(column: &ArrayRef, out: &mut [u8], at: &mut [usize]) {
    let done = visit(column.data_type(), WritePrimitive { column, out, at });
    if done.is_some() {
        return;
    }
    if let Some(values) = column.as_boolean_opt() {
        write(column, out, at, |row, out| {
            out[0] = u8::from(values.value(row));
            1
        });
    } else if let Some(values) = BytesColumn::new(column) {
        if is_bytes(column.data_type()) {
            write(column, out, at, |row, out| escape(values.value(row), out));
        } else {
            write(column, out, at, |row, out| {
                let value = values.value(row);
                out[..value.len()].copy_from_slice(value);
                value.len()
            });
        }
    }
}

/// `value` writes a row's value to the front of what is left and answers how many
/// bytes that were.
#[inline]
fn write(
    column: &ArrayRef,
    out: &mut [u8],
    at: &mut [usize],
    value: impl Fn(usize, &mut [u8]) -> usize,
) {
    let nulls = column.nulls().filter(|n| n.null_count() > 0);
    for (row, at) in at.iter_mut().enumerate() {
        if nulls.is_some_and(|n| n.is_null(row)) {
            out[*at] = NULL;
            *at += 1;
        } else {
            out[*at] = VALUE;
            *at += 1 + value(row, &mut out[*at + 1..]);
        }
    }
}

fn escape(value: &[u8], out: &mut [u8]) -> usize {
    let mut length = 0;
    let mut put = |bytes: &[u8]| {
        out[length..length + bytes.len()].copy_from_slice(bytes);
        length += bytes.len();
    };
    let mut rest = value;
    while let Some(zero) = memchr::memchr(0, rest) {
        put(&rest[..=zero]);
        put(&[ESCAPED]);
        rest = &rest[zero + 1..];
    }
    put(rest);
    put(&[0, END]);
    length
}

struct WritePrimitive<'a> {
    column: &'a ArrayRef,
    out: &'a mut [u8],
    at: &'a mut [usize],
}

impl Visitor for WritePrimitive<'_> {
    type Output = ();

    fn visit<T>(self)
    where
        T: ArrowPrimitiveType,
        T::Native: Word,
    {
        let values = self.column.as_primitive::<T>().values();
        write(self.column, self.out, self.at, |row, out| {
            out[..T::Native::WIDTH].copy_from_slice(values[row].ordered().as_ref());
            T::Native::WIDTH
        });
    }
}

/// Reads a value from the front of each reader.
fn read_column(data_type: &DataType, readers: &mut [&[u8]]) -> Result<ArrayRef, StateError> {
    if let Some(column) = visit(data_type, ReadPrimitive { data_type, readers: &mut *readers }) {
        return column;
    }
    if *data_type == DataType::Boolean {
        return read_booleans(readers);
    }
    let unsupported = || StateError::UnsupportedType { part: "key", data_type: data_type.clone() };
    let mut builder = BytesBuilder::new(data_type, readers.len()).ok_or_else(unsupported)?;
    let width = fixed_width(data_type);
    let mut unescaped = Vec::new();
    for reader in readers {
        if !read_marker(reader)? {
            builder.push_null();
        } else if let Some(width) = width {
            builder.push(read_bytes(reader, width)?)?;
        } else {
            builder.push(unescape(reader, &mut unescaped)?)?;
        }
    }
    Ok(builder.finish())
}

/// Whether a value follows.
#[inline]
fn read_marker(reader: &mut &[u8]) -> Result<bool, StateError> {
    let (marker, rest) = reader.split_first().ok_or_else(ends_early)?;
    *reader = rest;
    match *marker {
        NULL => Ok(false),
        VALUE => Ok(true),
        _ => Err(StateError::damaged("a key column begins with neither NULL nor a value")),
    }
}

#[inline]
fn read_bytes<'a>(reader: &mut &'a [u8], length: usize) -> Result<&'a [u8], StateError> {
    let (value, rest) = reader.split_at_checked(length).ok_or_else(ends_early)?;
    *reader = rest;
    Ok(value)
}

/// The value in front of the reader; `scratch` holds it where it is not there in
/// one piece.
fn unescape<'r: 'o, 'o>(
    reader: &mut &'r [u8],
    scratch: &'o mut Vec<u8>,
) -> Result<&'o [u8], StateError> {
    scratch.clear();
    loop {
        let zero = memchr::memchr(0, reader).ok_or_else(ends_early)?;
        let follower = *reader.get(zero + 1).ok_or_else(ends_early)?;
        let (piece, rest) = (&reader[..zero], &reader[zero + 2..]);
        match follower {
            END if scratch.is_empty() => {
                *reader = rest;
                return Ok(piece);
            }
            END => {
                scratch.extend_from_slice(piece);
                *reader = rest;
                return Ok(scratch);
            }
            ESCAPED => {
                scratch.extend_from_slice(&reader[..=zero]);
                *reader = rest;
            }
            _ => return Err(StateError::damaged("a zero inside a key is not escaped")),
        }
    }
}

fn read_booleans(readers: &mut [&[u8]]) -> Result<ArrayRef, StateError> {
    let mut valid = BooleanBufferBuilder::new(readers.len());
    let mut values = BooleanBufferBuilder::new(readers.len());
    for reader in readers {
        let present = read_marker(reader)?;
        valid.append(present);
        values.append(present && boolean(read_bytes(reader, 1)?)?);
    }
    Ok(Arc::new(BooleanArray::new(values.finish(), nulls(valid))))
}

/// A boolean's byte in keys and values.
pub(super) fn boolean(bytes: &[u8]) -> Result<bool, StateError> {
    match bytes {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(StateError::damaged("a boolean is neither true nor false")),
    }
}

/// NULLs, or nothing where there are none.
pub(super) fn nulls(mut valid: BooleanBufferBuilder) -> Option<NullBuffer> {
    Some(NullBuffer::new(valid.finish())).filter(|n| n.null_count() > 0)
}

struct ReadPrimitive<'a, 'r> {
    data_type: &'a DataType,
    readers: &'a mut [&'r [u8]],
}

impl Visitor for ReadPrimitive<'_, '_> {
    type Output = Result<ArrayRef, StateError>;

    fn visit<T>(self) -> Self::Output
    where
        T: ArrowPrimitiveType,
        T::Native: Word,
    {
        let mut valid = BooleanBufferBuilder::new(self.readers.len());
        let mut values = Vec::with_capacity(self.readers.len());
        for reader in self.readers {
            let present = read_marker(reader)?;
            valid.append(present);
            values.push(if present {
                let bytes = read_bytes(reader, T::Native::WIDTH)?;
                T::Native::from_ordered(bytes.try_into().map_err(|_| ends_early())?)
            } else {
                T::Native::default()
            });
        }
        let column = PrimitiveArray::<T>::new(values.into(), nulls(valid));
        Ok(Arc::new(column.with_data_type(self.data_type.clone())))
    }
}
