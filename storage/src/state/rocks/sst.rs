//! Run files as RocksDB's sorted tables.
//!
//! All entries of such a file get one sequence number when it is taken in, its
//! range deletions the same one; and a range deletion hides only what has a lower
//! number. So a file's range deletions apply to the state before it, as a run's do.

use std::fmt;
use std::path::Path;

use rocksdb::{Options, SstFileWriter};

use super::super::file::{RunFormat, RunSource};
use super::super::{KeyRange, StateError};
use super::{database, options};

/// See the module. Files of one run differ in their bytes: each has an identity.
pub struct SstFormat {
    options: Options,
}

impl fmt::Debug for SstFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SstFormat")
    }
}

impl Default for SstFormat {
    fn default() -> Self {
        Self::new()
    }
}

impl SstFormat {
    #[must_use]
    pub fn new() -> Self {
        SstFormat { options: options::run_file() }
    }
}

impl RunFormat for SstFormat {
    fn write(
        &self,
        path: &Path,
        ranges: &[KeyRange],
        entries: &mut dyn RunSource,
    ) -> Result<(), StateError> {
        let mut writer = SstFileWriter::create(&self.options);
        writer.open(path).map_err(database)?;
        for range in ranges {
            writer.delete_range(&range.from, &range.to).map_err(database)?;
        }
        while let Some((key, value)) = entries.next_entry()? {
            match value {
                Some(value) => writer.put(key, value).map_err(database)?,
                None => writer.delete(key).map_err(database)?,
            }
        }
        // Writes what is left, and syncs.
        writer.finish().map_err(database)
    }

    fn extension(&self) -> &'static str {
        "sst"
    }
}
