//! The file operations that durability rests on, behind one trait.
//!
//! [`OsDisk`] is the operating system's. [`LossyDisk`] is memory that behaves as
//! disks are allowed to: until a file is synced its bytes may vanish or tear, and
//! until a directory is synced its names may. Code that is right on the second is
//! right on the first.
//!
//! # Contract
//!
//! 1. [`DiskFile::sync`] makes the bytes of a file durable, not its name.
//! 2. [`Disk::sync_dir`] makes the names in one directory durable: those added,
//!    replaced and removed so far, and no others.
//! 3. [`Disk::hard_link`] fails with [`ErrorKind::AlreadyExists`] where the new name
//!    is taken, atomically. [`Disk::rename`] replaces atomically.
//! 4. After an error, whether the operation took effect is unknown.
//! 5. A file whose sync failed must not be synced again and believed: the system may
//!    have dropped its bytes.
//! 6. An open reader goes on reading what it opened when the name is removed.
//!
//! All calls block.
//!
//! [`ErrorKind::AlreadyExists`]: std::io::ErrorKind::AlreadyExists

mod lossy;
mod nodes;
mod os;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub use lossy::{DiskFaults, LossyDisk};
pub use os::OsDisk;

/// File operations; see the module's contract.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes an empty file; the name must be free.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` (no such directory), and what the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading.
    ///
    /// # Errors
    /// `NotFound`, and what the system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskReader>>;
    /// Gives the file `from` a second name.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound`, and what the system says.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Moves a file to another name, replacing what had it.
    ///
    /// # Errors
    /// `NotFound`, and what the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes the name of a file.
    ///
    /// # Errors
    /// `NotFound`, and what the system says.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Makes one directory; its parent must exist.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound`, and what the system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the system says; the names may or may not be durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// What a name stands for.
    ///
    /// # Errors
    /// `NotFound`, and what the system says.
    fn metadata(&self, path: &Path) -> io::Result<DiskFacts>;
    /// The names in a directory, in order; names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, and what the system says.
    fn list(&self, path: &Path) -> io::Result<Vec<DiskName>>;
}

/// A file being written.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Writes all of `bytes`, `offset` bytes from the start.
    ///
    /// # Errors
    /// What the system says; a part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written durable.
    ///
    /// # Errors
    /// What the system says; then the file is to be thrown away.
    fn sync(&self) -> io::Result<()>;
}

/// An open file.
pub trait DiskReader: fmt::Debug + Send + Sync {
    /// # Errors
    /// What the system says.
    fn facts(&self) -> io::Result<DiskFacts>;
    /// Reads exactly `length` bytes, `offset` bytes from the start.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file is shorter, and what the system says.
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes>;
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskFacts {
    pub is_dir: bool,
    /// Bytes.
    pub length: u64,
    /// Microseconds since 1970, by the disk's clock.
    pub modified_us: i64,
    /// The file behind the name: equal for two names of one file.
    pub identity: u64,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskName {
    pub name: String,
    pub is_dir: bool,
}
