//! Checkpoints of a job group: states that survive the process.
//!
//! ```text
//!  groups/<g>/files/<term>-<checkpoint>-<family>-<n>.sst     state, sorted by key
//!  groups/<g>/manifests/<checkpoint>-<term>                  what a checkpoint consists of
//!  groups/<g>/records/<number>                               a record per checkpoint
//!  groups/<g>/snapshot/<number>                              the fold of old records
//! ```
//!
//! A commit uploads its files, then the manifest that names them with length and
//! checksum, then appends a record that names the manifest with length and checksum to
//! the group's dense sequence. **A checkpoint is committed iff that record exists**;
//! whatever else is there is garbage. A state is a base and the deltas since, oldest
//! first; a delta is full (key to value, or key deleted), so that applying one twice
//! does no harm.
//!
//! Invariants:
//! * The epochs of a group's checkpoints rise.
//! * No name is used twice: names carry the owner's term and the checkpoint, and a
//!   failed commit uses its number up.
//! * Nothing is read back without comparing length and checksum; what does not match
//!   is refused with the file's name, never skipped.
//! * Garbage collection never removes what a retained checkpoint reaches, what may
//!   still be uploading, or what is young.
//!
//! Deliberately absent: what the files contain, and when checkpoints are taken.

mod commits;
mod error;
mod fetch;
mod gc;
mod group;
mod manifest;
mod names;
mod retain;
mod upload;
mod wire;

#[cfg(test)]
mod gc_tests;
#[cfg(test)]
mod tests;

pub use commits::CheckpointRef;
pub use error::CheckpointError;
pub use gc::{Collected, Judgement, Reach, Verdict, classify};
pub use group::{BaseChange, Committed, GroupCheckpoints, GroupSettings, ManifestParts};
pub use manifest::{Checksum, FileRef, Manifest, OperatorProgress, SplitPosition};
pub use names::Generation;
pub use retain::retained;
pub use upload::{FileBody, LocalFile, Uploader};
