//! Files on their way into the store.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use object_store::ObjectStoreExt;
use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

use super::error::CheckpointError;
use super::manifest::{Checksum, FileRef};
use super::names::{self, Generation};
use crate::store::{Store, StoreError, blocking};

/// Larger files are sent in parts of this many bytes: 8 MiB.
const PART: usize = 8 << 20;

/// A file of state to be uploaded.
#[derive(Clone, Debug)]
pub struct LocalFile {
    /// Which kind of state: a-z, 0-9 and _.
    pub family: String,
    pub body: FileBody,
    pub first_key: Bytes,
    pub last_key: Bytes,
    /// Keys in it, deleted ones included.
    pub entries: u64,
}

/// Where a file's bytes are.
#[derive(Clone, Debug)]
pub enum FileBody {
    Bytes(Bytes),
    /// On this machine; it must not change until it is uploaded.
    Path(PathBuf),
}

/// Uploads files for a group's next checkpoints. Cheap to clone; the files of a base
/// may be uploaded while checkpoints are committed.
///
/// Garbage collection keeps what was uploaded until it is in a committed checkpoint,
/// [released](Uploader::release), or the group has another owner.
#[derive(Clone, Debug)]
pub struct Uploader {
    store: Store,
    group: u64,
    term: u64,
    /// The number of the next commit.
    pub(super) next: Arc<AtomicU64>,
    /// Names used by this owner.
    used: Arc<AtomicU64>,
    pub(super) pending: Arc<Mutex<BTreeSet<String>>>,
}

impl Uploader {
    pub(super) fn new(store: Store, group: u64, term: u64, next: u64) -> Self {
        let next = Arc::new(AtomicU64::new(next));
        Self { store, group, term, next, used: Arc::default(), pending: Arc::default() }
    }

    /// Uploads a file under a new name, and tells what must be read back.
    ///
    /// # Errors
    /// [`CheckpointError::Family`], [`CheckpointError::Local`],
    /// [`CheckpointError::Store`]; then what was uploaded is garbage.
    pub async fn upload(&self, file: LocalFile) -> Result<FileRef, CheckpointError> {
        if !names::is_family(&file.family) {
            return Err(CheckpointError::Family { family: file.family });
        }
        let LocalFile { family, body, first_key, last_key, entries } = file;
        let (path, length, checksum) = match body {
            FileBody::Bytes(bytes) => self.send_whole(&family, bytes).await?,
            FileBody::Path(local) => match read_small(local.clone()).await? {
                Some(bytes) => self.send_whole(&family, bytes).await?,
                None => self.send_parts(&family, &local).await?,
            },
        };
        Ok(FileRef { path, family, length, checksum, first_key, last_key, entries })
    }

    /// Leaves an uploaded file that no checkpoint will have to garbage collection.
    pub fn release(&self, file: &FileRef) {
        self.pending.lock().remove(&file.path);
    }

    /// A name that was never used, protected from garbage collection.
    fn new_name(&self, family: &str) -> String {
        let checkpoint = self.next.load(Ordering::SeqCst);
        let made = Generation { term: self.term, checkpoint };
        let number = self.used.fetch_add(1, Ordering::SeqCst);
        let path = names::file(self.group, made, family, number);
        self.pending.lock().insert(path.clone());
        path
    }

    async fn send_whole(
        &self,
        family: &str,
        bytes: Bytes,
    ) -> Result<(String, u64, Checksum), CheckpointError> {
        let path = self.new_name(family);
        let (length, checksum) = (bytes.len() as u64, Checksum::of(&bytes));
        match self.store.create(&path, bytes).await {
            Ok(created) if created.is_created() => Ok((path, length, checksum)),
            Ok(_) => {
                self.pending.lock().remove(&path);
                Err(CheckpointError::Taken { file: path })
            }
            Err(error) => {
                self.pending.lock().remove(&path);
                Err(error.into())
            }
        }
    }

    /// Sends a large file; begins anew, under another name, when the store fails.
    async fn send_parts(
        &self,
        family: &str,
        local: &Path,
    ) -> Result<(String, u64, Checksum), CheckpointError> {
        let mut attempts = self.store.pace().attempts();
        loop {
            let path = self.new_name(family);
            let failed = match self.try_parts(&path, local).await {
                Ok((length, checksum)) => return Ok((path, length, checksum)),
                Err(failed) => failed,
            };
            self.pending.lock().remove(&path);
            let store_failed = matches!(failed, CheckpointError::Store(_));
            if !store_failed || !attempts.again().await {
                return Err(failed);
            }
            tracing::debug!(path, error = %failed, "an upload failed; again");
        }
    }

    async fn try_parts(
        &self,
        path: &str,
        local: &Path,
    ) -> Result<(u64, Checksum), CheckpointError> {
        let failed =
            |source| StoreError::Object { action: "upload", path: path.to_owned(), source };
        let location = self.store.location(path)?;
        let mut upload = self.store.objects().put_multipart(&location).await.map_err(failed)?;
        let mut hash = Xxh3::new();
        let mut length = 0;
        let mut open = None;
        loop {
            let (part, file) = read_part(local.to_path_buf(), open.take()).await?;
            if part.is_empty() {
                break;
            }
            open = Some(file);
            hash.update(&part);
            length += part.len() as u64;
            if let Err(source) = upload.put_part(part.into()).await {
                let _ = upload.abort().await;
                return Err(failed(source).into());
            }
        }
        upload.complete().await.map_err(failed)?;
        Ok((length, Checksum::from_number(hash.digest128())))
    }
}

/// All of a file that fits into one part.
async fn read_small(path: PathBuf) -> Result<Option<Bytes>, CheckpointError> {
    let (part, file) = read_part(path.clone(), None).await?;
    if part.len() < PART {
        return Ok(Some(part));
    }
    drop(file);
    Ok(None)
}

/// The next part of a file, which is opened where it is not open; empty at its end.
async fn read_part(path: PathBuf, file: Option<File>) -> Result<(Bytes, File), CheckpointError> {
    let opened = path.clone();
    let read = move || -> io::Result<(Bytes, File)> {
        let mut file = match file {
            Some(file) => file,
            None => File::open(opened)?,
        };
        let mut part = Vec::new();
        file.by_ref().take(PART as u64).read_to_end(&mut part)?;
        Ok((part.into(), file))
    };
    blocking(read).await.map_err(|source| CheckpointError::Local { action: "read", path, source })
}
