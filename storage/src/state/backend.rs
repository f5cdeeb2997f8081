//! What keeps a node's state: a trait, so that tests and simulations need no
//! database.

use std::fmt;
use std::path::PathBuf;

use super::file::RunFormat;
use super::{Family, KeyRange, StateError};

/// A run file to take in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IngestFile {
    pub family: Family,
    /// Stays as it is and where it is.
    pub path: PathBuf,
}

/// What a family holds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct FamilyStats {
    /// Keys, estimated: replaced and deleted ones may count for a while.
    pub entries: u64,
    /// Bytes on disk, or in memory where there is no disk.
    pub bytes: u64,
    /// Files on disk.
    pub files: u64,
}

/// A key and its value.
pub type StateEntry<'a> = (&'a [u8], &'a [u8]);

/// Takes the position of a key and its value.
pub type OnValue<'a> = dyn FnMut(usize, Option<&[u8]>) -> Result<(), StateError> + 'a;

/// The committed state of one node: a sorted map of bytes per family.
///
/// # Contract
/// It changes only by [`StateBackend::ingest`] and [`StateBackend::drop_range`];
/// the caller sees to it that only committed files are taken in. Taking files in
/// is not atomic over several of them, and what has been taken in need not survive
/// the process: after a crash or an error the backend is built anew from committed
/// files. Taking the same files in again, in the same order, changes nothing.
///
/// Calls may take milliseconds and more (disk, compaction): they are made by
/// worker and storage threads, never by those of sockets.
pub trait StateBackend: Send + Sync + fmt::Debug {
    /// The format of the files for [`StateBackend::ingest`].
    fn run_format(&self) -> &dyn RunFormat;

    /// Takes files in, in order: later ones replace earlier ones. The files remain
    /// the caller's and must not change afterwards, as the backend may share them.
    ///
    /// # Errors
    /// [`StateError::Io`], [`StateError::Database`], [`StateError::Damaged`]; some
    /// of the files may then be in.
    fn ingest(&self, files: &[IngestFile]) -> Result<(), StateError>;

    /// Gives `each` the position and value of every key; `None`: there is no such
    /// key. Sorted keys are found fastest.
    ///
    /// # Errors
    /// [`StateError::Io`], [`StateError::Database`]; those of `each`, which end the
    /// call.
    fn get_many(
        &self,
        family: Family,
        keys: &[&[u8]],
        each: &mut OnValue<'_>,
    ) -> Result<(), StateError>;

    /// The entries of a range, as they are now, in key order. The cursor keeps
    /// this state alive, files included, for as long as it lives.
    ///
    /// # Errors
    /// [`StateError::Database`].
    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
    ) -> Result<Box<dyn StateCursor + '_>, StateError>;

    /// Deletes a range at once, and gives disk space back early where it can.
    ///
    /// # Errors
    /// [`StateError::Database`].
    fn drop_range(&self, family: Family, range: &KeyRange) -> Result<(), StateError>;

    /// Figures of a family.
    ///
    /// # Errors
    /// [`StateError::Database`].
    fn stats(&self, family: Family) -> Result<FamilyStats, StateError>;
}

/// Walks over entries and lends them one at a time.
pub trait StateCursor: fmt::Debug {
    /// The next key and value, `None` after the last, and from then on.
    ///
    /// # Errors
    /// [`StateError::Io`], [`StateError::Database`].
    fn next_entry(&mut self) -> Result<Option<StateEntry<'_>>, StateError>;
}
