//! Columns that the engine adds to a user's rows and never shows.
//!
//! A name that begins with [`PREFIX`] is refused in user DDL, so a hidden column
//! cannot collide with a declared one.

/// What every hidden column's name begins with.
pub const PREFIX: &str = "_tm_";

/// `Int64`: which row of its source a row is, the same after every replay:
/// `(split << 44) | ordinal of the record in the split`, see [`row_id`].
pub const ROW_ID: &str = "_tm_row_id";

/// `Int64`: the split's own watermark just before the row, in microseconds;
/// [`crate::WATERMARK_NONE`] before the first. Decides lateness.
pub const ROW_WATERMARK: &str = "_tm_row_watermark";

/// `Int64`: the end of the slice that a row's event time lies in.
pub const SLICE_END: &str = "_tm_slice_end";

/// `Int64`: the end of the earliest window that still admits the row.
pub const FIRST_WINDOW_END: &str = "_tm_first_window_end";

/// Bits of a row id that number the record within its split.
pub const ROW_ID_ORDINAL_BITS: u32 = 44;

/// The row id of record `ordinal` of split `split`.
#[must_use]
pub fn row_id(split: u32, ordinal: u64) -> i64 {
    debug_assert!(ordinal < 1 << ROW_ID_ORDINAL_BITS && split < 1 << 19);
    (i64::from(split) << ROW_ID_ORDINAL_BITS) | ordinal as i64
}

/// Whether a column of this name is hidden.
#[must_use]
pub fn is_hidden(name: &str) -> bool {
    name.starts_with(PREFIX)
}
