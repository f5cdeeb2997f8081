//! The event sequence: which event is what, when it happens, and who reads it.
//!
//! Events come in blocks of 50: one person, three auctions, 46 bids. Block `b`
//! belongs to split `b mod splits`, so splits stay within a block of each other in
//! event time, and the place of a split's record in the sequence is arithmetic:
//!
//! ```text
//! block      0          1          2          3        ...
//!         P AAA B*46  P AAA B*46  P AAA B*46  P AAA B*46
//! split      0          1          0          1             (2 splits)
//! bid ordinal of split 0:  0..46             46..92
//! ```
//!
//! Invariant: within a split, event numbers rise with the ordinal.

use std::ops::Range;

/// Events of a block.
pub const BLOCK: u64 = 50;
/// Persons of a block: the first event.
pub const PERSONS: u64 = 1;
/// Auctions of a block: the events after the person.
pub const AUCTIONS: u64 = 3;

/// The sequence ends before this event at the latest: ordinals have 44 bits.
const EVENTS_MAX: u64 = 1 << 44;
/// The sequence ends where its event time would leave the year 9999 (microseconds).
const TIME_END: i64 = 253_402_300_800_000_000;

/// What one reads of the sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Table {
    Person,
    Auction,
    Bid,
    /// All events, one row each.
    All,
}

impl Table {
    /// Where the table's events are within a block.
    #[must_use]
    pub fn offsets(self) -> Range<u64> {
        match self {
            Table::Person => 0..PERSONS,
            Table::Auction => PERSONS..PERSONS + AUCTIONS,
            Table::Bid => PERSONS + AUCTIONS..BLOCK,
            Table::All => 0..BLOCK,
        }
    }
}

/// The sequence of one source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sequence {
    /// Microseconds since the Unix epoch of event 0.
    base: i64,
    /// Nanoseconds of event time between two events.
    gap_ns: u64,
    /// Number of events.
    events: u64,
}

impl Sequence {
    /// `events`: 0 for as many as there can be. `None`: `base` is not a time of the
    /// years up to 9999.
    #[must_use]
    pub fn new(base: i64, gap_ns: u64, events: u64) -> Option<Self> {
        let span = u64::try_from(TIME_END.checked_sub(base)?).ok()?;
        let in_time = u128::from(span) * 1000 / u128::from(gap_ns.max(1));
        let most = u64::try_from(in_time).unwrap_or(EVENTS_MAX).min(EVENTS_MAX);
        let events = if events == 0 { most } else { events.min(most) };
        (span > 0).then_some(Sequence { base, gap_ns, events })
    }

    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The event time of event `number`, in microseconds, rounded down.
    #[inline]
    #[must_use]
    pub fn time(&self, number: u64) -> i64 {
        self.base + (number / 1000 * self.gap_ns + number % 1000 * self.gap_ns / 1000) as i64
    }
}

/// Consecutive events of one block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    pub block: u64,
    /// Number of the first event.
    pub first: u64,
    pub len: u64,
}

impl Run {
    /// The events' numbers.
    #[inline]
    #[must_use]
    pub fn events(self) -> Range<u64> {
        self.first..self.first + self.len
    }
}

/// The records of one table in one split.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    pub table: Table,
    pub split: u64,
    pub splits: u64,
}

impl Layout {
    /// Number of the event that is record `ordinal`.
    #[must_use]
    pub fn event(&self, ordinal: u64) -> u64 {
        let offsets = self.table.offsets();
        let per_block = offsets.end - offsets.start;
        let block = ordinal / per_block * self.splits + self.split;
        block * BLOCK + offsets.start + ordinal % per_block
    }

    /// How many records have event numbers below `event`.
    #[must_use]
    pub fn records_before(&self, event: u64) -> u64 {
        let offsets = self.table.offsets();
        let per_block = offsets.end - offsets.start;
        let (block, offset) = (event / BLOCK, event % BLOCK);
        let whole = (block + self.splits - 1 - self.split) / self.splits;
        let begun = block % self.splits == self.split;
        let part = if begun { offset.clamp(offsets.start, offsets.end) - offsets.start } else { 0 };
        whole * per_block + part
    }

    /// Puts the events of records `ordinals` into `runs`.
    pub fn runs(&self, ordinals: Range<u64>, runs: &mut Vec<Run>) {
        runs.clear();
        let offsets = self.table.offsets();
        let per_block = offsets.end - offsets.start;
        let mut ordinal = ordinals.start;
        while ordinal < ordinals.end {
            let within = ordinal % per_block;
            let len = (per_block - within).min(ordinals.end - ordinal);
            let block = ordinal / per_block * self.splits + self.split;
            runs.push(Run { block, first: block * BLOCK + offsets.start + within, len });
            ordinal += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: [Table; 4] = [Table::Person, Table::Auction, Table::Bid, Table::All];

    #[test]
    fn splits_together_are_the_sequence() {
        for splits in [1, 2, 3, 7] {
            for table in TABLES {
                for events in [0, 1, 3, 4, 49, 50, 51, 149, 150, 1234] {
                    let mut all = Vec::new();
                    for split in 0..splits {
                        let layout = Layout { table, split, splits };
                        let count = layout.records_before(events);
                        let numbers: Vec<_> = (0..count).map(|o| layout.event(o)).collect();
                        assert!(numbers.is_sorted());
                        all.extend(numbers);
                    }
                    all.sort_unstable();
                    let offsets = table.offsets();
                    let expected: Vec<_> =
                        (0..events).filter(|n| offsets.contains(&(n % BLOCK))).collect();
                    assert_eq!(all, expected, "{table:?} {splits} {events}");
                }
            }
        }
    }

    #[test]
    fn runs_are_the_events_one_by_one() {
        for table in TABLES {
            let layout = Layout { table, split: 1, splits: 3 };
            let mut runs = Vec::new();
            for (start, end) in [(0, 0), (0, 1), (3, 200), (45, 47), (46, 92), (49, 101)] {
                layout.runs(start..end, &mut runs);
                let flat: Vec<_> = runs.iter().flat_map(|r| r.events()).collect();
                let single: Vec<_> = (start..end).map(|o| layout.event(o)).collect();
                assert_eq!(flat, single, "{table:?} {start} {end}");
                assert!(runs.iter().all(|r| r.events().all(|n| n / BLOCK == r.block)));
            }
        }
    }

    #[test]
    fn times() {
        let sequence = Sequence::new(1_000, 1_500, 0).unwrap();
        let times: Vec<_> = (0..4).map(|n| sequence.time(n)).collect();
        assert_eq!(times, [1_000, 1_001, 1_003, 1_004]);
        for number in [999, 1_000, 1_001, 12_345_678] {
            let exact = 1_000 + (u128::from(number) * 1_500 / 1000) as i64;
            assert_eq!(sequence.time(number), exact);
        }
        let slow = Sequence::new(0, 1_000_000_000, 0).unwrap();
        assert!(slow.time(slow.events() - 1) < TIME_END);
        assert_eq!(slow.time(slow.events()), TIME_END);
        assert_eq!(Sequence::new(TIME_END, 1, 0), None);
        assert_eq!(Sequence::new(0, 1, 70).unwrap().events(), 70);
    }
}
