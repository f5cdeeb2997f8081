//! Columns of byte strings, whatever Arrow's form of them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BinaryViewArray, BinaryViewBuilder,
    FixedSizeBinaryArray, FixedSizeBinaryBuilder, StringArray, StringBuilder, StringViewArray,
    StringViewBuilder,
};
use arrow::datatypes::DataType;

use super::super::StateError;

/// Whether values of the type are byte strings of any length.
pub(super) fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8View | DataType::Utf8 | DataType::BinaryView | DataType::Binary
    )
}

/// Reads a column.
#[derive(Clone, Copy)]
pub(super) enum BytesColumn<'a> {
    Utf8View(&'a StringViewArray),
    Utf8(&'a StringArray),
    BinaryView(&'a BinaryViewArray),
    Binary(&'a BinaryArray),
    Fixed(&'a FixedSizeBinaryArray),
}

impl<'a> BytesColumn<'a> {
    /// `None` for columns of other types.
    pub(super) fn new(column: &'a ArrayRef) -> Option<Self> {
        Some(match column.data_type() {
            DataType::Utf8View => BytesColumn::Utf8View(column.as_string_view()),
            DataType::Utf8 => BytesColumn::Utf8(column.as_string()),
            DataType::BinaryView => BytesColumn::BinaryView(column.as_binary_view()),
            DataType::Binary => BytesColumn::Binary(column.as_binary()),
            DataType::FixedSizeBinary(_) => BytesColumn::Fixed(column.as_fixed_size_binary()),
            _ => return None,
        })
    }

    #[inline]
    pub(super) fn value(&self, row: usize) -> &'a [u8] {
        match self {
            BytesColumn::Utf8View(a) => a.value(row).as_bytes(),
            BytesColumn::Utf8(a) => a.value(row).as_bytes(),
            BytesColumn::BinaryView(a) => a.value(row),
            BytesColumn::Binary(a) => a.value(row),
            BytesColumn::Fixed(a) => a.value(row),
        }
    }
}

/// The longest value and, where offsets are 32 bits, the most bytes of a column.
const MAX_BYTES: usize = i32::MAX as usize;

/// Makes a column.
pub(super) struct BytesBuilder {
    form: Form,
    bytes: usize,
}

enum Form {
    Utf8View(StringViewBuilder),
    Utf8(StringBuilder),
    BinaryView(BinaryViewBuilder),
    Binary(BinaryBuilder),
    Fixed(FixedSizeBinaryBuilder),
}

impl BytesBuilder {
    /// `None` for other types.
    pub(super) fn new(data_type: &DataType, rows: usize) -> Option<Self> {
        let form = match data_type {
            DataType::Utf8View => Form::Utf8View(StringViewBuilder::with_capacity(rows)),
            DataType::Utf8 => Form::Utf8(StringBuilder::with_capacity(rows, 0)),
            DataType::BinaryView => Form::BinaryView(BinaryViewBuilder::with_capacity(rows)),
            DataType::Binary => Form::Binary(BinaryBuilder::with_capacity(rows, 0)),
            DataType::FixedSizeBinary(width) if *width >= 0 => {
                Form::Fixed(FixedSizeBinaryBuilder::with_capacity(rows, *width))
            }
            _ => return None,
        };
        Some(BytesBuilder { form, bytes: 0 })
    }

    /// Adds a value.
    ///
    /// # Errors
    /// [`StateError::Damaged`] where text is not UTF-8 or a value has not the
    /// type's width, [`StateError::TooLong`] where a column cannot hold it.
    pub(super) fn push(&mut self, value: &[u8]) -> Result<(), StateError> {
        let bounded = match self.form {
            Form::Utf8(_) | Form::Binary(_) => {
                self.bytes = self.bytes.saturating_add(value.len());
                self.bytes
            }
            _ => value.len(),
        };
        if bounded > MAX_BYTES {
            return Err(StateError::TooLong { part: "column", bytes: bounded, limit: MAX_BYTES });
        }
        match &mut self.form {
            Form::Utf8View(b) => b.append_value(text(value)?),
            Form::Utf8(b) => b.append_value(text(value)?),
            Form::BinaryView(b) => b.append_value(value),
            Form::Binary(b) => b.append_value(value),
            Form::Fixed(b) => b.append_value(value)?,
        }
        Ok(())
    }

    pub(super) fn push_null(&mut self) {
        match &mut self.form {
            Form::Utf8View(b) => b.append_null(),
            Form::Utf8(b) => b.append_null(),
            Form::BinaryView(b) => b.append_null(),
            Form::Binary(b) => b.append_null(),
            Form::Fixed(b) => b.append_null(),
        }
    }

    pub(super) fn finish(self) -> ArrayRef {
        match self.form {
            Form::Utf8View(mut b) => Arc::new(b.finish()),
            Form::Utf8(mut b) => Arc::new(b.finish()),
            Form::BinaryView(mut b) => Arc::new(b.finish()),
            Form::Binary(mut b) => Arc::new(b.finish()),
            Form::Fixed(mut b) => Arc::new(b.finish()),
        }
    }
}

fn text(value: &[u8]) -> Result<&str, StateError> {
    std::str::from_utf8(value).map_err(|_| StateError::damaged("text is not UTF-8"))
}
