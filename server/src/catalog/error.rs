//! What can go wrong with a catalog change.

use tidemill_types::{Diagnostic, SqlState};

use super::contents::FoldError;
use super::journal::JournalError;
use super::record::RecordError;

/// A change that was refused, or could not be written down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    #[error("relation \"{0}\" already exists")]
    NameTaken(String),
    #[error("schema \"{0}\" already exists")]
    SchemaTaken(String),
    #[error("schema \"{0}\" does not exist")]
    NoSchema(String),
    #[error("schema name \"{0}\" is reserved for the system")]
    ReservedSchema(String),
    #[error("schema \"{0}\" cannot be dropped")]
    FixedSchema(String),
    #[error("cannot drop \"{0}\" because the system needs it")]
    SystemObject(String),
    #[error("\"{0}\" is not a view")]
    NotAView(String),
    #[error("cannot change the columns of view \"{0}\"")]
    ColumnsChanged(String),
    #[error("an object that \"{0}\" refers to was dropped by another session")]
    DependencyGone(String),
    #[error("a job feeds \"{0}\" already")]
    AlreadyFed(String),
    #[error("cannot drop {what} because other objects depend on it")]
    StillNeeded { what: String, detail: String },
    #[error("\"{0}\" is still being created")]
    StillCreated(String),
    #[error("the object was dropped while it was being created")]
    DroppedMeanwhile,
    /// Nothing has changed, unless the journal says that this is unknown.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// A column has a type that the catalog cannot store.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// A change that the checks before it should have refused.
    #[error("internal error: the catalog refuses a change: {0}")]
    Inconsistent(#[from] FoldError),
}

impl CatalogError {
    /// As the user is told.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        use CatalogError as E;
        let state = match self {
            E::NameTaken(_) => SqlState::DUPLICATE_TABLE,
            E::SchemaTaken(_) => SqlState::DUPLICATE_SCHEMA,
            E::NoSchema(_) => SqlState::INVALID_SCHEMA_NAME,
            E::ReservedSchema(_) | E::SystemObject(_) | E::FixedSchema(_) => {
                SqlState::INSUFFICIENT_PRIVILEGE
            }
            E::AlreadyFed(_) | E::StillCreated(_) => SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            E::DroppedMeanwhile => SqlState::QUERY_CANCELED,
            E::Journal(JournalError::Fenced(_)) => SqlState::CANNOT_CONNECT_NOW,
            E::Journal(_) => SqlState::IO_ERROR,
            E::Record(_) => SqlState::FEATURE_NOT_SUPPORTED,
            E::Inconsistent(_) => SqlState::INTERNAL_ERROR,
            E::NotAView(_) => SqlState::WRONG_OBJECT_TYPE,
            E::ColumnsChanged(_) => SqlState::INVALID_OBJECT_DEFINITION,
            E::DependencyGone(_) => SqlState::UNDEFINED_TABLE,
            E::StillNeeded { .. } => SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
        };
        let diagnostic = Diagnostic::new(state, self.to_string());
        match self {
            E::StillNeeded { detail, .. } => diagnostic
                .with_detail(detail.clone())
                .with_hint("Use DROP ... CASCADE to drop the dependent objects too."),
            E::AlreadyFed(_) => {
                diagnostic.with_hint("DROP it and declare it again to feed it with another query.")
            }
            E::ColumnsChanged(_) => diagnostic.with_hint(
                "New columns may only follow the present ones. Drop the view and create it again.",
            ),
            E::StillCreated(_) => diagnostic
                .with_hint("Run the statement again when the one that creates it has finished."),
            E::Journal(JournalError::Fenced(_)) => diagnostic.with_hint(
                "This server accepts no changes any more. Connect to the other one, or stop it and \
                 start this one again.",
            ),
            E::Journal(JournalError::Unknown(_)) => diagnostic.with_hint(
                "This server accepts no changes until it is started again; then it knows whether \
                 this one was made.",
            ),
            E::Journal(JournalError::Failed(_)) => diagnostic
                .with_hint("Nothing has changed. Run the statement again when the store works."),
            _ => diagnostic,
        }
    }
}

impl From<CatalogError> for Diagnostic {
    fn from(error: CatalogError) -> Self {
        error.diagnostic()
    }
}
