//! The catalog's log in the store.

use bytes::Bytes;
use tidemill_storage::records::{AppendError, RecordSequence};
use tokio::runtime::Handle;

use crate::catalog::{Journal, JournalError};

/// The sequence of the catalog's records.
pub const CATALOG: &str = "catalog";

/// Appends to a sequence that this server owns.
#[derive(Debug)]
pub struct StoreJournal {
    sequence: RecordSequence,
    /// Where the store's input and output is done. Appending blocks the caller.
    io: Handle,
}

impl StoreJournal {
    #[must_use]
    pub fn new(sequence: RecordSequence, io: Handle) -> Self {
        StoreJournal { sequence, io }
    }
}

impl Journal for StoreJournal {
    fn append(&mut self, record: &[u8]) -> Result<(), JournalError> {
        let appended = self.io.block_on(self.sequence.append(Bytes::copy_from_slice(record)));
        match appended {
            Ok(_) => Ok(()),
            Err(error @ AppendError::Fenced { .. }) => Err(JournalError::Fenced(error.to_string())),
            Err(error @ AppendError::Unsettled { .. }) => {
                Err(JournalError::Unknown(error.to_string()))
            }
            Err(error) => Err(JournalError::Failed(error.to_string())),
        }
    }
}
