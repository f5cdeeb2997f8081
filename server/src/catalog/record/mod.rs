//! What the catalog's log says: one record per statement that changed it.
//!
//! A record is a list of changes that count together or not at all. Its bytes are
//! our own protobuf with a version in front, and mean the same in every later
//! build: what a record of this version says is never reinterpreted, a record of
//! a version that this build does not know is refused.
//!
//! Invariant: `decode(encode(r))` is `r`; bytes from anywhere else are an error,
//! never a panic.

mod decode;
mod encode;
mod messages;
mod types;

#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use tidemill_planner::catalog::CatalogObject;
use tidemill_types::{JobId, ObjectId, TableId};

use super::skeleton::Skeleton;

/// The version of the messages.
pub const FORMAT_VERSION: u32 = 1;

/// Changes that count together.
#[derive(Clone, Debug)]
pub struct CatalogRecord {
    pub changes: Vec<Change>,
}

/// One change.
#[derive(Clone, Debug)]
pub enum Change {
    /// A new object, with its job if it has one.
    Create {
        object: Arc<CatalogObject>,
        job: Option<Arc<JobDefinition>>,
    },
    /// A declared sink target gets the job that feeds it.
    Feed {
        sink: ObjectId,
        depends_on: Vec<ObjectId>,
        job: Arc<JobDefinition>,
    },
    /// Objects, their jobs with them.
    Drop {
        ids: Vec<ObjectId>,
    },
    /// The job of an object has another value of its setting `parallelism`.
    SetParallelism {
        object: ObjectId,
        parallelism: u32,
    },
    CreateSchema {
        name: String,
    },
    DropSchema {
        name: String,
    },
}

/// Everything that a job is planned from again, and where its state is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobDefinition {
    pub job: JobId,
    /// The statement that made it.
    pub sql: String,
    /// The session settings that it was planned with.
    pub settings: BTreeMap<String, String>,
    /// Its state tables: this one and those that follow.
    pub first_table: TableId,
    pub tables: u32,
    /// What its state means; a plan that gives another cannot go on with it.
    pub skeleton: Skeleton,
}

/// The setting of a job that ALTER changes.
pub const PARALLELISM: &str = "parallelism";

impl JobDefinition {
    /// The job with another number of workers; 0: all.
    #[must_use]
    pub fn with_parallelism(&self, parallelism: u32) -> Self {
        let mut changed = self.clone();
        changed.settings.insert(PARALLELISM.to_owned(), parallelism.to_string());
        changed
    }
}

/// Why a record could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the record's bytes cannot be read: {0}")]
    Malformed(#[from] prost::DecodeError),
    #[error(
        "the record has format version {found} and this build reads version {FORMAT_VERSION}: \
         it was written by another version of Tidemill"
    )]
    Version { found: u32 },
    /// A part that must be there is not, or has an impossible value.
    #[error("the record is inconsistent: {0}")]
    Invalid(&'static str),
    #[error("columns of type {0} cannot be stored in the catalog")]
    Unsupported(DataType),
}

impl CatalogRecord {
    /// The record's bytes.
    ///
    /// # Errors
    /// [`RecordError::Unsupported`] for a column that has no stored form.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        encode::record(self)
    }

    /// What bytes of [`Self::encode`] say.
    ///
    /// # Errors
    /// All but [`RecordError::Unsupported`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        decode::record(bytes)
    }
}

impl Skeleton {
    /// The skeleton's bytes, for the manifests of a job's checkpoints.
    ///
    /// # Errors
    /// [`RecordError::Unsupported`].
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        encode::skeleton(self)
    }

    /// What bytes of [`Self::encode`] say.
    ///
    /// # Errors
    /// All but [`RecordError::Unsupported`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        decode::skeleton(bytes)
    }
}
