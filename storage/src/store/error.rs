//! What can go wrong with the store, by what the caller can do about it.

use std::io;
use std::path::PathBuf;

/// An operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the data directory: stop it, or use another directory.
    #[error(
        "the data directory {} is in use by {}",
        directory.display(),
        pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked { directory: PathBuf, pid: Option<u32> },
    /// The store's address is of a kind that this build has no code for.
    #[error("{url}: stores of kind \"{scheme}\" are not supported; use file:///path")]
    Unsupported { url: String, scheme: String },
    /// The store's address makes no sense.
    #[error("{url}: {reason}")]
    Address { url: String, reason: &'static str },
    /// The store does not do what it must: refuse to run on it.
    #[error("{store} cannot hold Tidemill's state: {reason}")]
    Unfit { store: String, reason: String },
    /// A file operation outside of objects failed.
    #[error("{action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    /// An operation on an object failed for good.
    #[error("{action} {path}: {source}")]
    Object { action: &'static str, path: String, source: object_store::Error },
    /// It is not known whether the object was created, after all attempts.
    #[error("whether {path} was created is unknown after {attempts} attempts: {source}")]
    Unknown { path: String, attempts: u32, source: object_store::Error },
}

impl StoreError {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        StoreError::File { action, path: path.into(), source }
    }
}
