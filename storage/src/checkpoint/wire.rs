//! Manifests and commit records as protobuf. The one place that knows the encoding.
//!
//! Fields are added, never renumbered; a change of meaning is a new format version.

use bytes::Bytes;
use prost::Message;

use super::commits::CheckpointRef;
use super::manifest::{Checksum, FileRef, Manifest, OperatorProgress, SplitPosition};

/// The version that this build writes, and the newest that it reads.
const FORMAT_VERSION: u32 = 1;

#[derive(Clone, PartialEq, Message)]
struct FileMessage {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(string, tag = "2")]
    family: String,
    #[prost(uint64, tag = "3")]
    length: u64,
    #[prost(bytes = "bytes", tag = "4")]
    checksum: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    first_key: Bytes,
    #[prost(bytes = "bytes", tag = "6")]
    last_key: Bytes,
    #[prost(uint64, tag = "7")]
    entries: u64,
}

#[derive(Clone, PartialEq, Message)]
struct SplitMessage {
    #[prost(uint64, tag = "1")]
    operator: u64,
    #[prost(uint64, tag = "2")]
    source: u64,
    #[prost(uint32, tag = "3")]
    split: u32,
    #[prost(string, tag = "4")]
    split_name: String,
    #[prost(uint64, tag = "5")]
    offset: u64,
    #[prost(uint64, tag = "6")]
    rejected: u64,
    #[prost(sint64, tag = "7")]
    watermark: i64,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorMessage {
    #[prost(uint64, tag = "1")]
    operator: u64,
    #[prost(sint64, repeated, tag = "2")]
    watermarks: Vec<i64>,
    #[prost(uint64, repeated, tag = "3")]
    counters: Vec<u64>,
    #[prost(bytes = "bytes", tag = "4")]
    opaque: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct ManifestMessage {
    #[prost(uint32, tag = "1")]
    format_version: u32,
    #[prost(uint64, tag = "2")]
    group: u64,
    #[prost(uint64, tag = "3")]
    checkpoint: u64,
    #[prost(uint64, tag = "4")]
    term: u64,
    #[prost(uint64, tag = "5")]
    epoch: u64,
    #[prost(uint64, optional, tag = "6")]
    parent: Option<u64>,
    #[prost(uint32, tag = "7")]
    parallelism: u32,
    #[prost(sint64, tag = "8")]
    created_at_us: i64,
    #[prost(message, repeated, tag = "9")]
    base: Vec<FileMessage>,
    #[prost(message, repeated, tag = "10")]
    deltas: Vec<FileMessage>,
    #[prost(message, repeated, tag = "11")]
    sources: Vec<SplitMessage>,
    #[prost(message, repeated, tag = "12")]
    operators: Vec<OperatorMessage>,
    #[prost(bool, tag = "13")]
    finished: bool,
    #[prost(bytes = "bytes", tag = "14")]
    skeleton: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct CommitMessage {
    #[prost(uint64, tag = "1")]
    checkpoint: u64,
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(uint64, tag = "3")]
    epoch: u64,
    #[prost(string, tag = "4")]
    manifest: String,
    #[prost(uint64, tag = "5")]
    length: u64,
    #[prost(bytes = "bytes", tag = "6")]
    checksum: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct HistoryMessage {
    #[prost(uint32, tag = "1")]
    format_version: u32,
    #[prost(message, repeated, tag = "2")]
    commits: Vec<CommitMessage>,
}

pub(super) fn encode_manifest(manifest: &Manifest) -> Bytes {
    let files = |files: &[FileRef]| files.iter().map(file_message).collect();
    let split = |split: &SplitPosition| SplitMessage {
        operator: split.operator,
        source: split.source,
        split: split.split,
        split_name: split.split_name.clone(),
        offset: split.offset,
        rejected: split.rejected,
        watermark: split.watermark,
    };
    let operator = |operator: &OperatorProgress| OperatorMessage {
        operator: operator.operator,
        watermarks: operator.watermarks.clone(),
        counters: operator.counters.clone(),
        opaque: operator.opaque.clone(),
    };
    let message = ManifestMessage {
        format_version: FORMAT_VERSION,
        group: manifest.group,
        checkpoint: manifest.checkpoint,
        term: manifest.term,
        epoch: manifest.epoch,
        parent: manifest.parent,
        parallelism: manifest.parallelism,
        created_at_us: manifest.created_at_us,
        base: files(&manifest.base),
        deltas: files(&manifest.deltas),
        sources: manifest.sources.iter().map(split).collect(),
        operators: manifest.operators.iter().map(operator).collect(),
        finished: manifest.finished,
        skeleton: manifest.skeleton.clone(),
    };
    message.encode_to_vec().into()
}

/// The error says what is wrong with the bytes.
pub(super) fn decode_manifest(bytes: Bytes) -> Result<Manifest, String> {
    let message = ManifestMessage::decode(bytes).map_err(|error| error.to_string())?;
    check_version(message.format_version)?;
    let files = |files: Vec<FileMessage>| files.into_iter().map(file).collect::<Result<_, _>>();
    let split = |split: SplitMessage| SplitPosition {
        operator: split.operator,
        source: split.source,
        split: split.split,
        split_name: split.split_name,
        offset: split.offset,
        rejected: split.rejected,
        watermark: split.watermark,
    };
    let operator = |operator: OperatorMessage| OperatorProgress {
        operator: operator.operator,
        watermarks: operator.watermarks,
        counters: operator.counters,
        opaque: operator.opaque,
    };
    Ok(Manifest {
        group: message.group,
        checkpoint: message.checkpoint,
        term: message.term,
        epoch: message.epoch,
        parent: message.parent,
        parallelism: message.parallelism,
        created_at_us: message.created_at_us,
        base: files(message.base)?,
        deltas: files(message.deltas)?,
        sources: message.sources.into_iter().map(split).collect(),
        operators: message.operators.into_iter().map(operator).collect(),
        finished: message.finished,
        skeleton: message.skeleton,
    })
}

pub(super) fn encode_commit(commit: &CheckpointRef) -> Bytes {
    commit_message(commit).encode_to_vec().into()
}

pub(super) fn decode_commit(bytes: Bytes) -> Result<CheckpointRef, String> {
    commit(CommitMessage::decode(bytes).map_err(|error| error.to_string())?)
}

pub(super) fn encode_history(history: &[CheckpointRef]) -> Bytes {
    let commits = history.iter().map(commit_message).collect();
    HistoryMessage { format_version: FORMAT_VERSION, commits }.encode_to_vec().into()
}

pub(super) fn decode_history(bytes: Bytes) -> Result<Vec<CheckpointRef>, String> {
    let message = HistoryMessage::decode(bytes).map_err(|error| error.to_string())?;
    check_version(message.format_version)?;
    message.commits.into_iter().map(commit).collect()
}

fn check_version(version: u32) -> Result<(), String> {
    if (1..=FORMAT_VERSION).contains(&version) {
        Ok(())
    } else {
        Err(format!("its format is version {version}; this build reads up to {FORMAT_VERSION}"))
    }
}

fn file_message(file: &FileRef) -> FileMessage {
    FileMessage {
        path: file.path.clone(),
        family: file.family.clone(),
        length: file.length,
        checksum: Bytes::copy_from_slice(&file.checksum.0),
        first_key: file.first_key.clone(),
        last_key: file.last_key.clone(),
        entries: file.entries,
    }
}

fn file(message: FileMessage) -> Result<FileRef, String> {
    Ok(FileRef {
        checksum: checksum(&message.checksum)?,
        path: message.path,
        family: message.family,
        length: message.length,
        first_key: message.first_key,
        last_key: message.last_key,
        entries: message.entries,
    })
}

fn commit_message(commit: &CheckpointRef) -> CommitMessage {
    CommitMessage {
        checkpoint: commit.checkpoint,
        term: commit.term,
        epoch: commit.epoch,
        manifest: commit.manifest.clone(),
        length: commit.length,
        checksum: Bytes::copy_from_slice(&commit.checksum.0),
    }
}

fn commit(message: CommitMessage) -> Result<CheckpointRef, String> {
    Ok(CheckpointRef {
        checksum: checksum(&message.checksum)?,
        checkpoint: message.checkpoint,
        term: message.term,
        epoch: message.epoch,
        manifest: message.manifest,
        length: message.length,
    })
}

fn checksum(bytes: &Bytes) -> Result<Checksum, String> {
    let bytes = bytes[..].try_into();
    bytes.map(Checksum).map_err(|_| "a checksum in it does not have 16 bytes".to_owned())
}
