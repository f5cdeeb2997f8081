//! A directory as an object store that keeps its word through a power failure.
//!
//! An object is a file; its path is the path below the root. It is written aside and
//! given its name when it is whole and on the medium:
//!
//! ```text
//!  tmp/<unique>   create ─► write ─► sync ─┬─ create:    link to the name, unlink
//!                                          └─ overwrite: rename to the name
//!  directory of the name                         └──────► sync ─► acknowledge
//! ```
//!
//! Invariants:
//! * A name stands for a whole object, whose bytes are on the medium. A reader never
//!   sees a part of one.
//! * An acknowledged write survives a power failure, its new parent directories
//!   included. So does what `AlreadyExists` was answered for: the answer is given
//!   after the directory is synced, whoever made the name.
//! * What a store finds when it is opened survives too: opening syncs every
//!   directory, as the process before it may have been killed between link and sync.
//! * After an error the outcome is unknown; asking again tells.
//!
//! One process uses a root at a time, as opening removes left-over temporary files;
//! [`DataDirLock`](super::DataDirLock) sees to it. Paths whose first part is `tmp`
//! are refused. A removal is not synced: after a power failure the object may be
//! there again, whole. Directories are never removed.

mod root;
mod upload;

use std::fmt;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, RenameTargetMode, Result,
};

use super::disk::{Disk, DiskReader};
use super::error::StoreError;
use super::work::FileWork;
use root::{Root, failed};
use upload::LocalUpload;

/// Bytes read from a file at a time.
const CHUNK: usize = 1 << 20;

/// [`ObjectStore`] over a directory; see the module.
#[derive(Clone)]
pub struct LocalStore {
    root: Arc<Root>,
    work: FileWork,
}

impl LocalStore {
    /// Opens the store in the directory `root`, which is made where it is missing.
    ///
    /// # Errors
    /// [`StoreError::File`] names the operation and the path.
    pub fn open(disk: Arc<dyn Disk>, root: &FilePath, work: FileWork) -> Result<Self, StoreError> {
        Ok(Self { root: Arc::new(Root::open(disk, root)?), work })
    }
}

/// Reads the first piece of `range`; what is left follows.
fn read_piece(reader: &dyn DiskReader, at: &Path, range: &Range<u64>) -> Result<Bytes> {
    let length = (range.end - range.start).min(CHUNK as u64) as usize;
    reader.read_at(range.start, length).map_err(|e| failed(at, e))
}

#[async_trait]
impl ObjectStore for LocalStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        if matches!(opts.mode, PutMode::Update(_)) {
            return Err(not_implemented("put with PutMode::Update"));
        }
        if !opts.attributes.is_empty() {
            return Err(not_implemented("put with attributes"));
        }
        let (root, location) = (Arc::clone(&self.root), location.clone());
        self.work.run(move || root.put(&location, &payload, &opts.mode)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if !opts.attributes.is_empty() {
            return Err(not_implemented("put with attributes"));
        }
        let (root, location, work) = (Arc::clone(&self.root), location.clone(), self.work);
        let upload = move || LocalUpload::start(root, location, work);
        Ok(Box::new(self.work.run(upload).await?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (root, at) = (Arc::clone(&self.root), location.clone());
        let opened = move || {
            let (reader, meta, range) = root.open_object(&at, &options)?;
            let first = match options.head || range.is_empty() {
                true => None,
                false => Some(read_piece(&*reader, &at, &range)?),
            };
            Ok((reader, meta, range, first))
        };
        let (reader, meta, range, first) = self.work.run(opened).await?;
        let stream = match first {
            None => stream::empty().boxed(),
            Some(first) => {
                let rest = range.start + first.len() as u64..range.end;
                let rest = pieces(reader, location.clone(), rest, self.work);
                stream::iter([Ok(first)]).chain(rest).boxed()
            }
        };
        let payload = GetResultPayload::Stream(stream);
        Ok(GetResult { payload, meta, range, attributes: Default::default() })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let store = store.clone();
            async move {
                let location = location?;
                let root = Arc::clone(&store.root);
                let delete = move || root.delete(&location).map(|()| location);
                store.work.run(delete).await
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            let root = Arc::clone(&store.root);
            let found = store.work.run(move || root.walk(prefix.as_ref())).await;
            match found {
                Ok(found) => stream::iter(found.into_iter().map(Ok)).boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            }
        };
        stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (root, prefix) = (Arc::clone(&self.root), prefix.cloned().unwrap_or_default());
        self.work.run(move || root.children(&prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (root, from, to) = (Arc::clone(&self.root), from.clone(), to.clone());
        self.work.run(move || root.copy(&from, &to, options.mode)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let (root, from, to) = (Arc::clone(&self.root), from.clone(), to.clone());
        let mode = match options.target_mode {
            RenameTargetMode::Overwrite => CopyMode::Overwrite,
            RenameTargetMode::Create => CopyMode::Create,
        };
        let rename = move || {
            root.copy(&from, &to, mode)?;
            if from == to { Ok(()) } else { root.delete(&from) }
        };
        self.work.run(rename).await
    }
}

/// The bytes of `range`, a chunk at a time, each read when it is asked for.
fn pieces(
    reader: Arc<dyn DiskReader>,
    at: Path,
    range: Range<u64>,
    work: FileWork,
) -> BoxStream<'static, Result<Bytes>> {
    let next = move |range: Range<u64>| {
        let (reader, at) = (Arc::clone(&reader), at.clone());
        async move {
            if range.is_empty() {
                return None;
            }
            let wanted = range.clone();
            let piece = work.run(move || read_piece(&*reader, &at, &wanted)).await;
            // After an error there is nothing more.
            let start = piece.as_ref().map_or(range.end, |bytes| range.start + bytes.len() as u64);
            Some((piece, start..range.end))
        }
    };
    stream::unfold(range, next).boxed()
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStore").field("root", &self.root.path).finish_non_exhaustive()
    }
}

impl fmt::Display for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the local store in {}", self.root.path.display())
    }
}

fn not_implemented(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.into(), implementer: "the local store".into() }
}
