//! Operator state: what a job knows, as bytes that outlive the process.
//!
//! Operators hold their working state in their own tables. What changed since the
//! last checkpoint they write, at its barrier, to a [`Delta`]; a storage thread
//! makes files of it; and once the checkpoint is committed, and only then, the
//! node's [`StateBackend`] takes the files in. So the backend holds exactly a
//! committed state, and the files are what a checkpoint adds:
//!
//! ```text
//!  operator           worker          storage thread                    backend
//!  columns ─StateTable─► Delta ─into_runs─► SortedRuns ─write_run─► file ─ingest─► entries
//!  columns ◄──────────────────────StateTable::read◄─────────────────────scan──────────┘
//!                                                         └─► uploaded, named by the commit
//! ```
//!
//! A row's key is laid out by [`KeyLayout`]: table, slice of time, vnode, hash, key
//! columns. Workers own vnodes, and so a node's entries may be dealt to any number
//! of workers. Everything that is written down ([`codec`], [`KeyLayout`], the names
//! in [`Family`]) is ours, versioned, and never changes its meaning.
//!
//! Invariants: a delta has full values, never differences, so that taking a file
//! in twice does no harm; the range deletions of a delta apply to what was before
//! it, never to its own entries; no stored byte can make a reader panic.
//!
//! Deliberately absent: which files make a checkpoint, where they are kept, and
//! when they are committed.

pub mod backend;
pub mod codec;
mod delta;
mod error;
mod family;
pub mod file;
mod key;
mod model;
mod plain;
#[cfg(feature = "rocksdb")]
mod rocks;
mod run;
mod sort;
mod table;

#[cfg(test)]
mod tests;

pub use backend::{FamilyStats, IngestFile, OnValue, StateBackend, StateCursor, StateEntry};
pub use codec::{EncodedRows, KeyCodec, ValueCodec};
pub use delta::{Delta, SortedRuns};
pub use error::StateError;
pub use family::Family;
pub use file::{RunFile, RunFormat, RunSource, write_run, write_sorted_run};
pub use key::{KeyLayout, KeyParts, KeyRange};
pub use model::ModelBackend;
pub use plain::{PlainFormat, read_plain};
#[cfg(feature = "rocksdb")]
pub use rocks::{RocksBackend, RocksConfig, SstFormat};
pub use run::{
    MAX_ENTRY_BYTES, MergedEntries, RunEntries, RunEntry, SortedRun, merge_runs, merged_ranges,
};
pub use table::{READ_BYTES, READ_ROWS, StateRows, StateTable};
