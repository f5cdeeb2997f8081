//! Files on their way back, compared with what was committed.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures::stream::StreamExt;
use xxhash_rust::xxh3::Xxh3;

use super::error::CheckpointError;
use super::manifest::{Checksum, FileRef};
use super::names;
use crate::store::{Store, blocking};

/// Reads a file of `group` into a new file at `to`, which is not synced.
pub(super) async fn to_path(
    store: &Store,
    group: u64,
    file: &FileRef,
    to: &Path,
) -> Result<(), CheckpointError> {
    check_name(group, file)?;
    let mut attempts = store.pace().attempts();
    loop {
        let path = to.to_path_buf();
        let created = blocking(move || File::create(path)).await;
        let created = created.map_err(|e| local("create", to, e))?;
        let failed = match copy(store, file, Some((created, to))).await {
            Ok(_) => return Ok(()),
            Err(failed) => failed,
        };
        let store_failed = matches!(failed, CheckpointError::Store(_));
        if !store_failed || !attempts.again().await {
            // Nobody shall take what was refused for the file.
            let path = to.to_path_buf();
            let _ = blocking(move || std::fs::remove_file(path)).await;
            return Err(failed);
        }
    }
}

/// Reads a file of `group` into memory.
pub(super) async fn to_memory(
    store: &Store,
    group: u64,
    file: &FileRef,
) -> Result<Bytes, CheckpointError> {
    check_name(group, file)?;
    let mut attempts = store.pace().attempts();
    loop {
        match copy(store, file, None).await {
            Err(CheckpointError::Store(_)) if attempts.again().await => {}
            read => return read,
        }
    }
}

/// The name tells the group and the family; a manifest that was put together wrongly
/// shows here.
fn check_name(group: u64, file: &FileRef) -> Result<(), CheckpointError> {
    match names::file_of(group, &file.path) {
        Some((_, family)) if family == file.family => Ok(()),
        Some(_) => {
            let reason = format!("it is not of the family {}", file.family);
            Err(CheckpointError::damaged(&file.path, reason))
        }
        None => {
            let reason = format!("it is not a file of group {group}");
            Err(CheckpointError::damaged(&file.path, reason))
        }
    }
}

/// Reads a file into another, or into memory where there is none to write to.
async fn copy(
    store: &Store,
    file: &FileRef,
    mut to: Option<(File, &Path)>,
) -> Result<Bytes, CheckpointError> {
    let opened = store.get_pieces(&file.path).await?;
    let mut pieces = opened.ok_or_else(|| CheckpointError::Missing { file: file.path.clone() })?;
    let mut hash = Xxh3::new();
    let mut length = 0;
    let mut memory = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        hash.update(&piece);
        length += piece.len() as u64;
        if length > file.length {
            break;
        }
        to = match to {
            None => {
                memory.extend_from_slice(&piece);
                None
            }
            Some((mut out, path)) => {
                let write = move || out.write_all(&piece).map(|()| out);
                Some((blocking(write).await.map_err(|e| local("write", path, e))?, path))
            }
        };
    }
    if length != file.length {
        let more = if length > file.length { "more than " } else { "" };
        let found = length.min(file.length);
        let reason = format!("it has {more}{found} bytes where {} were committed", file.length);
        return Err(CheckpointError::damaged(&file.path, reason));
    }
    if Checksum::from_number(hash.digest128()) != file.checksum {
        let reason = "its bytes do not match the checksum in the manifest";
        return Err(CheckpointError::damaged(&file.path, reason));
    }
    Ok(memory.freeze())
}

fn local(action: &'static str, path: &Path, source: std::io::Error) -> CheckpointError {
    CheckpointError::Local { action, path: path.to_path_buf(), source }
}
