//! An object written in parts.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::FutureExt;
use object_store::path::Path;
use object_store::{Error, MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use super::super::disk::DiskFile;
use super::super::work::FileWork;
use super::root::{Root, e_tag, failed};
use crate::crash;

/// Parts go to one temporary file, each at its offset, in any order; completing
/// syncs the file and moves it over the name. Dropped before that, the upload
/// removes its file.
pub(super) struct LocalUpload {
    root: Arc<Root>,
    work: FileWork,
    location: Path,
    name: PathBuf,
    temporary: PathBuf,
    /// None once completed or aborted.
    file: Option<Arc<dyn DiskFile>>,
    /// Where the next part goes, in bytes.
    offset: u64,
}

impl LocalUpload {
    pub(super) fn start(root: Arc<Root>, location: Path, work: FileWork) -> Result<Self> {
        let name = root.file_path(&location)?;
        let temporary = root.temporary();
        let file = root.disk.create(&temporary).map_err(|e| failed(&location, e))?;
        Ok(Self { root, work, location, name, temporary, file: Some(file), offset: 0 })
    }

    fn ended(&self) -> Error {
        failed(&self.location, io::Error::other("the upload has ended already"))
    }
}

#[async_trait]
impl MultipartUpload for LocalUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        let Some(file) = self.file.clone() else {
            return futures::future::ready(Err(self.ended())).boxed();
        };
        let (work, location, start) = (self.work, self.location.clone(), self.offset);
        self.offset += part.content_length() as u64;
        let write = move || {
            let mut offset = start;
            for chunk in &part {
                file.write_at(offset, chunk).map_err(|e| failed(&location, e))?;
                offset += chunk.len() as u64;
            }
            Ok(())
        };
        async move { work.run(write).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let file = self.file.take().ok_or_else(|| self.ended())?;
        let (root, location) = (Arc::clone(&self.root), self.location.clone());
        let (name, temporary) = (self.name.clone(), self.temporary.clone());
        let complete = move || {
            crash::point("store.temp_written");
            let placed = file.sync().and_then(|()| {
                crash::point("store.temp_synced");
                root.place_over(&temporary, &name)
            });
            let facts = placed.map_err(|source| {
                let _ = root.disk.unlink(&temporary);
                failed(&location, source)
            })?;
            Ok(PutResult { e_tag: Some(e_tag(&facts)), version: None })
        };
        self.work.run(complete).await
    }

    async fn abort(&mut self) -> Result<()> {
        if self.file.take().is_none() {
            return Ok(());
        }
        let (root, location) = (Arc::clone(&self.root), self.location.clone());
        let temporary = self.temporary.clone();
        let abort = move || root.disk.unlink(&temporary).map_err(|e| failed(&location, e));
        self.work.run(abort).await
    }
}

impl Drop for LocalUpload {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = self.root.disk.unlink(&self.temporary);
        }
    }
}

impl fmt::Debug for LocalUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalUpload")
            .field("location", &self.location)
            .field("bytes", &self.offset)
            .finish_non_exhaustive()
    }
}
