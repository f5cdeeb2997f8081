//! What can go wrong with checkpoints.

use std::io;
use std::path::PathBuf;

use crate::records::{AppendError, SequenceError};
use crate::store::StoreError;

/// A checkpoint was not committed, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store failed; the checkpoint was not committed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The group's sequence cannot be read or taken over.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The record was not appended, or may not have been: see
    /// [`GroupCheckpoints::settle`](super::GroupCheckpoints::settle).
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A file is there and is not what the checkpoint says.
    #[error("{file}: {reason}")]
    Damaged { file: String, reason: String },
    /// A file of a checkpoint is not there.
    #[error("{file}: the file is missing from the store")]
    Missing { file: String },
    /// A name that only this writer uses is taken by other bytes.
    #[error("{file}: another writer made a file of this name")]
    Taken { file: String },
    /// A file on this machine cannot be read or written.
    #[error("{action} {}: {source}", path.display())]
    Local { action: &'static str, path: PathBuf, source: io::Error },
    /// The epochs of checkpoints must rise.
    #[error("epoch {epoch} cannot be committed after epoch {last}")]
    EpochOrder { epoch: u64, last: u64 },
    /// A family's name is made of a-z, 0-9 and _.
    #[error("\"{family}\" is not a family's name: a-z, 0-9 and _ only")]
    Family { family: String },
    /// There is no such checkpoint, or it is not retained.
    #[error("group {group} has no checkpoint {checkpoint}")]
    NoCheckpoint { group: u64, checkpoint: u64 },
}

impl CheckpointError {
    pub(super) fn damaged(file: &str, reason: impl Into<String>) -> Self {
        CheckpointError::Damaged { file: file.to_owned(), reason: reason.into() }
    }
}
