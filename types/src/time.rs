//! Event time, watermarks and epochs.
//!
//! An [`EventTime`] is microseconds since 1970-01-01 00:00 UTC, the unit of every
//! timestamp column. A watermark is an event time `w` with the promise that no
//! row behind it (`ts < w`) is still to come. An [`Epoch`] is one tick of the
//! server's clock: the unit in which results become visible.

use std::fmt;

/// Microseconds since the Unix epoch.
pub type EventTime = i64;

/// The watermark before any row has been seen: nothing is promised.
pub const WATERMARK_NONE: EventTime = i64::MIN;

/// The watermark of an input that has ended: everything is promised.
pub const WATERMARK_END: EventTime = i64::MAX;

/// One tick of the server's clock. Epoch 0 is before everything; a number that a
/// reader has seen is never used for other contents.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Before the first tick: every view is empty.
    pub const ZERO: Epoch = Epoch(0);

    /// The following epoch.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
