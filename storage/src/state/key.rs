//! The layout of stored keys.
//!
//! ```text
//! [table u32][slice i64]?[vnode u16][hash u64]?[key columns]
//!             sliced tables          tables of point access
//! ```
//!
//! All numbers are big-endian, the slice with its sign bit flipped, so that bytes
//! sort as the numbers do. With this layout a table, a slice of a table, and the
//! vnodes of a table or slice are each one range of keys: dropping and expiring
//! are one range deletion, a scan is one iterator. The hash, where there is one,
//! is the hash of the row's distribution key; the vnode always is of that hash.

use std::ops::Range;

use tidemill_types::vnode::vnode_of;
use tidemill_types::{TableId, VNODE_COUNT};

use super::StateError;

const TABLE_BYTES: usize = 4;
const SLICE_BYTES: usize = 8;
const VNODE_BYTES: usize = 2;
const HASH_BYTES: usize = 8;

/// A half-open range of keys. It is empty where `from >= to`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct KeyRange {
    pub from: Vec<u8>,
    pub to: Vec<u8>,
}

impl KeyRange {
    /// Whether `key` is in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.from.as_slice() <= key && key < self.to.as_slice()
    }

    /// Whether no key is in the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }
}

/// How the keys of one table begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyLayout {
    table: TableId,
    sliced: bool,
    hashed: bool,
}

/// A stored key, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyParts<'a> {
    /// In sliced tables.
    pub slice: Option<i64>,
    pub vnode: u16,
    /// In tables of point access.
    pub hash: Option<u64>,
    /// The encoded key columns.
    pub columns: &'a [u8],
}

impl KeyLayout {
    /// `table` is below `u32::MAX`, which is the end of all tables.
    ///
    /// # Errors
    /// [`StateError::Columns`] for `u32::MAX`.
    pub fn new(table: TableId, sliced: bool, hashed: bool) -> Result<Self, StateError> {
        if table.0 == u32::MAX {
            return Err(StateError::Columns {
                expected: "a table below the last number".to_owned(),
                found: table.to_string(),
            });
        }
        Ok(KeyLayout { table, sliced, hashed })
    }

    #[must_use]
    pub fn table(&self) -> TableId {
        self.table
    }

    #[must_use]
    pub fn sliced(&self) -> bool {
        self.sliced
    }

    #[must_use]
    pub fn hashed(&self) -> bool {
        self.hashed
    }

    /// Bytes before the key columns.
    #[must_use]
    pub fn prefix_len(&self) -> usize {
        TABLE_BYTES
            + VNODE_BYTES
            + if self.sliced { SLICE_BYTES } else { 0 }
            + if self.hashed { HASH_BYTES } else { 0 }
    }

    /// Writes what comes before the key columns to the first
    /// [`KeyLayout::prefix_len`] bytes of `key`, which is no shorter. `slice` is used
    /// in sliced tables only.
    pub fn write_prefix(&self, slice: i64, hash: u64, key: &mut [u8]) {
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            key[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&self.table.0.to_be_bytes());
        if self.sliced {
            put(&ordered_slice(slice));
        }
        put(&vnode_of(hash).to_be_bytes());
        if self.hashed {
            put(&hash.to_be_bytes());
        }
    }

    /// Takes a stored key of this table apart.
    ///
    /// # Errors
    /// [`StateError::Damaged`] for a key of another table, a key that is too
    /// short, and a vnode that does not exist or is not the hash's.
    pub fn split<'a>(&self, key: &'a [u8]) -> Result<KeyParts<'a>, StateError> {
        let short = || StateError::damaged(format!("a key of {} is too short", self.table));
        let (table, mut rest) = key.split_first_chunk::<TABLE_BYTES>().ok_or_else(short)?;
        if u32::from_be_bytes(*table) != self.table.0 {
            return Err(StateError::damaged(format!("a key of another table in {}", self.table)));
        }
        let mut slice = None;
        if self.sliced {
            let (bytes, after) = rest.split_first_chunk::<SLICE_BYTES>().ok_or_else(short)?;
            slice = Some((u64::from_be_bytes(*bytes) ^ (1 << 63)) as i64);
            rest = after;
        }
        let (vnode, mut rest) = rest.split_first_chunk::<VNODE_BYTES>().ok_or_else(short)?;
        let vnode = u16::from_be_bytes(*vnode);
        let mut hash = None;
        if self.hashed {
            let (bytes, after) = rest.split_first_chunk::<HASH_BYTES>().ok_or_else(short)?;
            hash = Some(u64::from_be_bytes(*bytes));
            rest = after;
        }
        if u32::from(vnode) >= VNODE_COUNT || hash.is_some_and(|h| vnode_of(h) != vnode) {
            return Err(StateError::damaged(format!("a key of {} has a wrong vnode", self.table)));
        }
        Ok(KeyParts { slice, vnode, hash, columns: rest })
    }

    /// All keys of the table.
    #[must_use]
    pub fn table_range(&self) -> KeyRange {
        prefix_range(self.table.0.to_be_bytes().to_vec())
    }

    /// All keys of a slice; of an unsliced table, all keys.
    #[must_use]
    pub fn slice_range(&self, slice: i64) -> KeyRange {
        prefix_range(self.slice_prefix(slice))
    }

    /// All keys of `last` and of the slices before it; of an unsliced table, all
    /// keys.
    #[must_use]
    pub fn slices_through(&self, last: i64) -> KeyRange {
        KeyRange { from: self.table_range().from, to: self.slice_range(last).to }
    }

    /// All keys of `first` and of the slices after it; of an unsliced table, all
    /// keys.
    #[must_use]
    pub fn slices_from(&self, first: i64) -> KeyRange {
        KeyRange { from: self.slice_range(first).from, to: self.table_range().to }
    }

    /// The keys of `vnodes`: in a sliced table those of one slice. `slice` is used
    /// in sliced tables only.
    #[must_use]
    pub fn vnode_range(&self, slice: i64, vnodes: &Range<u16>) -> KeyRange {
        let bound = |vnode: u16| {
            let mut key = self.slice_prefix(slice);
            key.extend_from_slice(&vnode.to_be_bytes());
            key
        };
        KeyRange { from: bound(vnodes.start), to: bound(vnodes.end) }
    }

    fn slice_prefix(&self, slice: i64) -> Vec<u8> {
        let mut prefix = self.table.0.to_be_bytes().to_vec();
        if self.sliced {
            prefix.extend_from_slice(&ordered_slice(slice));
        }
        prefix
    }
}

fn ordered_slice(slice: i64) -> [u8; SLICE_BYTES] {
    (slice as u64 ^ (1 << 63)).to_be_bytes()
}

/// The keys that begin with `prefix`, which is not all ones.
fn prefix_range(prefix: Vec<u8>) -> KeyRange {
    let mut to = prefix.clone();
    while to.last() == Some(&u8::MAX) {
        to.pop();
    }
    if let Some(last) = to.last_mut() {
        *last += 1;
    }
    KeyRange { from: prefix, to }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(layout: &KeyLayout, slice: i64, hash: u64, columns: &[u8]) -> Vec<u8> {
        let mut key = vec![0; layout.prefix_len()];
        layout.write_prefix(slice, hash, &mut key);
        key.extend_from_slice(columns);
        key
    }

    /// The layout is a format: these bytes may never change.
    #[test]
    fn the_layout_is_pinned() {
        let hash = 0x0123_4567_89AB_CDEF;
        let full = KeyLayout::new(TableId(7), true, true).unwrap();
        assert_eq!(
            key(&full, -2, hash, b"k"),
            b"\0\0\0\x07\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFE\x03\x45\x01\x23\x45\x67\x89\xAB\xCD\xEFk"
        );
        let bare = KeyLayout::new(TableId(7), false, false).unwrap();
        assert_eq!(key(&bare, -2, hash, b"k"), b"\0\0\0\x07\x03\x45k");
    }

    #[test]
    fn ranges_hold_what_they_say() {
        let slices = [i64::MIN, -1, 0, 1, i64::MAX];
        let hashes = [0, 5 << 40, 1023 << 40, u64::MAX];
        for table in [0, 1, 255, 0x00FF_FFFF, u32::MAX - 1] {
            for (sliced, hashed) in [(false, false), (false, true), (true, false), (true, true)] {
                let layout = KeyLayout::new(TableId(table), sliced, hashed).unwrap();
                for slice in slices {
                    for hash in hashes {
                        check_ranges(&layout, slice, hash, &slices);
                    }
                }
            }
        }
    }

    fn check_ranges(layout: &KeyLayout, slice: i64, hash: u64, slices: &[i64]) {
        let key = key(layout, slice, hash, b"\xFF\xFF");
        let parts = layout.split(&key).unwrap();
        assert_eq!(parts.slice, layout.sliced().then_some(slice));
        assert_eq!(parts.hash, layout.hashed().then_some(hash));
        assert_eq!((parts.vnode, parts.columns), (vnode_of(hash), &b"\xFF\xFF"[..]));
        assert!(layout.table_range().contains(&key));
        let next = KeyLayout { table: TableId(layout.table.0 + 1), ..*layout };
        assert!(!next.table_range().contains(&key));
        assert!(next.split(&key).is_err());
        for other in slices {
            let sliced = layout.sliced();
            assert_eq!(layout.slice_range(*other).contains(&key), !sliced || *other == slice);
            assert_eq!(layout.slices_through(*other).contains(&key), !sliced || slice <= *other);
            assert_eq!(layout.slices_from(*other).contains(&key), !sliced || slice >= *other);
            for vnodes in [0..1024, 0..0, 5..6, 6..1023, 1023..1024] {
                let range = layout.vnode_range(*other, &vnodes);
                let inside = (!sliced || *other == slice) && vnodes.contains(&vnode_of(hash));
                assert_eq!(range.contains(&key), inside);
                assert_eq!(range.is_empty(), vnodes.is_empty());
            }
        }
    }

    #[test]
    fn damaged_keys_are_told() {
        let layout = KeyLayout::new(TableId(7), true, true).unwrap();
        let good = key(&layout, 3, 99, b"");
        for length in 0..good.len() {
            assert!(layout.split(&good[..length]).is_err());
        }
        let mut wrong = good;
        wrong[13] ^= 1;
        assert!(layout.split(&wrong).is_err());
        assert!(KeyLayout::new(TableId(u32::MAX), false, false).is_err());
    }
}
