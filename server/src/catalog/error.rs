//! What can go wrong with a catalog change.

use tidemill_types::{Diagnostic, SqlState};

/// A refused change. All of them are the user's to solve.
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
            E::AlreadyFed(_) => SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
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
            _ => diagnostic,
        }
    }
}

impl From<CatalogError> for Diagnostic {
    fn from(error: CatalogError) -> Self {
        error.diagnostic()
    }
}
