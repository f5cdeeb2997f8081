//! Files of sorted runs: what a checkpoint uploads and a backend takes in.
//!
//! The backend says in which format it wants them ([`RunFormat`]): SST files for
//! the database, [`PlainFormat`](super::plain::PlainFormat) for the model. A file
//! holds one run of one family and is written in one go from a [`RunSource`]. The
//! writer counts what it writes and digests the finished file, so that whoever
//! reads a copy of it knows that it is whole.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::run::{MergedEntries, RunEntries, RunEntry, SortedRun};
use super::{KeyRange, StateError};

/// A finished file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunFile {
    pub path: PathBuf,
    /// Length in bytes.
    pub bytes: u64,
    /// XXH3-128 of the file's bytes, seed 0.
    pub digest: u128,
    /// Entries in the file; range deletions are not counted.
    pub entries: u64,
    /// Range deletions in the file.
    pub ranges: u64,
    /// The first and last key of an entry; none where there are only range
    /// deletions.
    pub keys: Option<(Vec<u8>, Vec<u8>)>,
}

/// Entries of a run, one after another.
///
/// # Contract
/// Keys rise strictly; [`write_run`] checks it.
pub trait RunSource {
    /// The next entry, `None` after the last.
    ///
    /// # Errors
    /// Whatever reading them can fail with; the file is then given up.
    fn next_entry(&mut self) -> Result<Option<RunEntry<'_>>, StateError>;
}

impl RunSource for RunEntries<'_> {
    fn next_entry(&mut self) -> Result<Option<RunEntry<'_>>, StateError> {
        Ok(self.next())
    }
}

impl RunSource for MergedEntries<'_> {
    fn next_entry(&mut self) -> Result<Option<RunEntry<'_>>, StateError> {
        Ok(self.next())
    }
}

/// A format of run files.
///
/// # Contract
/// A file that `write` has finished is on disk (synced), though perhaps not yet
/// its name in the directory. The file holds all `entries` and `ranges`; the
/// range deletions apply to the state before the file, never to its entries.
/// `ranges` are sorted, apart from each other, and none is empty; the entries or
/// the ranges are at least one.
pub trait RunFormat: Send + Sync + fmt::Debug {
    /// Writes a new file at `path`, which does not exist.
    ///
    /// # Errors
    /// [`StateError::Io`] or [`StateError::Database`]; those of `entries`.
    fn write(
        &self,
        path: &Path,
        ranges: &[KeyRange],
        entries: &mut dyn RunSource,
    ) -> Result<(), StateError>;

    /// The end of a file's name, without the dot.
    fn extension(&self) -> &'static str;
}

/// Writes range deletions and entries to a new file at `path`. Nothing to write:
/// no file and `None`.
///
/// # Errors
/// [`StateError::Order`] when keys do not rise; [`StateError::Io`] (the file exists,
/// for one) and [`StateError::Database`]; those of `entries`. A file that was begun
/// is then removed.
pub fn write_run(
    format: &dyn RunFormat,
    path: &Path,
    ranges: &[KeyRange],
    entries: &mut dyn RunSource,
) -> Result<Option<RunFile>, StateError> {
    if path.exists() {
        return Err(StateError::io(path, &io::ErrorKind::AlreadyExists.into()));
    }
    let Some(mut entries) = Checked::new(entries, !ranges.is_empty())? else { return Ok(None) };
    let written = format
        .write(path, ranges, &mut entries)
        .and_then(|()| digest(path))
        .inspect_err(|_| remove_quietly(path))?;
    let Checked { first, last, count, .. } = entries;
    Ok(Some(RunFile {
        path: path.to_owned(),
        bytes: written.0,
        digest: written.1,
        entries: count,
        ranges: ranges.len() as u64,
        keys: (count > 0).then_some((first, last)),
    }))
}

/// [`write_run`] for a run in memory.
///
/// # Errors
/// See [`write_run`].
pub fn write_sorted_run(
    format: &dyn RunFormat,
    path: &Path,
    run: &SortedRun,
) -> Result<Option<RunFile>, StateError> {
    write_run(format, path, run.ranges(), &mut run.entries())
}

/// Length in bytes and XXH3-128 of a file.
///
/// # Errors
/// [`StateError::Io`].
pub fn digest(path: &Path) -> Result<(u64, u128), StateError> {
    let io = |error: io::Error| StateError::io(path, &error);
    let mut file = File::open(path).map_err(io)?;
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0; DIGEST_BUFFER_BYTES];
    let mut length = 0;
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok((length, hasher.digest128())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(io(error)),
        };
        hasher.update(&buffer[..read]);
        length += read as u64;
    }
}

/// Read at once by [`digest`].
const DIGEST_BUFFER_BYTES: usize = 256 << 10;

/// A file of a failed write: the failure is what matters.
fn remove_quietly(path: &Path) {
    let _ = std::fs::remove_file(path);
}

/// Passes entries on, checks their order and counts them.
struct Checked<'a> {
    source: &'a mut dyn RunSource,
    /// The first entry was read to see whether there is one.
    held: Option<(Vec<u8>, Option<Vec<u8>>)>,
    first: Vec<u8>,
    last: Vec<u8>,
    count: u64,
}

impl<'a> Checked<'a> {
    /// `None` where there is no entry, unless that is `allowed`.
    fn new(source: &'a mut dyn RunSource, allowed: bool) -> Result<Option<Self>, StateError> {
        let held =
            source.next_entry()?.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)));
        if held.is_none() && !allowed {
            return Ok(None);
        }
        let (first, last) = (Vec::new(), Vec::new());
        Ok(Some(Checked { source, held, first, last, count: 0 }))
    }
}

impl RunSource for Checked<'_> {
    fn next_entry(&mut self) -> Result<Option<RunEntry<'_>>, StateError> {
        if self.count == 0 {
            let Some((key, value)) = &self.held else { return Ok(None) };
            self.count = 1;
            self.first.clone_from(key);
            self.last.clone_from(key);
            return Ok(Some((key, value.as_deref())));
        }
        let Some((key, value)) = self.source.next_entry()? else { return Ok(None) };
        if key <= self.last.as_slice() {
            return Err(StateError::Order);
        }
        self.count += 1;
        self.last.clear();
        self.last.extend_from_slice(key);
        Ok(Some((key, value)))
    }
}
