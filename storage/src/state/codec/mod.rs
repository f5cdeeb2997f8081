//! Rows as bytes: the two encodings of stored state.
//!
//! [`KeyCodec`] makes bytes that sort as the rows do; [`ValueCodec`] makes bytes
//! that are quick to read back. Both take and give whole batches of columns, lay
//! the rows of a batch one after another in one [`EncodedRows`], and begin every
//! row with the number of the encoding's version. They are formats: the golden
//! tests fail when a byte changes, and a new encoding gets a new number.
//!
//! Decoding trusts nothing. Damaged bytes give
//! [`StateError::Damaged`](super::StateError::Damaged), or other values; never a
//! panic, and never memory beyond a multiple of the bytes.

mod bytes;
mod cells;
mod key;
mod value;
mod word;

#[cfg(test)]
mod golden;
#[cfg(test)]
pub(super) mod samples;
#[cfg(test)]
mod tests;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

pub use key::{KEY_VERSION, KeyCodec};
pub use value::{VALUE_VERSION, ValueCodec};

use super::StateError;

/// Byte strings one after another, one per row.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct EncodedRows {
    bytes: Vec<u8>,
    /// Where each row ends; it begins where the one before ends.
    ends: Vec<usize>,
}

impl EncodedRows {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of a row, which is below [`EncodedRows::len`].
    #[inline]
    #[must_use]
    pub fn row(&self, row: usize) -> &[u8] {
        &self.bytes[self.start(row)..self.ends[row]]
    }

    /// The rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|row| self.row(row))
    }

    /// Forgets the rows; memory is kept.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds a row.
    pub fn push(&mut self, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        self.ends.push(self.bytes.len());
    }

    /// Bytes of all rows.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    fn start(&self, row: usize) -> usize {
        if row == 0 { 0 } else { self.ends[row - 1] }
    }

    #[inline]
    pub(super) fn row_mut(&mut self, row: usize) -> &mut [u8] {
        let start = self.start(row);
        &mut self.bytes[start..self.ends[row]]
    }

    /// Becomes `rows` rows of `length` bytes each, to which
    /// [`EncodedRows::allocate`] gives memory. Until then [`EncodedRows::lengths`]
    /// can be raised.
    fn plan(&mut self, rows: usize, length: usize) {
        self.clear();
        self.ends.resize(rows, length);
    }

    fn lengths(&mut self) -> &mut [usize] {
        &mut self.ends
    }

    /// Turns planned lengths into rows of zeros; answers where each begins.
    fn allocate(&mut self) -> Vec<usize> {
        let mut end = 0;
        let starts = self.ends.iter_mut().map(|length| {
            let start = end;
            end += *length;
            *length = end;
            start
        });
        let starts = starts.collect();
        self.bytes.resize(end, 0);
        starts
    }
}

/// The columns are those that a codec was made for.
fn check_columns(types: &[DataType], columns: &[ArrayRef], rows: usize) -> Result<(), StateError> {
    let fits = types.len() == columns.len()
        && types.iter().zip(columns).all(|(t, c)| t == c.data_type() && c.len() == rows);
    if fits {
        return Ok(());
    }
    let found: Vec<_> = columns.iter().map(|c| (c.data_type(), c.len())).collect();
    Err(StateError::Columns {
        expected: format!("{rows} rows of {types:?}"),
        found: format!("{found:?}"),
    })
}

fn ends_early() -> StateError {
    StateError::damaged("a row ends early")
}

fn trailing_bytes() -> StateError {
    StateError::damaged("a row has bytes after its last column")
}
