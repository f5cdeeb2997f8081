//! What a checkpoint consists of.

use std::fmt;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

/// XXH3-128 of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum(pub [u8; 16]);

impl Checksum {
    /// The checksum of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_number(xxh3_128(bytes))
    }

    pub(super) fn from_number(number: u128) -> Self {
        Checksum(number.to_le_bytes())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_le_bytes(self.0))
    }
}

/// A file in the store, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRef {
    /// In the store; tells the generation.
    pub path: String,
    /// Which kind of state it holds.
    pub family: String,
    /// Bytes.
    pub length: u64,
    pub checksum: Checksum,
    /// The smallest and the largest key in it.
    pub first_key: Bytes,
    pub last_key: Bytes,
    /// Keys in it, deleted ones included.
    pub entries: u64,
}

/// How far a split of a source has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitPosition {
    /// The operator that reads it.
    pub operator: u64,
    /// The source's object.
    pub source: u64,
    pub split: u32,
    pub split_name: String,
    /// The next record's ordinal.
    pub offset: u64,
    /// Records that were rejected so far.
    pub rejected: u64,
    /// The split's own watermark, in microseconds since 1970.
    pub watermark: i64,
}

/// What an operator needs besides its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorProgress {
    pub operator: u64,
    /// Microseconds since 1970.
    pub watermarks: Vec<i64>,
    pub counters: Vec<u64>,
    /// In the operator's own encoding.
    pub opaque: Bytes,
}

/// A committed state of a job group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub group: u64,
    /// Rises within the group; numbers may be left out.
    pub checkpoint: u64,
    /// The owner's term.
    pub term: u64,
    /// The epoch whose end this is the state of.
    pub epoch: u64,
    /// The checkpoint that this one builds on.
    pub parent: Option<u64>,
    /// Workers that ran the group.
    pub parallelism: u32,
    /// Microseconds since 1970, by the owner's clock; only shown.
    pub created_at_us: i64,
    /// The files of the base.
    pub base: Vec<FileRef>,
    /// What changed since, oldest first: of two with one key, the later holds.
    pub deltas: Vec<FileRef>,
    pub sources: Vec<SplitPosition>,
    pub operators: Vec<OperatorProgress>,
    /// All sources have ended: there is nothing to go on with.
    pub finished: bool,
    /// The stateful skeleton of the plan, in the catalog's encoding.
    pub skeleton: Bytes,
}

impl Manifest {
    /// Every file that the state needs.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        self.base.iter().chain(&self.deltas)
    }
}
