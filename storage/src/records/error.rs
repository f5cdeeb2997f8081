//! What can go wrong with a sequence.

use super::frame::{FrameError, FrameFault};
use crate::store::StoreError;

/// A sequence could not be read or taken over.
#[derive(Debug, thiserror::Error)]
pub enum SequenceError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file is damaged, or is not what it should be. Nothing is guessed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A record is missing, or does not follow from the one before it.
    #[error("{file}: {reason}")]
    Broken { file: String, reason: &'static str },
    /// Records that were asked for are folded into a snapshot: load the sequence.
    #[error("records of {sequence} from {from} are folded into the snapshot at {snapshot}")]
    Folded { sequence: String, from: u64, snapshot: u64 },
    /// Others took the numbers over and over.
    #[error("{sequence} was not taken over in {rounds} rounds: others write to it")]
    Contended { sequence: String, rounds: u32 },
    /// The snapshot cannot be made now: the sequence is not ours, or has an unsettled
    /// record.
    #[error("{sequence} has an unsettled record or another owner: no snapshot can be made")]
    NotOwner { sequence: String },
}

/// A record was not appended, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another writer owns the sequence: stop, and load it again. A record whose
    /// outcome was unknown before may be in it.
    #[error("another writer has taken over {sequence}: its record {number} is not ours")]
    Fenced { sequence: String, number: u64 },
    /// The record may be in the sequence, now or later. `settle` puts it again until
    /// that is known; until then nothing else is appended.
    #[error("whether record {number} of {sequence} was appended is unknown{}", because(.source))]
    Unsettled { sequence: String, number: u64, source: Option<object_store::Error> },
    /// The record cannot be written; nothing was done.
    #[error("{sequence}: {fault}")]
    Record { sequence: String, fault: FrameFault },
    /// The store refused; nothing was done.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn because(source: &Option<object_store::Error>) -> String {
    source.as_ref().map(|source| format!(": {source}")).unwrap_or_default()
}
