//! What can go wrong in a connector.

use tidemill_types::{Diagnostic, SqlState};

/// An error of a connector, by who has to act.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectorError {
    /// The statement or its options are wrong; the user changes them.
    #[error("{0}")]
    Options(Diagnostic),
    /// The outside failed: a file that cannot be read, a broken connection.
    #[error("{what}: {cause}")]
    Outside { what: String, cause: String },
    /// A record cannot be decoded and the source says `on_error = 'fail'`.
    #[error("{0}")]
    BadRecord(String),
}

impl ConnectorError {
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            ConnectorError::Options(d) => d.clone(),
            ConnectorError::Outside { .. } => Diagnostic::new(SqlState::IO_ERROR, self.to_string()),
            ConnectorError::BadRecord(_) => {
                Diagnostic::new(SqlState::BAD_COPY_FILE_FORMAT, self.to_string()).with_hint(
                    "Set on_error = 'drop' on the source to leave such records out and count them.",
                )
            }
        }
    }
}
