//! From an address to a store.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use object_store::path::Path;

use super::disk::OsDisk;
use super::{FileWork, LocalStore, Store, StoreError, probe};

/// The directory of the store, in the data directory.
const DEFAULT_DIRECTORY: &str = "store";

impl Store {
    /// Opens the store at `url` and makes sure that it is fit for use.
    ///
    /// | `url` | store |
    /// |---|---|
    /// | none | the directory `store` in `data_dir` |
    /// | `file:///path` | that directory; the path is taken as it is written |
    ///
    /// A directory is to be used by one process at a time: take
    /// [`DataDirLock`](super::DataDirLock) first.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] and [`StoreError::Address`] for other addresses,
    /// [`StoreError::Unfit`] for a store that creates an object twice.
    pub async fn open(url: Option<&str>, data_dir: &FilePath) -> Result<Store, StoreError> {
        let store = match url {
            None => local(data_dir.join(DEFAULT_DIRECTORY)).await?,
            Some(url) => match url.split_once("://") {
                Some(("file", path)) => local(file_path(url, path)?).await?,
                Some((scheme, _)) => {
                    let scheme = scheme.to_owned();
                    return Err(StoreError::Unsupported { url: url.to_owned(), scheme });
                }
                None => return Err(address(url, "a store's address is like file:///path")),
            },
        };
        probe(&store).await?;
        Ok(store)
    }
}

fn file_path(url: &str, path: &str) -> Result<PathBuf, StoreError> {
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err(address(url, "file:// is followed by an absolute path: file:///path"))
    }
}

async fn local(root: PathBuf) -> Result<Store, StoreError> {
    let work = FileWork::Pool;
    let path = root.clone();
    let open = move || Ok(LocalStore::open(Arc::new(OsDisk), &path, work));
    let opened = work.run(open).await.map_err(|source| StoreError::Object {
        action: "open",
        path: root.display().to_string(),
        source,
    })?;
    Ok(Store::new(Arc::new(opened?), Path::default()))
}

fn address(url: &str, reason: &'static str) -> StoreError {
    StoreError::Address { url: url.to_owned(), reason }
}
