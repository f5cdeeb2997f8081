//! Snapshots of a sequence, and the removal of what they cover.
//!
//! A snapshot holds what all records up to its number amount to, as the owner encodes
//! it. Reading starts at the newest one that is whole. The one before it, and the
//! records since that, stay, so that a damaged snapshot loses nothing; older data
//! records and snapshots are removed. Term records stay for ever: see
//! [`decide`](super::decide).

use bytes::Bytes;

use super::decide::Phase;
use super::error::SequenceError;
use super::frame::{Frame, FrameError, RecordKind};
use super::sequence::RecordSequence;
use crate::store::Create;

impl RecordSequence {
    /// Makes a snapshot of all records so far, of which `state` is the fold, and
    /// removes what the snapshot before it covered.
    ///
    /// # Errors
    /// [`SequenceError::NotOwner`] while a record is unsettled or when fenced. After an
    /// error of the store the snapshot may or may not be there, and any of what was to
    /// be removed; the sequence is whole in each case.
    pub async fn snapshot(&mut self, state: Bytes) -> Result<(), SequenceError> {
        if self.facts.phase != Phase::Owning {
            return Err(SequenceError::NotOwner { sequence: self.reader.name.clone() });
        }
        let (number, term) = (self.last(), self.term());
        let path = self.reader.snapshot_path(number);
        let frame = Frame { number, term, kind: RecordKind::Snapshot, payload: state };
        let bytes = frame
            .encode(&self.reader.name)
            .map_err(|fault| FrameError { file: path.clone(), fault })?;
        if self.reader.store.create(&path, bytes).await? == Create::AlreadyExists {
            // Another fold of the same records: as good, if it is whole.
            self.reader.frame(&path, number).await?;
        }
        let before = std::mem::replace(&mut self.log.snapshot, number);
        if before < number { self.remove_covered(before).await } else { Ok(()) }
    }

    /// Removes data records up to the snapshot `covering`, and snapshots before it.
    async fn remove_covered(&mut self, covering: u64) -> Result<(), SequenceError> {
        for number in self.reader.numbers("records").await? {
            if number > covering {
                break;
            }
            if !self.log.terms.contains(&number) && self.is_data(number).await? {
                self.reader.store.delete(&self.reader.record_path(number)).await?;
            }
        }
        for number in self.reader.numbers("snapshot").await? {
            if number < covering {
                self.reader.store.delete(&self.reader.snapshot_path(number)).await?;
            }
        }
        Ok(())
    }

    /// A record that was read before the snapshot of an earlier owner is looked at
    /// once; what cannot be read stays.
    async fn is_data(&mut self, number: u64) -> Result<bool, SequenceError> {
        match self.reader.record(number).await {
            Ok(Some((frame, _))) if frame.kind == RecordKind::Data => Ok(true),
            Ok(Some(_)) => {
                self.log.terms.insert(number);
                Ok(false)
            }
            Ok(None) => Ok(false),
            Err(SequenceError::Frame(error)) => {
                tracing::warn!(%error, "a damaged record below a snapshot stays");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
