//! State in memory, in maps: the slow twin of the database, for tests and
//! simulations.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;

use super::backend::{FamilyStats, IngestFile, OnValue, StateBackend, StateCursor, StateEntry};
use super::file::RunFormat;
use super::plain::{PlainFormat, read_plain};
use super::run::SortedRun;
use super::{Family, KeyRange, StateError};

/// Cursors hold a map as it was; a change then copies it.
type Map = Arc<BTreeMap<Vec<u8>, Vec<u8>>>;

/// See the module.
#[derive(Default, Debug)]
pub struct ModelBackend {
    families: RwLock<[Map; Family::ALL.len()]>,
}

impl ModelBackend {
    /// Without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a run in without a file.
    pub fn apply(&self, family: Family, run: &SortedRun) {
        for range in run.ranges() {
            self.remove(family, range);
        }
        let mut families = self.families.write();
        let map = Arc::make_mut(&mut families[family.index()]);
        for (key, value) in run.entries() {
            match value {
                Some(value) => map.insert(key.to_vec(), value.to_vec()),
                None => map.remove(key),
            };
        }
    }

    fn remove(&self, family: Family, range: &KeyRange) {
        if !range.is_empty() {
            let mut families = self.families.write();
            let map = Arc::make_mut(&mut families[family.index()]);
            let mut tail = map.split_off(&range.from);
            map.append(&mut tail.split_off(&range.to));
        }
    }

    fn map(&self, family: Family) -> Map {
        Arc::clone(&self.families.read()[family.index()])
    }
}

impl StateBackend for ModelBackend {
    fn run_format(&self) -> &dyn RunFormat {
        &PlainFormat
    }

    fn ingest(&self, files: &[IngestFile]) -> Result<(), StateError> {
        for file in files {
            self.apply(file.family, &read_plain(&file.path)?);
        }
        Ok(())
    }

    fn get_many(
        &self,
        family: Family,
        keys: &[&[u8]],
        each: &mut OnValue<'_>,
    ) -> Result<(), StateError> {
        let map = self.map(family);
        for (position, key) in keys.iter().enumerate() {
            each(position, map.get(*key).map(Vec::as_slice))?;
        }
        Ok(())
    }

    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
    ) -> Result<Box<dyn StateCursor + '_>, StateError> {
        let (next, to) = (Bound::Included(range.from.clone()), range.to.clone());
        Ok(Box::new(ModelCursor { map: self.map(family), next, to }))
    }

    fn drop_range(&self, family: Family, range: &KeyRange) -> Result<(), StateError> {
        self.remove(family, range);
        Ok(())
    }

    fn stats(&self, family: Family) -> Result<FamilyStats, StateError> {
        let map = self.map(family);
        let bytes = map.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        Ok(FamilyStats { entries: map.len() as u64, bytes, files: 0 })
    }
}

#[derive(Debug)]
struct ModelCursor {
    map: Map,
    /// Looked up anew for every entry.
    next: Bound<Vec<u8>>,
    to: Vec<u8>,
}

impl StateCursor for ModelCursor {
    fn next_entry(&mut self) -> Result<Option<StateEntry<'_>>, StateError> {
        let start = self.next.as_ref().map(Vec::as_slice);
        let mut rest = self.map.range::<[u8], _>((start, Bound::Unbounded));
        match rest.next().filter(|(key, _)| **key < self.to) {
            Some((key, value)) => {
                self.next = Bound::Excluded(key.clone());
                Ok(Some((key, value)))
            }
            None => Ok(None),
        }
    }
}
