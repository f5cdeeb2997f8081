//! The data directory: made if missing, held by one server at a time.
//!
//! The lock is the operating system's, on a file in the directory; it ends with
//! the process however that ends, so there is never a stale one.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

const LOCK_FILE: &str = "LOCK";

/// A data directory that this process holds.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// Locked while it is open.
    _lock: File,
}

/// Why a data directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("the data directory {path} cannot be used: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error(
        "the data directory {path} is in use by another server{holder}; \
             stop that one, or start this one with another --data-dir"
    )]
    InUse { path: PathBuf, holder: String },
}

impl DataDirectory {
    /// Makes the directory if it is missing, and locks it.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let io = |source| DirectoryError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(io)?;
        let path = path.canonicalize().map_err(io)?;
        let mut options = File::options();
        // What the holder wrote must stay readable for the one that is refused.
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(path.join(LOCK_FILE)).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DirectoryError::InUse { path, holder: holder(&mut lock) });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        note_holder(&mut lock).map_err(io)?;
        Ok(DataDirectory { path, _lock: lock })
    }

    /// The directory's absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn note_holder(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

/// The process that holds the lock, as far as it has said.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.take(20).read_to_string(&mut text);
    match read.ok().and_then(|_| text.trim().parse::<u32>().ok()) {
        Some(pid) => format!(" (process {pid})"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = DataDirectory::open(&path).unwrap();
        let error = DataDirectory::open(&path).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(error.contains("in use by another server"), "{error}");
        assert!(error.contains(&format!("process {pid}")), "{error}");
        drop(first);
        DataDirectory::open(&path).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDirectory::open(file.path()).unwrap_err();
        assert!(matches!(error, DirectoryError::Io { .. }));
    }
}
