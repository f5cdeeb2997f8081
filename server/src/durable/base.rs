//! When a job's whole state is written anew, and from what.

use tidemill_storage::state::{RunEntry, RunSource, StateCursor, StateError};

/// Files of changes after which the state is written anew.
const DELTAS_MAX: usize = 64;

/// Changes below this many bytes are never a reason: 4 MiB.
const DELTA_BYTES_MIN: u64 = 4 << 20;

/// Whether a recovery would read too much that is out of date: as many changes as
/// there is state, or too many files. So a byte of state is written anew once for
/// every byte that changed.
pub(super) fn base_is_due(base_bytes: u64, deltas: usize, delta_bytes: u64) -> bool {
    deltas >= DELTAS_MAX || delta_bytes >= base_bytes.max(DELTA_BYTES_MIN)
}

/// Entries of the backend on their way into a file.
#[derive(Debug)]
pub(super) struct CursorSource<'a>(pub Box<dyn StateCursor + 'a>);

impl RunSource for CursorSource<'_> {
    fn next_entry(&mut self) -> Result<Option<RunEntry<'_>>, StateError> {
        Ok(self.0.next_entry()?.map(|(key, value)| (key, Some(value))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_or_as_many_changes_as_state() {
        for (base, deltas, bytes, due) in [
            (0, 1, 1 << 20, false),
            (0, 1, 4 << 20, true),
            (100 << 20, 3, 99 << 20, false),
            (100 << 20, 3, 100 << 20, true),
            (100 << 20, 64, 1, true),
        ] {
            assert_eq!(base_is_due(base, deltas, bytes), due);
        }
    }
}
