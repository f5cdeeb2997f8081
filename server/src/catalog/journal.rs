//! Where the catalog's changes are written down before they count.

use std::fmt;

/// The catalog's log as the catalog sees it.
///
/// # Contract
/// `append` returns `Ok` only when the record would be found after a crash. Calls
/// may block for as long as the store does; the catalog makes them one at a time,
/// and none after [`JournalError::Unknown`] or [`JournalError::Fenced`].
pub trait Journal: Send + fmt::Debug {
    /// Adds a record behind all that were added before.
    ///
    /// # Errors
    /// See [`JournalError`].
    fn append(&mut self, record: &[u8]) -> Result<(), JournalError>;
}

/// Why a change was not written down; the texts are for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Nothing was written, and another attempt may succeed.
    #[error("the catalog's log cannot be written: {0}")]
    Failed(String),
    /// The record may be there, now or later.
    #[error("whether the change is in the catalog's log is unknown: {0}")]
    Unknown(String),
    /// Another server writes the log now.
    #[error("another server has taken over the store: {0}")]
    Fenced(String),
}

impl JournalError {
    /// Whether nothing can be appended any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, JournalError::Failed(_))
    }
}
