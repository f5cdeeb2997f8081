//! Reading a sequence: its newest whole snapshot and the records after it.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::decide::{Facts, Phase};
use super::error::SequenceError;
use super::frame::{Frame, FrameError, FrameFault, RecordKind};
use crate::store::Store;

/// Records fetched at a time.
const FETCHES: usize = 16;

/// Something that an owner appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub number: u64,
    /// The owner's term: rises with every take-over.
    pub term: u64,
    pub payload: Bytes,
}

/// The fold of all records up to a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceSnapshot {
    pub number: u64,
    pub payload: Bytes,
}

/// All there is to know of a sequence: a snapshot and the records after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub snapshot: Option<SequenceSnapshot>,
    pub records: Vec<Record>,
}

/// Where a sequence's objects are.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) store: Store,
    pub(super) name: String,
}

/// Where reading starts.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) snapshot: Option<SequenceSnapshot>,
    pub(super) facts: Facts,
}

impl Reader {
    pub(super) fn record_path(&self, number: u64) -> String {
        format!("{}/records/{number:020}", self.name)
    }

    pub(super) fn snapshot_path(&self, number: u64) -> String {
        format!("{}/snapshot/{number:020}", self.name)
    }

    /// The numbers of the objects in one folder, rising; other names are not ours.
    pub(super) async fn numbers(&self, folder: &str) -> Result<Vec<u64>, SequenceError> {
        let listed = self.store.list(&format!("{}/{folder}", self.name)).await?;
        let number = |path: &str| {
            let name = path.rsplit('/').next()?;
            if name.len() == 20 { name.parse().ok() } else { None }
        };
        Ok(listed.iter().filter_map(|object| number(&object.path)).collect())
    }

    pub(super) async fn newest_snapshot(&self) -> Result<u64, SequenceError> {
        Ok(self.numbers("snapshot").await?.last().copied().unwrap_or(0))
    }

    pub(super) async fn frame(
        &self,
        path: &str,
        number: u64,
    ) -> Result<Option<(Frame, Bytes)>, SequenceError> {
        let Some(bytes) = self.store.get(path).await? else { return Ok(None) };
        Ok(Some((Frame::decode(path, &self.name, number, &bytes)?, bytes)))
    }

    pub(super) async fn record(
        &self,
        number: u64,
    ) -> Result<Option<(Frame, Bytes)>, SequenceError> {
        let path = self.record_path(number);
        let found = self.frame(&path, number).await?;
        match &found {
            Some((frame, _)) if frame.kind == RecordKind::Snapshot => {
                Err(misplaced(path, frame.kind))
            }
            _ => Ok(found),
        }
    }

    /// The newest snapshot that is whole. A damaged one is passed over: the records
    /// since the one before it are kept for that.
    pub(super) async fn base(&self, phase: Phase) -> Result<Base, SequenceError> {
        let snapshots = self.numbers("snapshot").await?;
        let newest = snapshots.last().copied().unwrap_or(0);
        let mut damage = None;
        for number in snapshots.iter().rev().copied() {
            let path = self.snapshot_path(number);
            match self.frame(&path, number).await {
                Ok(Some((frame, _))) if frame.kind == RecordKind::Snapshot => {
                    let facts = Facts::reading(phase, number, frame.term, newest);
                    let snapshot = Some(SequenceSnapshot { number, payload: frame.payload });
                    return Ok(Base { snapshot, facts });
                }
                Ok(Some((frame, _))) => damage = damage.or(Some(misplaced(path, frame.kind))),
                // Removed since it was listed: a newer one was there.
                Ok(None) => {}
                Err(SequenceError::Frame(error)) => {
                    tracing::warn!(%error, "a damaged snapshot is passed over");
                    damage = damage.or(Some(error.into()));
                }
                Err(error) => return Err(error),
            }
        }
        // The records before the first snapshot may be whole, but only if it was the
        // only one; reading them tells, as they are dense from 1.
        match damage {
            Some(damage) if snapshots.len() > 1 => Err(damage),
            _ => {
                let facts = Facts::reading(phase, 0, 0, newest);
                Ok(Base { snapshot: None, facts })
            }
        }
    }

    /// Fetches the records that are listed from `first` on, several at a time, up to
    /// the first number that is not listed or not there. The second number is the last
    /// that is listed: a record that is missing below it is a gap.
    pub(super) async fn listed_records(
        &self,
        first: u64,
    ) -> Result<(VecDeque<(Frame, Bytes)>, u64), SequenceError> {
        let numbers = self.numbers("records").await?;
        let last = numbers.last().copied().unwrap_or(0);
        let run = numbers.into_iter().skip_while(|number| *number < first);
        let dense = run.zip(first..).take_while(|(found, wanted)| found == wanted);
        let fetches = dense.map(|(number, _)| self.record(number)).collect::<Vec<_>>();
        let mut fetched = stream::iter(fetches).buffered(FETCHES);
        let mut records = VecDeque::new();
        while let Some(found) = fetched.next().await {
            match found? {
                Some(found) => records.push_back(found),
                None => break,
            }
        }
        Ok((records, last))
    }

    pub(super) fn gap(&self, number: u64) -> SequenceError {
        let reason = "the record is missing, and later ones are there";
        SequenceError::Broken { file: self.record_path(number), reason }
    }
}

fn misplaced(file: String, kind: RecordKind) -> SequenceError {
    FrameError { file, fault: FrameFault::Misplaced(kind) }.into()
}
