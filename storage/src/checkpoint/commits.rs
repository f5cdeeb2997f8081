//! The group's sequence: one record per checkpoint.

use bytes::Bytes;

use super::error::CheckpointError;
use super::manifest::{Checksum, Manifest};
use super::wire;
use crate::records::Loaded;
use crate::store::Store;

/// A committed checkpoint: what its record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRef {
    pub checkpoint: u64,
    /// The term of the owner that committed it.
    pub term: u64,
    pub epoch: u64,
    /// The manifest's path in the store.
    pub manifest: String,
    /// Bytes of the manifest.
    pub length: u64,
    pub checksum: Checksum,
}

impl CheckpointRef {
    /// Names `manifest`, to be stored as `bytes` under `path`.
    pub(super) fn to(manifest: &Manifest, path: String, bytes: &Bytes) -> Self {
        CheckpointRef {
            checkpoint: manifest.checkpoint,
            term: manifest.term,
            epoch: manifest.epoch,
            manifest: path,
            length: bytes.len() as u64,
            checksum: Checksum::of(bytes),
        }
    }

    /// Reads the manifest and proves that it is the one that was committed.
    pub(super) async fn read(
        &self,
        store: &Store,
        group: u64,
    ) -> Result<Manifest, CheckpointError> {
        let file = &self.manifest;
        let bytes = store
            .get(file)
            .await?
            .ok_or_else(|| CheckpointError::Missing { file: file.clone() })?;
        let length = bytes.len() as u64;
        if length != self.length {
            let reason = format!("it has {length} bytes where {} were committed", self.length);
            return Err(CheckpointError::damaged(file, reason));
        }
        if Checksum::of(&bytes) != self.checksum {
            return Err(CheckpointError::damaged(file, "its bytes do not match its checksum"));
        }
        let manifest =
            wire::decode_manifest(bytes).map_err(|e| CheckpointError::damaged(file, e))?;
        let found = (manifest.group, manifest.checkpoint, manifest.term, manifest.epoch);
        if found != (group, self.checkpoint, self.term, self.epoch) {
            return Err(CheckpointError::damaged(file, "it is of another checkpoint"));
        }
        Ok(manifest)
    }
}

/// The committed checkpoints that a sequence tells of, oldest first.
pub(super) fn history(name: &str, loaded: &Loaded) -> Result<Vec<CheckpointRef>, CheckpointError> {
    let mut history = Vec::new();
    if let Some(snapshot) = &loaded.snapshot {
        let file = format!("{name}/snapshot/{:020}", snapshot.number);
        history = wire::decode_history(snapshot.payload.clone())
            .map_err(|reason| CheckpointError::damaged(&file, reason))?;
    }
    for record in &loaded.records {
        let file = format!("{name}/records/{:020}", record.number);
        let commit = wire::decode_commit(record.payload.clone())
            .map_err(|reason| CheckpointError::damaged(&file, reason))?;
        history.push(commit);
    }
    Ok(history)
}
