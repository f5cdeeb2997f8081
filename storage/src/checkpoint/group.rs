//! The checkpoints of one job group, and their one writer.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::commits::{CheckpointRef, history};
use super::error::CheckpointError;
use super::manifest::{FileRef, Manifest, OperatorProgress, SplitPosition};
use super::names::{self, Generation};
use super::upload::{LocalFile, Uploader};
use super::{fetch, wire};
use crate::crash;
use crate::records::{AppendError, RecordSequence, WriterId};
use crate::store::Store;

/// Files of one commit that are uploaded at a time.
const UPLOADS: usize = 4;

/// What is kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Checkpoints that are kept; at least 1.
    pub retain: usize,
    /// Objects younger than this are never removed.
    pub age_floor: Duration,
    /// Commits after which garbage collection folds the sequence; at least 1.
    pub fold_after: usize,
}

impl Default for GroupSettings {
    /// 3 checkpoints, an hour, 32 commits.
    fn default() -> Self {
        Self { retain: 3, age_floor: Duration::from_secs(3600), fold_after: 32 }
    }
}

/// What a commit says besides its files.
#[derive(Clone, Debug, Default)]
pub struct ManifestParts {
    /// The epoch whose end this is the state of; greater than the last one committed.
    pub epoch: u64,
    pub parallelism: u32,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    pub base: BaseChange,
    pub sources: Vec<SplitPosition>,
    pub operators: Vec<OperatorProgress>,
    pub finished: bool,
    pub skeleton: Bytes,
}

/// What the deltas of a checkpoint are applied to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BaseChange {
    /// The parent's base and deltas, then the new deltas.
    #[default]
    Keep,
    /// Uploaded files that hold the whole state as of the checkpoint `through`, then
    /// the deltas committed after that one, then the new ones.
    Replace { files: Vec<FileRef>, through: u64 },
}

/// A checkpoint that is in the group's sequence for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The number of its record.
    pub record: u64,
    pub checkpoint: CheckpointRef,
}

/// The owner of a group's checkpoints; see the module.
#[derive(Debug)]
pub struct GroupCheckpoints {
    pub(super) store: Store,
    pub(super) group: u64,
    pub(super) sequence: RecordSequence,
    pub(super) settings: GroupSettings,
    /// Committed checkpoints, oldest first; what was dropped from the fold is not here.
    pub(super) history: Vec<CheckpointRef>,
    /// What the next commit builds on, once it is read.
    pub(super) parent: Option<Manifest>,
    pub(super) uploader: Uploader,
    /// A checkpoint whose record may be in the sequence.
    pub(super) unsettled: Option<Manifest>,
    /// Checkpoints that are kept although newer ones are there.
    pub(super) held: BTreeSet<u64>,
    /// Commits since the last fold.
    pub(super) unfolded: usize,
}

impl GroupCheckpoints {
    /// Takes the checkpoints of `group` over: from now on whoever had them before
    /// commits nothing more.
    ///
    /// # Errors
    /// [`CheckpointError::Sequence`]; [`CheckpointError::Damaged`] where a record
    /// makes no sense.
    pub async fn take_over(
        store: &Store,
        group: u64,
        writer: WriterId,
        settings: GroupSettings,
    ) -> Result<Self, CheckpointError> {
        let name = names::group(group);
        let (sequence, loaded) = RecordSequence::take_over(store, &name, writer).await?;
        let history = history(&name, &loaded)?;
        let next = history.iter().map(|commit| commit.checkpoint + 1).max().unwrap_or(1);
        let uploader = Uploader::new(store.clone(), group, sequence.term(), next);
        Ok(Self {
            store: store.clone(),
            group,
            sequence,
            settings,
            unfolded: loaded.records.len(),
            history,
            parent: None,
            uploader,
            unsettled: None,
            held: BTreeSet::new(),
        })
    }

    /// The last committed checkpoint of `group`, for one who only looks.
    ///
    /// # Errors
    /// [`CheckpointError`]: what cannot be proved whole is refused.
    pub async fn peek(store: &Store, group: u64) -> Result<Option<Manifest>, CheckpointError> {
        let name = names::group(group);
        let loaded = RecordSequence::load(store, &name).await?;
        match history(&name, &loaded)?.last() {
            Some(last) => Ok(Some(last.read(store, group).await?)),
            None => Ok(None),
        }
    }

    /// The last committed checkpoint; None in a group that has none.
    ///
    /// # Errors
    /// [`CheckpointError::Missing`] and [`CheckpointError::Damaged`] name the manifest.
    /// An older checkpoint may still be whole: [`GroupCheckpoints::resume_from`].
    pub async fn latest(&self) -> Result<Option<Manifest>, CheckpointError> {
        match self.history.last() {
            Some(last) => Ok(Some(last.read(&self.store, self.group).await?)),
            None => Ok(None),
        }
    }

    /// The committed checkpoints that are still known, oldest first.
    #[must_use]
    pub fn history(&self) -> &[CheckpointRef] {
        &self.history
    }

    /// Goes on from an older checkpoint: the next commit builds on it, and until then
    /// its files are kept.
    ///
    /// # Errors
    /// [`CheckpointError::NoCheckpoint`], and as [`GroupCheckpoints::latest`].
    pub async fn resume_from(&mut self, checkpoint: u64) -> Result<Manifest, CheckpointError> {
        let known = self.history.iter().find(|commit| commit.checkpoint == checkpoint);
        let group = self.group;
        let known = known.ok_or(CheckpointError::NoCheckpoint { group, checkpoint })?;
        let manifest = known.read(&self.store, group).await?;
        self.parent = Some(manifest.clone());
        Ok(manifest)
    }

    /// Keeps a checkpoint, while somebody reads it, until it is let go of or the
    /// process ends.
    pub fn hold(&mut self, checkpoint: u64) {
        self.held.insert(checkpoint);
    }

    /// Lets go of a checkpoint.
    pub fn let_go(&mut self, checkpoint: u64) {
        self.held.remove(&checkpoint);
    }

    /// Uploads files ahead of a commit: the files of a base.
    #[must_use]
    pub fn uploader(&self) -> Uploader {
        self.uploader.clone()
    }

    /// Commits a checkpoint whose new deltas are `files`, oldest first.
    ///
    /// # Errors
    /// [`CheckpointError::Append`] with [`AppendError::Fenced`]: another owner; stop.
    /// With [`AppendError::Unsettled`]: the checkpoint may be committed, now or later;
    /// every commit fails so until [`GroupCheckpoints::settle`] succeeds. After any
    /// other error it is not committed, and the next commit tries anew.
    pub async fn commit(
        &mut self,
        files: Vec<LocalFile>,
        parts: ManifestParts,
    ) -> Result<Committed, CheckpointError> {
        if self.unsettled.is_some() {
            return Err(self.still_unsettled());
        }
        if let Some(last) = self.history.last()
            && parts.epoch <= last.epoch
        {
            return Err(CheckpointError::EpochOrder { epoch: parts.epoch, last: last.epoch });
        }
        self.load_parent().await?;
        let checkpoint = self.uploader.next.load(Ordering::SeqCst);
        crash::point("checkpoint.before_upload");
        let uploads = files.into_iter().map(|file| self.uploader.upload(file));
        let uploaded = stream::iter(uploads.collect::<Vec<_>>())
            .buffered(UPLOADS)
            .inspect_ok(|_| crash::point("checkpoint.after_file"))
            .try_collect::<Vec<FileRef>>()
            .await;
        // The number is used up, however this ends.
        self.uploader.next.store(checkpoint + 1, Ordering::SeqCst);
        crash::point("checkpoint.after_uploads");
        let manifest = self.manifest(checkpoint, uploaded?, parts);
        let committed = self.commit_manifest(manifest.clone()).await;
        if committed.is_err() && self.unsettled.is_none() {
            manifest.deltas.iter().for_each(|file| self.uploader.release(file));
        }
        committed
    }

    /// Finds out whether the checkpoint of the last commit is in the sequence, by
    /// appending its record again. None where nothing is unsettled.
    ///
    /// # Errors
    /// [`CheckpointError::Append`]: still unknown, or fenced.
    pub async fn settle(&mut self) -> Result<Option<Committed>, CheckpointError> {
        let Some(manifest) = self.unsettled.clone() else { return Ok(None) };
        if !self.sequence.is_unsettled() {
            // Appending was given up before it began.
            self.unsettled = None;
            return Ok(None);
        }
        let record = self.sequence.settle().await?;
        let commit = self.name_manifest(&manifest).0;
        Ok(Some(self.committed(record, commit, manifest)))
    }

    /// Reads a file of a checkpoint into a new file at `to`, which is not synced.
    ///
    /// # Errors
    /// [`CheckpointError::Missing`] and [`CheckpointError::Damaged`] name the file in
    /// the store; then there is no file at `to`.
    pub async fn fetch(&self, file: &FileRef, to: &Path) -> Result<(), CheckpointError> {
        fetch::to_path(&self.store, self.group, file, to).await
    }

    /// Reads a file of a checkpoint into memory.
    ///
    /// # Errors
    /// As [`GroupCheckpoints::fetch`].
    pub async fn fetch_bytes(&self, file: &FileRef) -> Result<Bytes, CheckpointError> {
        fetch::to_memory(&self.store, self.group, file).await
    }

    /// What is being made now; whatever is of this generation or a later one is kept.
    pub(super) fn in_flight(&self) -> Generation {
        let checkpoint = self.uploader.next.load(Ordering::SeqCst);
        Generation { term: self.sequence.term(), checkpoint }
    }

    async fn load_parent(&mut self) -> Result<(), CheckpointError> {
        if self.parent.is_none() {
            self.parent = self.latest().await?;
        }
        Ok(())
    }

    fn manifest(&self, checkpoint: u64, new: Vec<FileRef>, parts: ManifestParts) -> Manifest {
        let parent = self.parent.as_ref();
        let (base, kept) = match parts.base {
            BaseChange::Keep => {
                parent.map(|p| (p.base.clone(), p.deltas.clone())).unwrap_or_default()
            }
            BaseChange::Replace { files, through } => {
                let later = |file: &&FileRef| {
                    names::file_of(self.group, &file.path)
                        .is_some_and(|(made, _)| made.checkpoint > through)
                };
                let deltas = parent.map(|p| p.deltas.iter().filter(later).cloned().collect());
                (files, deltas.unwrap_or_default())
            }
        };
        Manifest {
            group: self.group,
            checkpoint,
            term: self.sequence.term(),
            epoch: parts.epoch,
            parent: parent.map(|p| p.checkpoint),
            parallelism: parts.parallelism,
            created_at_us: parts.created_at_us,
            base,
            deltas: kept.into_iter().chain(new).collect(),
            sources: parts.sources,
            operators: parts.operators,
            finished: parts.finished,
            skeleton: parts.skeleton,
        }
    }

    fn name_manifest(&self, manifest: &Manifest) -> (CheckpointRef, Bytes) {
        let made = Generation { term: manifest.term, checkpoint: manifest.checkpoint };
        let bytes = wire::encode_manifest(manifest);
        let path = names::manifest(self.group, made);
        (CheckpointRef::to(manifest, path, &bytes), bytes)
    }

    async fn commit_manifest(&mut self, manifest: Manifest) -> Result<Committed, CheckpointError> {
        let (commit, bytes) = self.name_manifest(&manifest);
        crash::point("checkpoint.before_manifest");
        if !self.store.create(&commit.manifest, bytes).await?.is_created() {
            return Err(CheckpointError::Taken { file: commit.manifest });
        }
        crash::point("checkpoint.after_manifest");
        self.unsettled = Some(manifest.clone());
        crash::point("checkpoint.before_record");
        let appended = self.sequence.append(wire::encode_commit(&commit)).await;
        if !self.sequence.is_unsettled() {
            self.unsettled = None;
        }
        let record = appended?;
        crash::point("checkpoint.after_record");
        Ok(self.committed(record, commit, manifest))
    }

    fn committed(&mut self, record: u64, commit: CheckpointRef, manifest: Manifest) -> Committed {
        manifest.files().for_each(|file| self.uploader.release(file));
        self.unsettled = None;
        self.unfolded += 1;
        self.history.push(commit.clone());
        self.parent = Some(manifest);
        Committed { record, checkpoint: commit }
    }

    fn still_unsettled(&self) -> CheckpointError {
        let (sequence, number) = (self.sequence.name().to_owned(), self.sequence.last() + 1);
        AppendError::Unsettled { sequence, number, source: None }.into()
    }
}
