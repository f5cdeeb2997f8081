//! Epoch numbers that no two incarnations of the server hand out.
//!
//! A reader, a sink or a log may have seen an epoch that no checkpoint ever recorded,
//! so that numbers cannot continue from what was recovered. They are reserved in
//! blocks: a record in a sequence says up to which number they may be used, before the
//! first of them is. After a restart they continue above the last block; what was left
//! of it is never used.

use bytes::Bytes;
use tidemill_types::Epoch;

use super::error::{AppendError, SequenceError};
use super::sequence::{RecordSequence, WriterId};
use crate::crash;
use crate::store::Store;

/// Block records after which the sequence is folded.
const FOLD_AFTER: u64 = 64;

/// Hands out epoch numbers; see the module.
#[derive(Debug)]
pub struct EpochBlocks {
    sequence: RecordSequence,
    /// Numbers in a block.
    block: u64,
    /// The next number to hand out; from 1.
    next: u64,
    /// The first number that is not reserved.
    end: u64,
    /// The end of the block whose record is unsettled.
    unsettled: Option<u64>,
    /// Block records since the last fold.
    unfolded: u64,
}

/// No epoch number can be handed out.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// The block could not be reserved. [`AppendError::Fenced`]: stop.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The sequence could not be read.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// A block record has the wrong length.
    #[error("record {number} of {sequence} is not the end of a block of epochs")]
    NotABlock { sequence: String, number: u64 },
    /// All 2^64 numbers are used.
    #[error("epoch numbers are used up")]
    UsedUp,
}

impl EpochBlocks {
    /// Takes over the sequence `name`; numbers continue above all blocks in it.
    ///
    /// `block` is how many numbers are reserved at a time, at least 1: with the tick of
    /// 100 ms, 6000 are ten minutes.
    ///
    /// # Errors
    /// [`EpochError::Sequence`], [`EpochError::NotABlock`].
    pub async fn take_over(
        store: &Store,
        name: &str,
        writer: WriterId,
        block: u64,
    ) -> Result<Self, EpochError> {
        let (sequence, loaded) = RecordSequence::take_over(store, name, writer).await?;
        let snapshot = loaded.snapshot.iter().map(|s| (s.number, &s.payload));
        let records = loaded.records.iter().map(|r| (r.number, &r.payload));
        let mut end = 1;
        for (number, payload) in snapshot.chain(records) {
            let bytes = payload[..]
                .try_into()
                .map_err(|_| EpochError::NotABlock { sequence: name.to_owned(), number })?;
            end = end.max(u64::from_le_bytes(bytes));
        }
        let unfolded = loaded.records.len() as u64;
        Ok(Self { sequence, block: block.max(1), next: end, end, unsettled: None, unfolded })
    }

    /// The next number; reserves a block where none is left.
    ///
    /// # Errors
    /// [`EpochError`]; a later call tries again, except after a fence.
    pub async fn next(&mut self) -> Result<Epoch, EpochError> {
        loop {
            match self.take() {
                Some(epoch) => return Ok(epoch),
                None => self.reserve().await?,
            }
        }
    }

    /// The next number, if one is reserved: nothing is awaited.
    pub fn take(&mut self) -> Option<Epoch> {
        let epoch = Epoch(self.next);
        if self.next < self.end {
            self.next += 1;
            Some(epoch)
        } else {
            None
        }
    }

    /// How many numbers are reserved and not handed out.
    #[must_use]
    pub fn reserved(&self) -> u64 {
        self.end - self.next
    }

    /// Reserves a block more, ahead of need.
    ///
    /// # Errors
    /// [`EpochError`]; what was reserved before stays usable, except after a fence.
    pub async fn reserve(&mut self) -> Result<(), EpochError> {
        if let Some(end) = self.unsettled
            && self.sequence.is_unsettled()
        {
            self.sequence.settle().await?;
            self.reserved_up_to(end);
            return Ok(());
        }
        if self.unfolded >= FOLD_AFTER {
            let state = Bytes::copy_from_slice(&self.end.to_le_bytes());
            self.sequence.snapshot(state).await?;
            self.unfolded = 0;
        }
        let end = self.end.checked_add(self.block).ok_or(EpochError::UsedUp)?;
        crash::point("epochs.before_block");
        self.unsettled = Some(end);
        self.sequence.append(Bytes::copy_from_slice(&end.to_le_bytes())).await?;
        crash::point("epochs.after_block");
        self.reserved_up_to(end);
        Ok(())
    }

    fn reserved_up_to(&mut self, end: u64) {
        self.end = end;
        self.unsettled = None;
        self.unfolded += 1;
    }
}
