//! Single values inside a record.
//!
//! | type | bytes of the cell |
//! |---|---|
//! | smallint, integer, bigint, real, double precision, numeric, date, time, timestamps | little-endian |
//! | interval | months, days, nanoseconds, each little-endian |
//! | boolean | `00`, `01` |
//! | text, bytea, uuid | the bytes |
//! | struct | its fields as a record |
//! | list | how many elements, a bit per element that is set where it is NULL, then the elements: of fixed width as such, NULL as zeros; others that are not NULL as length and bytes |

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, BooleanBufferBuilder, ListArray,
    PrimitiveArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, FieldRef, Fields};

use super::super::StateError;
use super::bytes::{BytesBuilder, BytesColumn, is_bytes};
use super::key::{boolean, nulls};
use super::value::{
    check_unused_bits, decode_records, encode_records, put_varint, read_cell, read_varint,
    varint_len,
};
use super::word::{Visitor, Word, fixed_width, visit};
use super::{EncodedRows, ends_early, trailing_bytes};

/// Whether values of the type have an encoding.
pub(super) fn is_supported(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(element) => is_supported(element.data_type()),
        DataType::Struct(fields) => {
            !fields.is_empty() && fields.iter().all(|f| is_supported(f.data_type()))
        }
        other => fixed_width(other).is_some() || is_bytes(other),
    }
}

/// The cells of a column whose type has no fixed width.
pub(super) enum Cells<'a> {
    Bytes(BytesColumn<'a>),
    Nested(EncodedRows),
}

impl<'a> Cells<'a> {
    pub(super) fn new(column: &'a ArrayRef) -> Self {
        let mut nested = EncodedRows::default();
        if let Some(bytes) = BytesColumn::new(column) {
            return Cells::Bytes(bytes);
        } else if let Some(list) = column.as_list_opt::<i32>() {
            encode_lists(list, &mut nested);
        } else if let Some(fields) = column.as_struct_opt() {
            encode_records(0, fields.columns(), fields.len(), &mut nested);
        }
        Cells::Nested(nested)
    }

    /// The cell of a row that is not NULL.
    #[inline]
    pub(super) fn cell(&self, row: usize) -> &[u8] {
        match self {
            Cells::Bytes(column) => column.value(row),
            Cells::Nested(rows) => rows.row(row),
        }
    }
}

/// Writes the cells of a column of fixed width at the places that `at` answers;
/// those of NULLs stay zeros.
pub(super) fn write_fixed(
    column: &ArrayRef,
    at: impl Fn(usize) -> usize,
    width: usize,
    out: &mut [u8],
) {
    if let Some(values) = column.as_boolean_opt() {
        write(column, at, |row, at| out[at] = u8::from(values.value(row)));
    } else if let Some(values) = BytesColumn::new(column) {
        write(column, at, |row, at| out[at..at + width].copy_from_slice(values.value(row)));
    } else {
        visit(column.data_type(), WritePrimitive { column, at, out });
    }
}

#[inline]
fn write(column: &ArrayRef, at: impl Fn(usize) -> usize, mut value: impl FnMut(usize, usize)) {
    let nulls = column.nulls().filter(|n| n.null_count() > 0);
    for row in 0..column.len() {
        if nulls.is_none_or(|n| n.is_valid(row)) {
            value(row, at(row));
        }
    }
}

struct WritePrimitive<'a, F> {
    column: &'a ArrayRef,
    at: F,
    out: &'a mut [u8],
}

impl<F: Fn(usize) -> usize> Visitor for WritePrimitive<'_, F> {
    type Output = ();

    fn visit<T>(self)
    where
        T: ArrowPrimitiveType,
        T::Native: Word,
    {
        let values = self.column.as_primitive::<T>().values();
        write(self.column, self.at, |row, at| {
            let bytes = values[row].plain();
            self.out[at..at + T::Native::WIDTH].copy_from_slice(bytes.as_ref());
        });
    }
}

fn encode_lists(lists: &ListArray, out: &mut EncodedRows) {
    let elements = lists.values();
    let width = fixed_width(elements.data_type());
    let cells = if width.is_some() { None } else { Some(Cells::new(elements)) };
    let cell_len = |element: usize| match &cells {
        Some(cells) if elements.is_valid(element) => {
            let length = cells.cell(element).len();
            varint_len(length) + length
        }
        _ => 0,
    };
    let range = |row: usize| {
        let offsets = &lists.value_offsets()[row..row + 2];
        if lists.is_valid(row) { offsets[0] as usize..offsets[1] as usize } else { 0..0 }
    };
    out.plan(lists.len(), 0);
    for (row, length) in out.lengths().iter_mut().enumerate() {
        let count = range(row).len();
        *length = varint_len(count)
            + count.div_ceil(8)
            + count * width.unwrap_or(0)
            + range(row).map(cell_len).sum::<usize>();
    }
    out.allocate();
    for row in 0..lists.len() {
        let range = range(row);
        let out = out.row_mut(row);
        let bits = put_varint(range.len(), out);
        let mut at = bits + range.len().div_ceil(8);
        for (position, element) in range.clone().enumerate() {
            if elements.is_null(element) {
                out[bits + position / 8] |= 1 << (position % 8);
            } else if let Some(cells) = &cells {
                let cell = cells.cell(element);
                at += put_varint(cell.len(), &mut out[at..]);
                out[at..at + cell.len()].copy_from_slice(cell);
                at += cell.len();
            }
        }
        if let Some(width) = width {
            let slice = elements.slice(range.start, range.len());
            write_fixed(&slice, |position| at + position * width, width, out);
        }
    }
}

/// A column of cells, which have the right length where the type has a fixed
/// width.
pub(super) fn decode(
    data_type: &DataType,
    cells: &[Option<&[u8]>],
) -> Result<ArrayRef, StateError> {
    if let Some(column) = visit(data_type, ReadPrimitive { data_type, cells }) {
        return column;
    }
    match data_type {
        DataType::Boolean => {
            let mut valid = BooleanBufferBuilder::new(cells.len());
            let mut values = BooleanBufferBuilder::new(cells.len());
            for cell in cells {
                valid.append(cell.is_some());
                values.append(cell.map(boolean).transpose()?.unwrap_or(false));
            }
            Ok(Arc::new(BooleanArray::new(values.finish(), nulls(valid))))
        }
        DataType::List(element) => decode_lists(element, cells),
        DataType::Struct(fields) => decode_structs(fields, cells),
        other => {
            let unsupported =
                || StateError::UnsupportedType { part: "value", data_type: other.clone() };
            let mut builder = BytesBuilder::new(other, cells.len()).ok_or_else(unsupported)?;
            for cell in cells {
                match cell {
                    Some(value) => builder.push(value)?,
                    None => builder.push_null(),
                }
            }
            Ok(builder.finish())
        }
    }
}

struct ReadPrimitive<'a, 'c> {
    data_type: &'a DataType,
    cells: &'a [Option<&'c [u8]>],
}

impl Visitor for ReadPrimitive<'_, '_> {
    type Output = Result<ArrayRef, StateError>;

    fn visit<T>(self) -> Self::Output
    where
        T: ArrowPrimitiveType,
        T::Native: Word,
    {
        let mut valid = BooleanBufferBuilder::new(self.cells.len());
        let mut values = Vec::with_capacity(self.cells.len());
        for cell in self.cells {
            valid.append(cell.is_some());
            values.push(match cell {
                Some(bytes) => {
                    T::Native::from_plain((*bytes).try_into().map_err(|_| ends_early())?)
                }
                None => T::Native::default(),
            });
        }
        let column = PrimitiveArray::<T>::new(values.into(), nulls(valid));
        Ok(Arc::new(column.with_data_type(self.data_type.clone())))
    }
}

fn decode_structs(fields: &Fields, cells: &[Option<&[u8]>]) -> Result<ArrayRef, StateError> {
    let types: Vec<_> = fields.iter().map(|f| f.data_type()).collect();
    let columns = decode_records(&types, cells)?;
    let mut valid = BooleanBufferBuilder::new(cells.len());
    cells.iter().for_each(|cell| valid.append(cell.is_some()));
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, nulls(valid))?))
}

fn decode_lists(element: &FieldRef, cells: &[Option<&[u8]>]) -> Result<ArrayRef, StateError> {
    let width = fixed_width(element.data_type());
    let mut elements = Vec::new();
    let mut valid = BooleanBufferBuilder::new(cells.len());
    let mut offsets = Vec::with_capacity(cells.len() + 1);
    offsets.push(0);
    for cell in cells {
        valid.append(cell.is_some());
        if let Some(cell) = cell {
            read_list(cell, width, &mut elements)?;
        }
        let end = i32::try_from(elements.len()).map_err(|_| StateError::TooLong {
            part: "list column",
            bytes: elements.len(),
            limit: i32::MAX as usize,
        })?;
        offsets.push(end);
    }
    let values = decode(element.data_type(), &elements)?;
    let offsets = OffsetBuffer::new(offsets.into());
    Ok(Arc::new(ListArray::try_new(Arc::clone(element), offsets, values, nulls(valid))?))
}

/// Adds the cells of a list's elements to `elements`.
fn read_list<'a>(
    mut cell: &'a [u8],
    width: Option<usize>,
    elements: &mut Vec<Option<&'a [u8]>>,
) -> Result<(), StateError> {
    let count = read_varint(&mut cell)?;
    let (bits, mut rest) = cell.split_at_checked(count.div_ceil(8)).ok_or_else(ends_early)?;
    check_unused_bits(bits, count)?;
    for position in 0..count {
        let null = bits[position / 8] >> (position % 8) & 1 == 1;
        let value = match width {
            None if null => &[],
            None => read_cell(&mut rest)?,
            Some(width) => {
                let (value, after) = rest.split_at_checked(width).ok_or_else(ends_early)?;
                rest = after;
                value
            }
        };
        elements.push((!null).then_some(value));
    }
    if rest.is_empty() { Ok(()) } else { Err(trailing_bytes()) }
}
