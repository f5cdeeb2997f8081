//! State in RocksDB: what a node runs on.
//!
//! One database per node, one column family per [`Family`]. Entries enter only as
//! files of sorted keys, which RocksDB links into its tree: no log, no memtable, no
//! second write. What a checkpoint uploads and what the database reads are the same
//! bytes.
//!
//! The database is a cache of the committed files. It is never trusted after the
//! process has ended: taking files in is not atomic over families, so
//! [`RocksBackend::create`] begins with an empty one, and whoever restores a node
//! takes the committed files in again.
//!
//! ```text
//!  directory/db         the database
//!  directory/incoming   links to files that are being taken in
//! ```

mod options;
mod sst;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::properties::{ESTIMATE_NUM_KEYS, LIVE_SST_FILES_SIZE};
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBRawIterator, ErrorKind, IngestExternalFileOptions,
    ReadOptions, WriteOptions,
};

pub use options::RocksConfig;
pub use sst::SstFormat;

use super::backend::{FamilyStats, IngestFile, OnValue, StateBackend, StateCursor, StateEntry};
use super::file::RunFormat;
use super::{Family, KeyRange, StateError};

/// Keys that are looked up, and values that are held, at once.
const GET_KEYS: usize = 1024;

/// See the module.
pub struct RocksBackend {
    db: DB,
    format: SstFormat,
    incoming: PathBuf,
    next_link: AtomicU64,
}

impl fmt::Debug for RocksBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksBackend").field("db", &self.db).finish_non_exhaustive()
    }
}

impl RocksBackend {
    /// An empty database in `directory`, which is made where it is missing. What
    /// an earlier database left there is removed; other files stay. The caller sees
    /// to it that no other process uses the directory.
    ///
    /// # Errors
    /// [`StateError::Io`] when the directory cannot be made or emptied,
    /// [`StateError::Database`] when the database does not open.
    pub fn create(directory: &Path, config: RocksConfig) -> Result<Self, StateError> {
        let (data, incoming) = (directory.join("db"), directory.join("incoming"));
        for directory in [&data, &incoming] {
            remove(directory).map_err(|e| StateError::io(directory, &e))?;
            std::fs::create_dir_all(directory).map_err(|e| StateError::io(directory, &e))?;
        }
        let cache = options::cache(config);
        let families = Family::ALL.map(|family| {
            ColumnFamilyDescriptor::new(family.name(), options::family(family, &cache))
        });
        let options = options::database(config).map_err(database)?;
        let db = DB::open_cf_descriptors(&options, &data, families).map_err(database)?;
        let backend =
            RocksBackend { db, format: SstFormat::new(), incoming, next_link: AtomicU64::new(0) };
        for family in Family::ALL {
            let family = backend.family(family)?;
            backend.db.set_options_cf(family, &options::CHANGED_WHEN_OPEN).map_err(database)?;
        }
        Ok(backend)
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily, StateError> {
        let missing = || StateError::Database(format!("no column family {}", family.name()));
        self.db.cf_handle(family.name()).ok_or_else(missing)
    }

    /// A second name for a file, for the database to take away. Where the file
    /// system has no links, or the file is on another one, a copy.
    fn link(&self, file: &Path) -> Result<PathBuf, StateError> {
        let number = self.next_link.fetch_add(1, Ordering::Relaxed);
        let link = self.incoming.join(format!("{number}.sst"));
        if std::fs::hard_link(file, &link).is_err() {
            std::fs::copy(file, &link).map_err(|e| StateError::io(file, &e))?;
        }
        Ok(link)
    }
}

/// Removes a directory with everything in it, where it exists.
fn remove(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn database(error: rocksdb::Error) -> StateError {
    match error.kind() {
        ErrorKind::Corruption => StateError::damaged(error.into_string()),
        _ => StateError::Database(error.into_string()),
    }
}

impl StateBackend for RocksBackend {
    fn run_format(&self) -> &dyn RunFormat {
        &self.format
    }

    fn ingest(&self, files: &[IngestFile]) -> Result<(), StateError> {
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        for file in files {
            let link = self.link(&file.path)?;
            let family = self.family(file.family)?;
            let taken = self.db.ingest_external_file_cf_opts(family, &options, vec![&link]);
            if taken.is_err() {
                // The error is what matters; the next start empties the directory.
                let _ = std::fs::remove_file(&link);
            }
            taken.map_err(database)?;
        }
        Ok(())
    }

    fn get_many(
        &self,
        family: Family,
        keys: &[&[u8]],
        each: &mut OnValue<'_>,
    ) -> Result<(), StateError> {
        let family = self.family(family)?;
        for (chunk_number, chunk) in keys.chunks(GET_KEYS).enumerate() {
            let sorted = chunk.is_sorted();
            let values = self.db.batched_multi_get_cf(family, chunk.iter().copied(), sorted);
            for (position, value) in values.into_iter().enumerate() {
                let value = value.map_err(database)?;
                each(chunk_number * GET_KEYS + position, value.as_deref())?;
            }
        }
        Ok(())
    }

    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
    ) -> Result<Box<dyn StateCursor + '_>, StateError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(range.to.as_slice());
        options.set_total_order_seek(true);
        let mut entries = self.db.raw_iterator_cf_opt(self.family(family)?, options);
        if !range.is_empty() {
            entries.seek(&range.from);
        }
        Ok(Box::new(RocksCursor { entries, begun: false }))
    }

    fn drop_range(&self, family: Family, range: &KeyRange) -> Result<(), StateError> {
        if range.is_empty() {
            return Ok(());
        }
        let family = self.family(family)?;
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db
            .delete_range_cf_opt(family, range.from.as_slice(), &range.to, &options)
            .map_err(database)?;
        // Deleted first, so that what such a file hid does not come back.
        let last = last_key_below(&range.to);
        if range.from <= last {
            self.db.delete_file_in_range_cf(family, &range.from, &last).map_err(database)?;
        }
        Ok(())
    }

    fn stats(&self, family: Family) -> Result<FamilyStats, StateError> {
        let handle = self.family(family)?;
        let number = |name| self.db.property_int_value_cf(handle, name).map_err(database);
        let files = self.db.get_column_family_metadata_cf(handle).file_count;
        Ok(FamilyStats {
            entries: number(ESTIMATE_NUM_KEYS)?.unwrap_or(0),
            bytes: number(LIVE_SST_FILES_SIZE)?.unwrap_or(0),
            files: files as u64,
        })
    }
}

/// A key just below `end`: files up to it hold no key at or above `end`. (Whole
/// files are dropped up to and including a key.)
fn last_key_below(end: &[u8]) -> Vec<u8> {
    let mut key = end.to_vec();
    match key.pop() {
        None | Some(0) => key,
        Some(last) => {
            key.push(last - 1);
            key.extend_from_slice(&[u8::MAX; 16]);
            key
        }
    }
}

struct RocksCursor<'a> {
    entries: DBRawIterator<'a>,
    begun: bool,
}

impl fmt::Debug for RocksCursor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksCursor").field("begun", &self.begun).finish_non_exhaustive()
    }
}

impl StateCursor for RocksCursor<'_> {
    fn next_entry(&mut self) -> Result<Option<StateEntry<'_>>, StateError> {
        if self.begun && self.entries.valid() {
            self.entries.next();
        }
        self.begun = true;
        match self.entries.item() {
            Some(entry) => Ok(Some(entry)),
            None => self.entries.status().map_err(database).map(|()| None),
        }
    }
}
