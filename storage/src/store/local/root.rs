//! The directory of a local store: how objects become files. All of it blocks.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use object_store::path::Path;
use object_store::{
    CopyMode, Error, GetOptions, ListResult, ObjectMeta, PutMode, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use super::super::disk::{Disk, DiskFacts, DiskReader};
use super::super::error::StoreError;
use crate::crash;

/// The first part of paths that are not objects.
const TMP: &str = "tmp";

/// The directory, and what is known of it. All methods block.
pub(super) struct Root {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) path: PathBuf,
    /// Directories whose own name is known to be durable.
    durable: Mutex<BTreeSet<PathBuf>>,
    temporaries: AtomicU64,
}

impl Root {
    /// Makes, cleans and syncs the directory.
    pub(super) fn open(disk: Arc<dyn Disk>, path: &FilePath) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).map_err(|e| StoreError::file("find", path, e))?;
        let root = Root {
            disk,
            path,
            durable: Mutex::new(BTreeSet::new()),
            temporaries: AtomicU64::new(0),
        };
        root.prepare()?;
        Ok(root)
    }

    fn prepare(&self) -> Result<(), StoreError> {
        self.make_durable(&self.path)
            .map_err(|e| StoreError::file("create the directory", &self.path, e))?;
        let tmp = self.path.join(TMP);
        self.make_durable(&tmp).map_err(|e| StoreError::file("create the directory", &tmp, e))?;
        for left in self.disk.list(&tmp).map_err(|e| StoreError::file("list", &tmp, e))? {
            let path = tmp.join(left.name);
            self.disk.unlink(&path).map_err(|e| StoreError::file("remove", &path, e))?;
        }
        self.sync_below(&self.path)
    }

    fn sync_below(&self, directory: &FilePath) -> Result<(), StoreError> {
        self.disk.sync_dir(directory).map_err(|e| StoreError::file("sync", directory, e))?;
        let names = self.disk.list(directory);
        for entry in names.map_err(|e| StoreError::file("list", directory, e))? {
            if entry.is_dir {
                let below = directory.join(entry.name);
                self.sync_below(&below)?;
                self.durable.lock().insert(below);
            }
        }
        Ok(())
    }

    /// Makes a directory where it is missing, and its name durable in any case: the
    /// thread or process that made it may not have come so far.
    fn make_durable(&self, directory: &FilePath) -> io::Result<()> {
        if self.durable.lock().contains(directory) {
            return Ok(());
        }
        if let Some(parent) = directory.parent() {
            let missing = match self.disk.metadata(directory) {
                Ok(facts) if facts.is_dir => false,
                Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                Err(error) => return Err(error),
            };
            // Above the root, directories that are there are not ours to sync.
            if missing || directory.starts_with(&self.path) && directory != self.path {
                self.make_durable(parent)?;
            }
            if missing {
                match self.disk.create_dir(directory) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error);
                    }
                    _ => {}
                }
            }
            if missing || directory.starts_with(&self.path) {
                match self.disk.sync_dir(parent) {
                    // A root that was made for us may lie where we must not look.
                    Err(error)
                        if !missing
                            && directory == self.path
                            && error.kind() == io::ErrorKind::PermissionDenied => {}
                    synced => synced?,
                }
            }
        }
        self.durable.lock().insert(directory.to_path_buf());
        Ok(())
    }

    pub(super) fn temporary(&self) -> PathBuf {
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        self.path.join(TMP).join(format!("{}-{number}", std::process::id()))
    }

    pub(super) fn file_path(&self, location: &Path) -> Result<PathBuf> {
        match location.parts().next() {
            None => Err(refused(location, "an object needs a name")),
            Some(first) if first.as_ref() == TMP => {
                Err(refused(location, "names below tmp/ are for files being written"))
            }
            Some(_) => Ok(self.path.join(location.as_ref())),
        }
    }

    /// Writes an object; see the module's drawing.
    pub(super) fn put(
        &self,
        location: &Path,
        payload: &PutPayload,
        mode: &PutMode,
    ) -> Result<PutResult> {
        let name = self.file_path(location)?;
        let temporary = self.temporary();
        let placed = self.write(&temporary, payload).and_then(|()| match mode {
            PutMode::Create => self.place_new(&temporary, &name),
            _ => self.place_over(&temporary, &name),
        });
        let facts = placed.map_err(|source| {
            let _ = self.disk.unlink(&temporary);
            failed(location, source)
        })?;
        Ok(PutResult { e_tag: Some(e_tag(&facts)), version: None })
    }

    fn write(&self, temporary: &FilePath, payload: &PutPayload) -> io::Result<()> {
        let file = self.disk.create(temporary)?;
        let mut offset = 0;
        for chunk in payload {
            file.write_at(offset, chunk)?;
            offset += chunk.len() as u64;
        }
        crash::point("store.temp_written");
        file.sync()?;
        crash::point("store.temp_synced");
        Ok(())
    }

    /// Gives a synced file its name, which must be free.
    fn place_new(&self, from: &FilePath, name: &FilePath) -> io::Result<DiskFacts> {
        let directory = self.directory(name)?;
        let linked = self.disk.hard_link(from, name);
        match &linked {
            Ok(()) => crash::point("store.linked"),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.sync_names(directory)?;
            }
            Err(_) => {}
        }
        linked?;
        let facts = self.disk.metadata(from);
        // Where this fails, opening the store removes the second name.
        let _ = self.disk.unlink(from);
        self.sync_names(directory)?;
        crash::point("store.dir_synced");
        facts
    }

    /// Gives a synced file its name, whatever had it.
    pub(super) fn place_over(&self, from: &FilePath, name: &FilePath) -> io::Result<DiskFacts> {
        let directory = self.directory(name)?;
        let facts = self.disk.metadata(from)?;
        self.disk.rename(from, name)?;
        crash::point("store.linked");
        self.sync_names(directory)?;
        crash::point("store.dir_synced");
        Ok(facts)
    }

    /// The name is given: whatever the system says now, the outcome is unknown.
    fn sync_names(&self, directory: &FilePath) -> io::Result<()> {
        self.disk.sync_dir(directory).map_err(io::Error::other)
    }

    fn directory<'a>(&self, name: &'a FilePath) -> io::Result<&'a FilePath> {
        let directory = name.parent().ok_or(io::ErrorKind::InvalidInput)?;
        self.make_durable(directory)?;
        Ok(directory)
    }

    pub(super) fn copy(&self, from: &Path, to: &Path, mode: CopyMode) -> Result<()> {
        let (source, target) = (self.file_path(from)?, self.file_path(to)?);
        let temporary = self.temporary();
        // Objects do not change, so that two names may share a file.
        self.disk.hard_link(&source, &temporary).map_err(|e| failed(from, e))?;
        let placed = match mode {
            CopyMode::Create => self.place_new(&temporary, &target),
            CopyMode::Overwrite => self.place_over(&temporary, &target),
        };
        // After an error, and after a copy of an object to itself, it is still there.
        let _ = self.disk.unlink(&temporary);
        placed.map(drop).map_err(|e| failed(to, e))
    }

    pub(super) fn delete(&self, location: &Path) -> Result<()> {
        let name = self.file_path(location)?;
        self.disk.unlink(&name).map_err(|e| failed(location, e))
    }

    /// All objects below `prefix`, in order of names within each directory.
    pub(super) fn walk(&self, prefix: Option<&Path>) -> Result<Vec<ObjectMeta>> {
        let mut found = Vec::new();
        let mut open = vec![prefix.cloned().unwrap_or_default()];
        while let Some(directory) = open.pop() {
            let listed = self.children(&directory)?;
            found.extend(listed.objects);
            open.extend(listed.common_prefixes.into_iter().rev());
        }
        Ok(found)
    }

    pub(super) fn children(&self, prefix: &Path) -> Result<ListResult> {
        let mut result = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
        let directory = self.path.join(prefix.as_ref());
        let names = match self.disk.list(&directory) {
            Ok(names) => names,
            Err(error) if is_missing(&error) => return Ok(result),
            Err(error) => return Err(failed(prefix, error)),
        };
        for entry in names {
            // A name that is no part of a path was not made here.
            let Ok(location) = Path::parse(format!("{prefix}/{}", entry.name)) else { continue };
            if location.as_ref() == TMP {
                continue;
            }
            if entry.is_dir {
                result.common_prefixes.push(location);
                continue;
            }
            match self.disk.metadata(&directory.join(&entry.name)) {
                Ok(facts) => result.objects.push(meta(location, &facts)),
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(failed(&location, error)),
            }
        }
        Ok(result)
    }

    pub(super) fn open_object(
        &self,
        location: &Path,
        options: &GetOptions,
    ) -> Result<(Arc<dyn DiskReader>, ObjectMeta, Range<u64>)> {
        let reader = self.disk.open(&self.file_path(location)?).map_err(|e| failed(location, e))?;
        let facts = reader.facts().map_err(|e| failed(location, e))?;
        if facts.is_dir {
            return Err(failed(location, io::ErrorKind::NotFound.into()));
        }
        let meta = meta(location.clone(), &facts);
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(range) => range
                .as_range(meta.size)
                .map_err(|e| failed(location, io::Error::new(io::ErrorKind::InvalidInput, e)))?,
            None => 0..meta.size,
        };
        Ok((reader, meta, range))
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn meta(location: Path, facts: &DiskFacts) -> ObjectMeta {
    let modified = DateTime::from_timestamp_micros(facts.modified_us);
    ObjectMeta {
        location,
        last_modified: modified.unwrap_or(DateTime::<Utc>::MAX_UTC),
        size: facts.length,
        e_tag: Some(e_tag(facts)),
        version: None,
    }
}

pub(super) fn e_tag(facts: &DiskFacts) -> String {
    format!("{:x}-{:x}-{:x}", facts.identity, facts.modified_us, facts.length)
}

pub(super) fn failed(location: &Path, source: io::Error) -> Error {
    let (path, kind) = (location.to_string(), source.kind());
    let source = Box::new(source);
    match kind {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source },
        _ if is_missing(&source) => Error::NotFound { path, source },
        io::ErrorKind::PermissionDenied => Error::PermissionDenied { path, source },
        _ => Error::Generic { store: "local", source: format!("{path}: {source}").into() },
    }
}

fn refused(location: &Path, reason: &str) -> Error {
    Error::NotSupported { source: format!("{location}: {reason}").into() }
}
