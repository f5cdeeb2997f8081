//! The data directory: made if missing, held by one server at a time.

use std::path::{Path, PathBuf};

use tidemill_storage::store::{DataDirLock, StoreError};

/// A data directory that this process holds.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    _lock: DataDirLock,
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
    #[error("the data directory {path} cannot be used: {source}")]
    Store { path: PathBuf, source: Box<StoreError> },
}

impl DataDirectory {
    /// Makes the directory if it is missing, and locks it.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let io = |source| DirectoryError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(io)?;
        let path = path.canonicalize().map_err(io)?;
        match DataDirLock::acquire(&path) {
            Ok(lock) => Ok(DataDirectory { path, _lock: lock }),
            Err(StoreError::Locked { pid, .. }) => {
                let holder = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
                Err(DirectoryError::InUse { path, holder })
            }
            Err(source) => Err(DirectoryError::Store { path, source: Box::new(source) }),
        }
    }

    /// The directory's absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
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
