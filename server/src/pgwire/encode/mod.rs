//! Arrow batches as DataRow messages.
//!
//! ```text
//!  column 1 ─► [len value][len value]...┐
//!  column 2 ─► [len value][len value]...┼─► 'D' length n [len value][len value]
//!  column 3 ─► [len value][len value]...┘     (row by row, by copying)
//! ```
//!
//! Model: a column's writer is chosen once per column and chunk of rows
//! ([`text`], [`binary`]), and its loop over the rows is compiled for that type;
//! what it writes already has its length in front, so that a row is put together
//! by copying one piece per column.
//!
//! Invariant: whether a type can be written in a format is decided when the
//! encoder is made; from then on encoding cannot fail but for a row beyond what
//! a message can hold.

pub mod binary;
pub mod decimal;
pub mod float;
pub mod nested;
pub mod temporal;
pub mod text;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use bytes::{BufMut, BytesMut};
use tidemill_types::{Diagnostic, SqlState};

use super::output::FLUSH_BYTES;
use super::types::{Format, field_oid, oid};

/// The longest chunk in rows, so that the scratch of narrow columns stays small.
const CHUNK_ROWS_MAX: usize = 2048;

/// What the session's settings say about text.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// Where timestamps with time zone are shown; `None`: in UTC.
    pub zone: Option<Tz>,
}

impl Style {
    /// For a value of the setting `TimeZone`. A zone that is not known shows
    /// UTC: the session refuses such a value before it gets here.
    #[must_use]
    pub fn in_zone(zone: &str) -> Self {
        let utc = ["UTC", "GMT", "Etc/UTC", "Z"].iter().any(|utc| zone.eq_ignore_ascii_case(utc));
        Style { zone: if utc { None } else { zone.parse().ok() } }
    }
}

/// Takes the writer that fits an array. The writer appends the value at an
/// index, which is not NULL, without its length.
pub trait Visit<'a> {
    type Out;
    fn visit(self, write: impl Fn(usize, &mut Vec<u8>) + 'a) -> Self::Out;
}

/// Gives `visit` the writer for `array` in `format`; `type_oid` is the type that
/// the client was told.
pub fn writer<'a, V: Visit<'a>>(
    array: &'a dyn Array,
    format: Format,
    type_oid: u32,
    style: &'a Style,
    visit: V,
) -> Result<V::Out, Diagnostic> {
    match format {
        Format::Text => text::writer(array, style, visit),
        Format::Binary => binary::writer(array, type_oid, style, visit),
    }
}

/// The values of one column of a chunk, each with its length in front.
#[derive(Debug, Default)]
struct Column {
    bytes: Vec<u8>,
    /// Where each row's piece ends.
    ends: Vec<usize>,
}

impl Column {
    fn piece(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start..self.ends[row]]
    }
}

/// Writes a column's rows into its scratch.
struct Fill<'a> {
    column: &'a mut Column,
    array: &'a dyn Array,
    rows: Range<usize>,
}

impl<'a> Visit<'a> for Fill<'_> {
    type Out = ();

    fn visit(self, write: impl Fn(usize, &mut Vec<u8>) + 'a) {
        let Column { bytes, ends } = self.column;
        // Most types have their NULLs in a bitmap; those of the type Null are
        // only logical.
        let nulls = self.array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        for row in self.rows {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                bytes.extend_from_slice(&NULL_LENGTH);
            } else {
                with_length(bytes, |bytes| write(row, bytes));
            }
            ends.push(bytes.len());
        }
    }
}

/// A length of -1 stands for NULL.
const NULL_LENGTH: [u8; 4] = (-1_i32).to_be_bytes();

/// Appends what `write` appends, with its length in front.
pub(super) fn with_length(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    write(bytes);
    let length = (bytes.len() - start - 4) as u32;
    bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Encodes the batches of one result.
#[derive(Debug)]
pub struct RowEncoder {
    columns: Vec<(Format, u32, Column)>,
    style: Style,
    /// Rows of the next chunk, learnt from the last one's size.
    chunk_rows: usize,
}

impl RowEncoder {
    /// `formats` are per column, or empty: text.
    pub fn new(schema: &Schema, formats: &[Format], style: Style) -> Result<Self, Diagnostic> {
        let column = |(index, field): (usize, &Arc<arrow::datatypes::Field>)| {
            let format = formats.get(index).copied().unwrap_or_default();
            let type_oid = field_oid(field)?;
            // An empty array has a writer exactly if the full one has.
            let probe = arrow::array::new_empty_array(field.data_type());
            let probe = plain(&probe)?;
            let mut scratch = Column::default();
            let fill = Fill { column: &mut scratch, array: &probe, rows: 0..0 };
            writer(&probe, format, type_oid, &style, fill)?;
            Ok::<_, Diagnostic>((format, type_oid, Column::default()))
        };
        let columns = schema.fields().iter().enumerate().map(column).collect::<Result<_, _>>()?;
        Ok(RowEncoder { columns, style, chunk_rows: 64 })
    }

    /// Appends the rows of `batch` from `start` on, one chunk and at most
    /// `rows_max`; says how many.
    pub fn encode(
        &mut self,
        batch: &RecordBatch,
        start: usize,
        rows_max: usize,
        out: &mut BytesMut,
    ) -> Result<usize, Diagnostic> {
        if batch.num_columns() != self.columns.len() {
            return Err(Diagnostic::internal("a batch does not have the columns of its result"));
        }
        let wanted = rows_max.min(batch.num_rows() - start).min(self.chunk_rows);
        let rows = fitting_rows(batch, start, wanted);
        if rows == 0 {
            return Ok(0);
        }
        for (array, (format, type_oid, column)) in batch.columns().iter().zip(&mut self.columns) {
            column.bytes.clear();
            column.ends.clear();
            let array = plain(&array.slice(start, rows))?;
            let fill = Fill { column, array: &array, rows: 0..rows };
            writer(&array, *format, *type_oid, &self.style, fill)?;
        }
        let before = out.len();
        self.assemble(rows, out)?;
        let bytes_per_row = (out.len() - before).div_ceil(rows);
        self.chunk_rows = (FLUSH_BYTES / bytes_per_row.max(1)).clamp(1, CHUNK_ROWS_MAX);
        Ok(rows)
    }

    fn assemble(&self, rows: usize, out: &mut BytesMut) -> Result<(), Diagnostic> {
        let total: usize = self.columns.iter().map(|(_, _, c)| c.bytes.len()).sum();
        // One row is the smallest portion there is, and a message's length has
        // 31 bits.
        if rows == 1 && total > i32::MAX as usize - 16 {
            return Err(Diagnostic::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                "a row is too long to be sent",
            ));
        }
        out.reserve(total + rows * 7);
        for row in 0..rows {
            let pieces: usize = self.columns.iter().map(|(_, _, c)| c.piece(row).len()).sum();
            out.put_u8(b'D');
            out.put_u32((pieces + 6) as u32);
            out.put_u16(self.columns.len() as u16);
            for (_, _, column) in &self.columns {
                out.extend_from_slice(column.piece(row));
            }
        }
        Ok(())
    }
}

/// How many rows from `start` on, of `wanted`, hold at most a portion of text
/// and bytes: a chunk's size is a guess from the one before, and one row may be
/// a thousand times as long as the last.
fn fitting_rows(batch: &RecordBatch, start: usize, wanted: usize) -> usize {
    batch.columns().iter().fold(wanted, |rows, array| match array.data_type() {
        // The low half of a view is its length, also where it is inline.
        DataType::Utf8View => {
            let views = array.as_string_view().views();
            fit(start..start + rows, |row| views[row] as u32 as usize)
        }
        DataType::BinaryView => {
            let views = array.as_binary_view().views();
            fit(start..start + rows, |row| views[row] as u32 as usize)
        }
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            fit(start..start + rows, |row| array.value_length(row) as usize)
        }
        DataType::LargeUtf8 => {
            let array = array.as_string::<i64>();
            fit(start..start + rows, |row| array.value_length(row) as usize)
        }
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            fit(start..start + rows, |row| array.value_length(row) as usize)
        }
        DataType::List(_) => {
            // An element's size is not known; this bounds the long lists.
            let array = array.as_list::<i32>();
            fit(start..start + rows, |row| array.value_length(row) as usize * 16)
        }
        _ => rows,
    })
}

/// How many of `rows`, at least one, have two portions of bytes together.
fn fit(rows: Range<usize>, bytes_of: impl Fn(usize) -> usize) -> usize {
    let mut bytes = 0;
    let fits = |row: &usize| {
        bytes += bytes_of(*row);
        bytes <= 2 * FLUSH_BYTES
    };
    let length = rows.len();
    rows.take_while(fits).count().max(1.min(length))
}

/// The array without a dictionary around it.
fn plain(array: &ArrayRef) -> Result<ArrayRef, Diagnostic> {
    match array.data_type() {
        DataType::Dictionary(_, values) => cast(array, values)
            .map_err(|e| Diagnostic::internal(format!("cannot unpack a dictionary: {e}"))),
        _ => Ok(array.clone()),
    }
}

/// The type of a field's values, told to nested writers.
pub(super) fn nested_oid(field: &arrow::datatypes::Field) -> u32 {
    field_oid(field).unwrap_or(oid::TEXT)
}
