//! Sorted runs: what a delta says about one column family.
//!
//! A run has entries, sorted by key, each key once, as a value or a deletion; and
//! range deletions. **The range deletions of a run apply to the state before the
//! run, never to the run's own entries.** So a run that expires a table and writes
//! it anew means what it says, in whatever order its files are read.
//!
//! [`merge_runs`] makes one run of many. It takes deltas in the order of their
//! epochs, each as the runs of its workers. Workers of one delta write different
//! keys, and their range deletions do not touch each other's entries; a later
//! delta's entries replace an earlier one's, and its range deletions remove them.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::{KeyRange, StateError};

/// A key with its new value, or `None`: deleted.
pub type RunEntry<'a> = (&'a [u8], Option<&'a [u8]>);

/// The longest key or value, in bytes.
pub const MAX_ENTRY_BYTES: usize = DELETED as usize - 1;

/// In place of a value's length.
const DELETED: u32 = u32::MAX;

/// Where an entry is in an arena: the key, and behind it the value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    start: usize,
    key: u32,
    value: u32,
}

/// Entries in order of arrival, in one buffer.
#[derive(Clone, Default, Debug)]
pub(super) struct Arena {
    bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
}

impl Arena {
    pub(super) fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        let entry = Entry {
            start: self.bytes.len(),
            key: length("key", key)?,
            value: value.map_or(Ok(DELETED), |value| length("value", value))?,
        };
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.entries.push(entry);
        Ok(())
    }

    pub(super) fn reserve(&mut self, entries: usize, bytes: usize) {
        self.entries.reserve(entries);
        self.bytes.reserve(bytes);
    }

    #[inline]
    pub(super) fn key(&self, entry: Entry) -> &[u8] {
        &self.bytes[entry.start..entry.start + entry.key as usize]
    }

    #[inline]
    fn get(&self, entry: Entry) -> RunEntry<'_> {
        let value = entry.start + entry.key as usize;
        let deleted = entry.value == DELETED;
        let value = (!deleted).then(|| &self.bytes[value..value + entry.value as usize]);
        (self.key(entry), value)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }
}

fn length(part: &'static str, bytes: &[u8]) -> Result<u32, StateError> {
    let too_long = || StateError::TooLong { part, bytes: bytes.len(), limit: MAX_ENTRY_BYTES };
    u32::try_from(bytes.len()).ok().filter(|l| *l != DELETED).ok_or_else(too_long)
}

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct SortedRun {
    /// The entries are sorted, each key once.
    arena: Arena,
    /// Sorted, apart from each other, none empty.
    ranges: Vec<KeyRange>,
}

impl SortedRun {
    /// `arena` is sorted, each key once; `ranges` are as they came.
    pub(super) fn new(arena: Arena, ranges: Vec<KeyRange>) -> Self {
        SortedRun { arena, ranges: coalesce(ranges) }
    }

    /// The entries in key order, each key once.
    #[must_use]
    pub fn entries(&self) -> RunEntries<'_> {
        RunEntries { arena: &self.arena, entries: self.arena.entries.iter() }
    }

    /// The range deletions: sorted, apart from each other, none empty.
    #[must_use]
    pub fn ranges(&self) -> &[KeyRange] {
        &self.ranges
    }

    /// Number of entries; range deletions are not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arena.entries.len()
    }

    /// Whether the run changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arena.entries.is_empty() && self.ranges.is_empty()
    }

    /// Bytes of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.bytes()
    }
}

impl PartialEq for SortedRun {
    fn eq(&self, other: &Self) -> bool {
        self.ranges == other.ranges && self.entries().eq(other.entries())
    }
}

impl Eq for SortedRun {}

/// The entries of a [`SortedRun`].
#[derive(Clone, Debug)]
pub struct RunEntries<'a> {
    arena: &'a Arena,
    entries: std::slice::Iter<'a, Entry>,
}

impl<'a> Iterator for RunEntries<'a> {
    type Item = RunEntry<'a>;

    fn next(&mut self) -> Option<RunEntry<'a>> {
        self.entries.next().map(|entry| self.arena.get(*entry))
    }
}

/// Sorts ranges, joins those that overlap or touch, and drops empty ones.
pub(super) fn coalesce(mut ranges: Vec<KeyRange>) -> Vec<KeyRange> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let joined = next.from <= kept.to;
        if joined && next.to > kept.to {
            kept.to = std::mem::take(&mut next.to);
        }
        joined
    });
    ranges
}

/// The run that means what `deltas` mean one after another: oldest first, each as
/// the runs of its workers. Should two workers write one key, the later run wins.
///
/// # Errors
/// None that a run could not have had.
pub fn merge_runs(deltas: &[Vec<SortedRun>]) -> Result<SortedRun, StateError> {
    let runs = || deltas.iter().flatten();
    if let Some(only) = runs().next().filter(|_| runs().count() == 1) {
        return Ok(only.clone());
    }
    let mut arena = Arena::default();
    let (entries, bytes) = runs()
        .fold((0, 0), |(entries, bytes), run| (entries + run.len(), bytes + run.arena.bytes.len()));
    arena.reserve(entries, bytes);
    for (key, value) in MergedEntries::new(deltas) {
        arena.push(key, value)?;
    }
    Ok(SortedRun { arena, ranges: merged_ranges(deltas) })
}

/// The range deletions of [`merge_runs`].
#[must_use]
pub fn merged_ranges(deltas: &[Vec<SortedRun>]) -> Vec<KeyRange> {
    coalesce(deltas.iter().flatten().flat_map(|run| run.ranges.iter().cloned()).collect())
}

/// The entries of [`merge_runs`], one by one and without copying them.
#[derive(Debug)]
pub struct MergedEntries<'a> {
    heads: BinaryHeap<Head<'a>>,
    /// Of each delta: what later deltas' range deletions remove from it, and how
    /// many of those ranges are behind the last key.
    removed: Vec<(Vec<KeyRange>, usize)>,
    last: Option<&'a [u8]>,
}

/// The next entry of a run.
#[derive(Debug)]
struct Head<'a> {
    key: &'a [u8],
    delta: usize,
    /// The position of the run among all.
    run: usize,
    from: &'a SortedRun,
    entry: usize,
}

impl Ord for Head<'_> {
    /// The heap gives its greatest: the smallest key, of its heads the latest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(self.key).then(self.run.cmp(&other.run))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}

impl<'a> MergedEntries<'a> {
    /// See [`merge_runs`].
    #[must_use]
    pub fn new(deltas: &'a [Vec<SortedRun>]) -> Self {
        let numbered =
            deltas.iter().enumerate().flat_map(|(d, runs)| runs.iter().map(move |r| (d, r)));
        let heads = numbered.enumerate().filter_map(|(run, (delta, from))| {
            let key = from.arena.key(*from.arena.entries.first()?);
            Some(Head { key, delta, run, from, entry: 0 })
        });
        let removed = (0..deltas.len()).map(|d| (merged_ranges(&deltas[d + 1..]), 0)).collect();
        MergedEntries { heads: heads.collect(), removed, last: None }
    }

    fn is_removed(&mut self, delta: usize, key: &[u8]) -> bool {
        let (ranges, behind) = &mut self.removed[delta];
        while ranges.get(*behind).is_some_and(|range| range.to.as_slice() <= key) {
            *behind += 1;
        }
        ranges.get(*behind).is_some_and(|range| range.contains(key))
    }
}

impl<'a> Iterator for MergedEntries<'a> {
    type Item = RunEntry<'a>;

    fn next(&mut self) -> Option<RunEntry<'a>> {
        loop {
            let head = self.heads.pop()?;
            let arena = &head.from.arena;
            if let Some(next) = arena.entries.get(head.entry + 1) {
                let key = arena.key(*next);
                self.heads.push(Head { key, entry: head.entry + 1, ..head });
            }
            let replaced = self.last == Some(head.key);
            self.last = Some(head.key);
            if !replaced && !self.is_removed(head.delta, head.key) {
                return Some(arena.get(arena.entries[head.entry]));
            }
        }
    }
}
