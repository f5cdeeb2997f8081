//! What changed in one worker's tables since the last checkpoint.
//!
//! A delta is written by one worker, operator after operator, while the worker
//! handles the barrier; so it costs a copy per entry and no allocation. Sorting
//! and writing files is for other threads, on what [`Delta::into_runs`] gives.

use super::codec::EncodedRows;
use super::run::{Arena, SortedRun};
use super::sort::sorted_positions;
use super::{Family, KeyRange, StateError};

/// Full values and deletions by key, and range deletions, per column family.
///
/// Range deletions apply to the state before the delta, wherever in the delta
/// they are: entries of the same delta stay. Of several entries with one key the
/// last counts.
#[derive(Default, Debug)]
pub struct Delta {
    families: [Changes; Family::ALL.len()],
}

#[derive(Default, Debug)]
struct Changes {
    arena: Arena,
    ranges: Vec<KeyRange>,
}

impl Delta {
    /// Without changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// [`StateError::TooLong`] above [`super::MAX_ENTRY_BYTES`].
    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.changes(family).arena.push(key, Some(value))
    }

    /// Deletes a key, which need not exist.
    ///
    /// # Errors
    /// [`StateError::TooLong`] above [`super::MAX_ENTRY_BYTES`].
    pub fn delete(&mut self, family: Family, key: &[u8]) -> Result<(), StateError> {
        self.changes(family).arena.push(key, None)
    }

    /// Deletes every key of `range` that was there before this delta.
    pub fn delete_range(&mut self, family: Family, range: KeyRange) {
        if !range.is_empty() {
            self.changes(family).ranges.push(range);
        }
    }

    /// Sets the values of `keys`, row by row, or deletes them where there are no
    /// `values`.
    pub(super) fn extend(
        &mut self,
        family: Family,
        keys: &EncodedRows,
        values: Option<&EncodedRows>,
    ) -> Result<(), StateError> {
        let arena = &mut self.changes(family).arena;
        arena.reserve(keys.len(), keys.byte_len() + values.map_or(0, EncodedRows::byte_len));
        for (row, key) in keys.iter().enumerate() {
            arena.push(key, values.map(|values| values.row(row)))?;
        }
        Ok(())
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.families.iter().all(|c| c.arena.entries.is_empty() && c.ranges.is_empty())
    }

    /// Number of entries, replaced ones included, over all families.
    #[must_use]
    pub fn len(&self) -> usize {
        self.families.iter().map(|c| c.arena.entries.len()).sum()
    }

    /// Bytes of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.families.iter().map(|c| c.arena.bytes()).sum()
    }

    /// The changes in key order; families without changes have no run.
    #[must_use]
    pub fn into_runs(self) -> SortedRuns {
        let runs = Family::ALL.into_iter().zip(self.families).map(|(family, changes)| {
            let mut arena = changes.arena;
            let entries = &arena.entries;
            let order = sorted_positions(entries.len(), |position| arena.key(entries[position]));
            arena.entries = order.into_iter().map(|position| entries[position]).collect();
            (family, SortedRun::new(arena, changes.ranges))
        });
        SortedRuns { runs: runs.filter(|(_, run)| !run.is_empty()).collect() }
    }

    fn changes(&mut self, family: Family) -> &mut Changes {
        &mut self.families[family.index()]
    }
}

/// A delta in key order: a run per family that changed.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct SortedRuns {
    runs: Vec<(Family, SortedRun)>,
}

impl SortedRuns {
    /// The run of a family, where it changed.
    #[must_use]
    pub fn get(&self, family: Family) -> Option<&SortedRun> {
        self.runs.iter().find(|(f, _)| *f == family).map(|(_, run)| run)
    }

    /// The families that changed, in the order of [`Family::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Family, &SortedRun)> {
        self.runs.iter().map(|(family, run)| (*family, run))
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

impl IntoIterator for SortedRuns {
    type Item = (Family, SortedRun);
    type IntoIter = std::vec::IntoIter<(Family, SortedRun)>;

    fn into_iter(self) -> Self::IntoIter {
        self.runs.into_iter()
    }
}
