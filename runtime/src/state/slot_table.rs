//! A hash table from keys to slots, dense numbers from 0 in order of arrival.
//!
//! ```text
//!   index   [ slot | 32 bits of hash ]  8 bytes a bucket: growing the index and
//!           [ slot | 32 bits of hash ]  most mismatches are settled in it
//!                |
//!   keys    [ .......... slot ......... ]
//!   tags    [ .......... slot ......... ]  empty while every tag is 0
//!   hashes  [ .......... slot ......... ]  the distribution key's, for output
//! ```
//!
//! The hash comes from outside, 64 bits of the distribution key as
//! [`tidemill_types::vnode::hash_columns`] makes it, and is kept per slot: the
//! exchange behind routes by it, and the vnode of a row of state is taken from it.
//! Equal keys must come with equal hashes.
//!
//! Invariant: slots `0 .. len` are all in use; a slot keeps its key until
//! [`SlotTable::clear`].

use std::ops::Range;

use arrow_row::Rows;
use hashbrown::HashTable;

use super::keys::{BatchValues, ByteKeys, KeyBatch, StoredKeys};
use crate::operators::OperatorError;

/// See the module.
#[derive(Debug)]
pub struct SlotTable {
    index: HashTable<Entry>,
    keys: StoredKeys,
    tags: Vec<u32>,
    hashes: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    slot: u32,
    fragment: u32,
}

impl Entry {
    fn index_hash(&self) -> u64 {
        spread(self.fragment)
    }
}

/// The part of a hash that the index keeps. Both halves go in: the vnode bits
/// in the upper one vary little within a worker.
#[inline]
fn fragment(hash: u64, tag: u32) -> u32 {
    let mixed = hash ^ u64::from(tag).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (mixed ^ (mixed >> 32)) as u32
}

/// A hash for the index from the part that is kept: the low bits, which choose
/// the bucket, are as good as the fragment's, the top seven depend on all of it.
#[inline]
fn spread(fragment: u32) -> u64 {
    u64::from(fragment).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl SlotTable {
    pub(super) fn new(keys: StoredKeys) -> Self {
        SlotTable { index: HashTable::new(), keys, tags: Vec::new(), hashes: Vec::new() }
    }

    /// How many keys there are; also the next slot.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Hash of each slot's distribution key.
    #[must_use]
    pub fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// Tag of each slot; empty: all 0.
    #[must_use]
    pub fn tags(&self) -> &[u32] {
        &self.tags
    }

    pub(super) fn keys(&self) -> &StoredKeys {
        &self.keys
    }

    /// Appends to `slots` the slot of each of `rows` of `batch`, making new slots
    /// for new keys. `hashes` are those of the whole batch.
    pub fn intern(
        &mut self,
        batch: &KeyBatch,
        hashes: &[u64],
        rows: Range<usize>,
        slots: &mut Vec<u32>,
    ) -> Result<(), OperatorError> {
        if self.len() + rows.len() > u32::MAX as usize {
            return Err(OperatorError::internal("a slot table has more than 2^32 - 1 keys"));
        }
        let tagged = !self.tags.is_empty() || !batch.tags.is_empty();
        if tagged {
            self.tags.resize(self.len(), 0);
        }
        slots.reserve(rows.len());
        let SlotTable { index, keys, tags, hashes: slot_hashes } = self;
        let mut probe = Probe { index, tags, slot_hashes, batch, hashes, rows, slots };
        match (keys, &batch.values) {
            (StoredKeys::Empty, BatchValues::Empty) => probe.no_columns(),
            (StoredKeys::One(stored), BatchValues::One(words)) => probe.run(tagged, stored, words),
            (StoredKeys::Two(stored), BatchValues::Two(words)) => probe.run(tagged, stored, words),
            (StoredKeys::Bytes(stored), BatchValues::Bytes(rows)) => {
                probe.run(tagged, stored, rows);
            }
            _ => return Err(OperatorError::internal("keys of another table")),
        }
        Ok(())
    }

    /// Forgets every key; memory is kept for the next ones.
    pub fn clear(&mut self) {
        self.index.clear();
        self.keys.clear();
        self.tags.clear();
        self.hashes.clear();
    }

    /// Bytes of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.index.allocation_size()
            + self.keys.bytes()
            + self.tags.capacity() * 4
            + self.hashes.capacity() * 8
    }
}

/// How keys of one kind are compared and added.
trait Store {
    type Batch: ?Sized;
    fn equal(&self, slot: u32, batch: &Self::Batch, row: usize) -> bool;
    fn add(&mut self, batch: &Self::Batch, row: usize);
}

impl<const N: usize> Store for Vec<[u64; N]> {
    type Batch = Vec<[u64; N]>;

    #[inline]
    fn equal(&self, slot: u32, batch: &Self::Batch, row: usize) -> bool {
        self[slot as usize] == batch[row]
    }

    #[inline]
    fn add(&mut self, batch: &Self::Batch, row: usize) {
        self.push(batch[row]);
    }
}

impl Store for ByteKeys {
    type Batch = Rows;

    #[inline]
    fn equal(&self, slot: u32, batch: &Rows, row: usize) -> bool {
        self.get(slot as usize) == batch.row(row).data()
    }

    fn add(&mut self, batch: &Rows, row: usize) {
        self.push(batch.row(row).data());
    }
}

/// One call of [`SlotTable::intern`].
struct Probe<'a> {
    index: &'a mut HashTable<Entry>,
    tags: &'a mut Vec<u32>,
    slot_hashes: &'a mut Vec<u64>,
    batch: &'a KeyBatch,
    hashes: &'a [u64],
    rows: Range<usize>,
    slots: &'a mut Vec<u32>,
}

impl Probe<'_> {
    fn run<S: Store>(&mut self, tagged: bool, stored: &mut S, batch: &S::Batch) {
        if tagged {
            self.look_up::<S, true>(stored, batch);
        } else {
            self.look_up::<S, false>(stored, batch);
        }
    }

    fn look_up<S: Store, const TAGGED: bool>(&mut self, stored: &mut S, batch: &S::Batch) {
        // Local names, so that the loop need not read the fields anew after
        // every write.
        let Probe { index, tags, slot_hashes, batch: KeyBatch { tags: batch_tags, .. }, .. } = self;
        let hashes = &self.hashes[self.rows.clone()];
        let slots = self.rows.clone().zip(hashes).map(|(row, hash)| {
            let tag = if TAGGED { batch_tags.get(row).copied().unwrap_or(0) } else { 0 };
            let fragment = fragment(*hash, tag);
            let found = index.find(spread(fragment), |entry| {
                entry.fragment == fragment
                    && stored.equal(entry.slot, batch, row)
                    && (!TAGGED || tags[entry.slot as usize] == tag)
            });
            match found {
                Some(entry) => entry.slot,
                None => {
                    stored.add(batch, row);
                    if TAGGED {
                        tags.push(tag);
                    }
                    new_slot(index, slot_hashes, *hash, fragment)
                }
            }
        });
        self.slots.extend(slots);
    }

    /// Without columns only the tag makes a difference, and it rarely changes
    /// from one row to the next.
    fn no_columns(&mut self) {
        let mut last: Option<(u32, u32)> = None;
        for row in self.rows.clone() {
            let tag = self.tag(row);
            let slot = match last {
                Some((last_tag, slot)) if last_tag == tag => slot,
                _ => self.slot_of_tag(tag, self.hashes[row]),
            };
            last = Some((tag, slot));
            self.slots.push(slot);
        }
    }

    fn slot_of_tag(&mut self, tag: u32, hash: u64) -> u32 {
        let fragment = fragment(hash, tag);
        let tags = &*self.tags;
        let same = |e: &Entry| tags.get(e.slot as usize).copied().unwrap_or(0) == tag;
        match self.index.find(spread(fragment), same) {
            Some(entry) => entry.slot,
            None => {
                if tag != 0 || !self.tags.is_empty() {
                    self.tags.resize(self.slot_hashes.len(), 0);
                    self.tags.push(tag);
                }
                new_slot(self.index, self.slot_hashes, hash, fragment)
            }
        }
    }

    #[inline]
    fn tag(&self, row: usize) -> u32 {
        self.batch.tags.get(row).copied().unwrap_or(0)
    }
}

#[inline]
fn new_slot(
    index: &mut HashTable<Entry>,
    slot_hashes: &mut Vec<u64>,
    hash: u64,
    fragment: u32,
) -> u32 {
    let slot = slot_hashes.len() as u32;
    slot_hashes.push(hash);
    index.insert_unique(spread(fragment), Entry { slot, fragment }, Entry::index_hash);
    slot
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int16Array,
        Int64Array, StringViewArray,
    };
    use arrow::datatypes::DataType;
    use arrow::util::display::array_value_to_string;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    use tidemill_types::vnode::hash_columns;

    use super::super::keys::{KeyEncoder, own_part, tag_of};
    use super::*;
    use arrow::array::Array;

    fn column(kind: usize, rng: &mut SmallRng, rows: usize, range: i64) -> ArrayRef {
        let mut values = (0..rows).map(|_| {
            let v = rng.random_range(-range..range);
            (rng.random_range(0..6) > 0).then_some(v)
        });
        match kind {
            0 => Arc::new(values.collect::<Int64Array>()),
            1 => Arc::new(values.map(|v| v.map(|v| v as i16)).collect::<Int16Array>()),
            2 => Arc::new(values.map(|v| v.map(|v| v as f64 / 4.0)).collect::<Float64Array>()),
            3 => Arc::new(values.map(|v| v.map(|v| v as f32 / 4.0)).collect::<Float32Array>()),
            4 => Arc::new(values.map(|v| v.map(i128::from)).collect::<Decimal128Array>()),
            5 => Arc::new(values.map(|v| v.map(|v| v > 0)).collect::<BooleanArray>()),
            _ => Arc::new(
                values.by_ref().map(|v| v.map(|v| v.to_string())).collect::<StringViewArray>(),
            ),
        }
    }

    /// Keys as text in an ordinary map.
    type Twin = HashMap<(u32, Vec<Option<String>>), u32>;

    fn key(columns: &[ArrayRef], row: usize) -> Vec<Option<String>> {
        let one = |c: &ArrayRef| c.is_valid(row).then(|| array_value_to_string(c, row).unwrap());
        columns.iter().map(one).collect()
    }

    fn agrees_with_a_map(seed: u64) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let kinds: Vec<usize> =
            (0..rng.random_range(0..4)).map(|_| rng.random_range(0..7)).collect();
        let range = [1, 20, 10_000][rng.random_range(0..3)];
        let tagged = rng.random_range(0..3);
        eprintln!("seed {seed}: kinds {kinds:?}, range {range}, tagged {tagged}");
        let types: Vec<DataType> =
            kinds.iter().map(|k| column(*k, &mut rng, 0, 1).data_type().clone()).collect();
        let mut encoder = KeyEncoder::new(types).unwrap();
        let mut table = encoder.table();
        let mut twin = Twin::new();
        let (mut hashes, mut slots) = (Vec::new(), Vec::new());
        for _ in 0..rng.random_range(1..6) {
            let rows = rng.random_range(0..400);
            let columns: Vec<ArrayRef> =
                kinds.iter().map(|k| column(*k, &mut rng, rows, range)).collect();
            // Some batches of a tagged table have no tags.
            let tags: Vec<u32> = match tagged {
                0 => vec![],
                _ if rng.random_range(0..3) == 0 => vec![],
                _ => (0..rows).map(|_| tag_of(rng.random_range(0..3))).collect(),
            };
            hash_columns(&columns, rows, &mut hashes).unwrap();
            let batch = encoder.encode(&columns, rows, &tags).unwrap();
            slots.clear();
            let cut = rows / 3;
            table.intern(batch, &hashes, 0..cut, &mut slots).unwrap();
            table.intern(batch, &hashes, cut..rows, &mut slots).unwrap();
            for row in 0..rows {
                let own = tags.get(row).map_or(0, |t| own_part(*t));
                let next = twin.len() as u32;
                let expected = *twin.entry((own, key(&columns, row))).or_insert(next);
                assert_eq!(slots[row], expected, "seed {seed}, row {row}");
                assert_eq!(table.hashes()[expected as usize], hashes[row]);
            }
        }
        holds(&encoder, &table, &twin);
        let copy = copied(&mut encoder, &table);
        holds(&encoder, &copy, &twin);
        table.clear();
        assert_eq!(table.len(), 0);
    }

    /// The table's keys, decoded, are the twin's.
    fn holds(encoder: &KeyEncoder, table: &SlotTable, twin: &Twin) {
        assert_eq!(table.len(), twin.len());
        let all: Vec<u32> = (0..table.len() as u32).rev().collect();
        let columns = encoder.decode(table, &all).unwrap();
        for (row, slot) in all.iter().enumerate() {
            let own = table.tags().get(*slot as usize).map_or(0, |t| own_part(*t));
            assert_eq!(twin.get(&(own, key(&columns, row))), Some(slot));
        }
    }

    fn copied(encoder: &mut KeyEncoder, table: &SlotTable) -> SlotTable {
        let mut copy = encoder.table();
        let mut slots = Vec::new();
        let batch = encoder.copy_from(table, 0..table.len()).unwrap();
        copy.intern(batch, table.hashes(), 0..table.len(), &mut slots).unwrap();
        copy
    }

    #[test]
    fn slots_are_those_of_an_ordinary_map() {
        (0..300).for_each(agrees_with_a_map);
    }

    #[test]
    fn zeros_are_one_key_and_so_are_nans() {
        let floats: ArrayRef =
            Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN, 1.0]));
        let text: ArrayRef = Arc::new(StringViewArray::from(vec!["x"; 5]));
        for columns in [vec![Arc::clone(&floats)], vec![floats, text]] {
            let types = columns.iter().map(|c| c.data_type().clone()).collect();
            let mut encoder = KeyEncoder::new(types).unwrap();
            let mut table = encoder.table();
            let (mut hashes, mut slots) = (Vec::new(), Vec::new());
            hash_columns(&columns, 5, &mut hashes).unwrap();
            let batch = encoder.encode(&columns, 5, &[]).unwrap();
            table.intern(batch, &hashes, 0..5, &mut slots).unwrap();
            assert_eq!(slots, [0, 0, 1, 1, 2]);
        }
    }

    #[test]
    fn equal_hashes_do_not_make_equal_keys() {
        let mut encoder = KeyEncoder::new(vec![DataType::Int64]).unwrap();
        let mut table = encoder.table();
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
        let batch = encoder.encode(&[keys], 1000, &[]).unwrap();
        let mut slots = Vec::new();
        table.intern(batch, &[7; 1000], 0..1000, &mut slots).unwrap();
        table.intern(batch, &[7; 1000], 0..1000, &mut slots).unwrap();
        let expected: Vec<u32> = (0..1000).chain(0..1000).collect();
        assert_eq!(slots, expected);
    }
}
