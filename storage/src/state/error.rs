//! What can go wrong with stored state.

use std::io;
use std::path::{Path, PathBuf};

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use tidemill_types::{Diagnostic, SqlState};

/// An error of the state store. Whoever meets one stops the job: no operation is
/// half done in a [`Delta`](super::Delta), and ingesting again is harmless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The type has no stored form. `part` is "key" or "value".
    #[error("a value of type {data_type} cannot be stored in the {part} of a state table")]
    UnsupportedType { part: &'static str, data_type: DataType },
    /// Columns of other types, numbers or lengths than the table was made for:
    /// an error of ours.
    #[error("state columns: expected {expected}, found {found}")]
    Columns { expected: String, found: String },
    /// A key or value that is too long; the limit is in bytes.
    #[error("a state {part} of {bytes} bytes is longer than the limit of {limit} bytes")]
    TooLong { part: &'static str, bytes: usize, limit: usize },
    /// Stored bytes that no version of Tidemill writes.
    #[error("stored state is damaged: {0}")]
    Damaged(String),
    /// Entries of a file came out of order: an error of ours.
    #[error("state entries are not in rising order of their keys")]
    Order,
    /// A file or directory could not be used.
    #[error("{}: {message}", path.display())]
    Io { path: PathBuf, kind: io::ErrorKind, message: String },
    /// The database under the store failed.
    #[error("state database: {0}")]
    Database(String),
}

impl StateError {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        StateError::Damaged(what.into())
    }

    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        StateError::Io { path: path.into(), kind: error.kind(), message: error.to_string() }
    }

    /// What a user is told: 0A000 for a type, 54000 for a length, 58030 for files
    /// and the database, and an internal error for the rest.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            StateError::UnsupportedType { .. } => Diagnostic::unsupported(self.to_string()),
            StateError::TooLong { .. } => {
                Diagnostic::new(SqlState::PROGRAM_LIMIT_EXCEEDED, self.to_string())
            }
            StateError::Io { .. } | StateError::Database(_) => {
                Diagnostic::new(SqlState::IO_ERROR, self.to_string())
            }
            StateError::Columns { .. } | StateError::Damaged(_) | StateError::Order => {
                Diagnostic::internal(self.to_string())
            }
        }
    }
}

/// Arrow refuses what damaged bytes would make: a NULL where there is none, say.
impl From<ArrowError> for StateError {
    fn from(error: ArrowError) -> Self {
        StateError::Damaged(error.to_string())
    }
}
