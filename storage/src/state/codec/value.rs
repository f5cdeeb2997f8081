//! Values: bytes that are quick to write and to read back.
//!
//! A row is the version, then the columns as one *record*:
//!
//! ```text
//! [one bit per column, set where it is NULL; low bits first, unused bits 0]
//! [columns of fixed width, each little-endian at a fixed place; NULL is zeros]
//! [other columns that are not NULL: length, bytes]
//! ```
//!
//! Lengths and counts are in LEB128. What the bytes of one value, a *cell*, are,
//! says the module `cells`. Floats keep every bit.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;

use super::super::StateError;
use super::cells::{self, Cells};
use super::word::fixed_width;
use super::{EncodedRows, check_columns, ends_early, trailing_bytes};

/// The version of the encoding, the first byte of every value.
pub const VALUE_VERSION: u8 = 1;

/// Encodes and decodes rows of value columns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValueCodec {
    types: Vec<DataType>,
}

impl ValueCodec {
    /// For columns of `types`, none included: every type of a key, and lists and
    /// structs of them.
    ///
    /// # Errors
    /// [`StateError::UnsupportedType`].
    pub fn new(types: &[DataType]) -> Result<Self, StateError> {
        match types.iter().find(|t| !cells::is_supported(t)) {
            None => Ok(ValueCodec { types: types.to_vec() }),
            Some(t) => Err(StateError::UnsupportedType { part: "value", data_type: (*t).clone() }),
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
        check_columns(&self.types, columns, rows)?;
        encode_records(1, columns, rows, out);
        for row in 0..rows {
            out.row_mut(row)[0] = VALUE_VERSION;
        }
        Ok(())
    }

    /// The columns of encoded rows.
    ///
    /// # Errors
    /// [`StateError::Damaged`] for bytes that are not of this version and these
    /// types; [`StateError::TooLong`] when a column of 32-bit offsets overflows.
    pub fn decode(&self, rows: &[&[u8]]) -> Result<Vec<ArrayRef>, StateError> {
        if rows.iter().any(|row| row.first() != Some(&VALUE_VERSION)) {
            return Err(StateError::damaged("a value of an unknown version"));
        }
        let records: Vec<_> = rows.iter().map(|row| Some(&row[1..])).collect();
        let types: Vec<_> = self.types.iter().collect();
        decode_records(&types, &records)
    }
}

/// Where things are in a record.
struct RecordLayout {
    /// Of each column of fixed width: place and width.
    fixed: Vec<Option<(usize, usize)>>,
    /// Bytes before the cells that have lengths.
    head: usize,
}

impl RecordLayout {
    fn new<'a>(types: impl ExactSizeIterator<Item = &'a DataType>) -> Self {
        let mut head = types.len().div_ceil(8);
        let fixed = types.map(|t| {
            let width = fixed_width(t)?;
            let at = head;
            head += width;
            Some((at, width))
        });
        RecordLayout { fixed: fixed.collect(), head }
    }
}

/// Encodes columns of supported types and `rows` rows as records, with `lead`
/// bytes of zeros before each.
pub(super) fn encode_records(
    lead: usize,
    columns: &[ArrayRef],
    rows: usize,
    out: &mut EncodedRows,
) {
    let layout = RecordLayout::new(columns.iter().map(|c| c.data_type()));
    let cells: Vec<Option<Cells>> = columns
        .iter()
        .zip(&layout.fixed)
        .map(|(column, fixed)| if fixed.is_some() { None } else { Some(Cells::new(column)) })
        .collect();
    out.plan(rows, lead + layout.head);
    for (column, cells) in columns.iter().zip(&cells) {
        let Some(cells) = cells else { continue };
        for (row, length) in out.lengths().iter_mut().enumerate() {
            if column.is_valid(row) {
                let cell = cells.cell(row).len();
                *length += varint_len(cell) + cell;
            }
        }
    }
    let mut at = out.allocate();
    at.iter_mut().for_each(|at| *at += lead);
    for (position, column) in columns.iter().enumerate() {
        write_nulls(column, position, &mut out.bytes, &at);
        if let Some((place, width)) = layout.fixed[position] {
            cells::write_fixed(column, |row| at[row] + place, width, &mut out.bytes);
        }
    }
    at.iter_mut().for_each(|at| *at += layout.head);
    for (column, cells) in columns.iter().zip(&cells) {
        let Some(cells) = cells else { continue };
        for (row, at) in at.iter_mut().enumerate() {
            if column.is_valid(row) {
                let cell = cells.cell(row);
                *at += put_varint(cell.len(), &mut out.bytes[*at..]);
                out.bytes[*at..*at + cell.len()].copy_from_slice(cell);
                *at += cell.len();
            }
        }
    }
}

fn write_nulls(column: &ArrayRef, position: usize, out: &mut [u8], at: &[usize]) {
    let Some(nulls) = column.nulls().filter(|n| n.null_count() > 0) else { return };
    for (row, at) in at.iter().enumerate() {
        if nulls.is_null(row) {
            out[at + position / 8] |= 1 << (position % 8);
        }
    }
}

/// Decodes records into columns of `types`; a missing record is NULL in every
/// column.
pub(super) fn decode_records(
    types: &[&DataType],
    records: &[Option<&[u8]>],
) -> Result<Vec<ArrayRef>, StateError> {
    let layout = RecordLayout::new(types.iter().copied());
    let mut readers = Vec::with_capacity(records.len());
    for record in records {
        let Some(record) = record else {
            readers.push(&[][..]);
            continue;
        };
        readers.push(record.get(layout.head..).ok_or_else(ends_early)?);
        check_unused_bits(record, types.len())?;
    }
    let mut columns = Vec::with_capacity(types.len());
    let mut cells = Vec::with_capacity(records.len());
    for (position, data_type) in types.iter().enumerate() {
        cells.clear();
        for (record, reader) in records.iter().zip(&mut readers) {
            // Every record is as long as the head, which holds the bit.
            let valid = |r: &&[u8]| r[position / 8] >> (position % 8) & 1 == 0;
            cells.push(match (record.filter(valid), layout.fixed[position]) {
                (None, _) => None,
                (Some(record), Some((at, width))) => Some(&record[at..at + width]),
                (Some(_), None) => Some(read_cell(reader)?),
            });
        }
        columns.push(cells::decode(data_type, &cells)?);
    }
    if readers.iter().any(|rest| !rest.is_empty()) {
        return Err(trailing_bytes());
    }
    Ok(columns)
}

/// The bits after the last of `count` in a bitmap at the front of `bytes`, which
/// are long enough, are 0.
pub(super) fn check_unused_bits(bytes: &[u8], count: usize) -> Result<(), StateError> {
    if !count.is_multiple_of(8) && bytes[count / 8] >> (count % 8) != 0 {
        return Err(StateError::damaged("NULL bits of columns that do not exist"));
    }
    Ok(())
}

/// A length and as many bytes, from the front of the reader.
pub(super) fn read_cell<'a>(reader: &mut &'a [u8]) -> Result<&'a [u8], StateError> {
    let length = read_varint(reader)?;
    let (cell, rest) = reader.split_at_checked(length).ok_or_else(ends_early)?;
    *reader = rest;
    Ok(cell)
}

/// Bytes of `value` in LEB128.
pub(super) fn varint_len(value: usize) -> usize {
    let bits = usize::BITS - value.leading_zeros();
    bits.max(1).div_ceil(7) as usize
}

/// Writes `value` in LEB128 to the front of `out`; answers how many bytes.
pub(super) fn put_varint(mut value: usize, out: &mut [u8]) -> usize {
    let mut length = 0;
    while value >= 0x80 {
        out[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    out[length] = value as u8;
    length + 1
}

/// A number from the front of the reader: at most five bytes, the shortest form.
pub(super) fn read_varint(reader: &mut &[u8]) -> Result<usize, StateError> {
    let mut value = 0;
    for (position, byte) in reader.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * position);
        if *byte < 0x80 {
            if *byte == 0 && position > 0 {
                break;
            }
            *reader = &reader[position + 1..];
            return usize::try_from(value).map_err(|_| StateError::damaged("a length"));
        }
    }
    Err(StateError::damaged("a length in a value"))
}
