//! Makes jobs' checkpoints durable: the engine's storage thread calls, the store
//! keeps.
//!
//! ```text
//!  deltas ─► sorted, merged with what failed before ─► files ─► uploaded, committed
//!                                                        └────► taken in by the backend
//! ```
//!
//! Every job is a group of its own. What a commit could not store stays here, merged
//! into one run per family, so that it never grows beyond the job's state; it goes
//! with the job's next commit. The backend has of a job what its last acknowledged
//! checkpoint says. A commit that counts although the engine was told otherwise is
//! either followed by one that has the same changes again, or, when the engine has
//! gone back to the checkpoint before, not built on.
//!
//! Now and then a job's whole state is written anew as the base of what follows
//! ([`base_is_due`]), so that neither a manifest nor a recovery has more than a
//! bounded number of files.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tidemill_runtime::clock::Clock;
use tidemill_runtime::{CheckpointStore, JobImage, StorageFailure};
use tidemill_storage::checkpoint::{
    BaseChange, Committed, FileRef, GroupCheckpoints, GroupSettings, ManifestParts,
};
use tidemill_storage::records::{EpochBlocks, WriterId};
use tidemill_storage::state::{
    Delta, Family, IngestFile, MergedEntries, StateBackend, merged_ranges, write_run,
};
use tidemill_storage::store::Store;
use tidemill_types::JobId;
use tokio::runtime::Handle;

use super::base::{CursorSource, base_is_due};
use super::group::{Deltas, Group, WrittenFile, local_file, table_ranges, whole_range};
use super::image::Progress;
use super::ledger::{CheckpointFacts, JobFacts, Ledger};
use super::remove_group;

/// Commits of a job between two collections of its garbage.
const COLLECT_AFTER: u64 = 16;

/// What all jobs' checkpoints are made with.
pub struct Checkpoints {
    pub(super) store: Store,
    /// Where the store's input and output is done; calls block.
    pub(super) io: Handle,
    pub(super) backend: Arc<dyn StateBackend>,
    /// Where files are written before they are uploaded and taken in.
    pub(super) scratch: PathBuf,
    pub(super) writer: WriterId,
    pub(super) settings: GroupSettings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ledger: Ledger,
    pub(super) epochs: EpochBlocks,
    pub(super) groups: HashMap<JobId, Group>,
    /// Files written so far, for their names.
    pub(super) files: u64,
}

impl std::fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoints").field("store", &self.store).finish_non_exhaustive()
    }
}

impl CheckpointStore for Checkpoints {
    fn commit(
        &mut self,
        job: JobId,
        image: &JobImage,
        changes: Vec<Delta>,
    ) -> Result<(), StorageFailure> {
        let started_at = self.clock.now();
        let outcome = self.commit_now(job, image, changes);
        let (checkpoint, bytes, error) = match &outcome {
            Ok((committed, bytes)) => (Some(committed.checkpoint.checkpoint), *bytes, None),
            Err(failure) => (None, 0, Some(failure.0.clone())),
        };
        self.ledger.ended(CheckpointFacts {
            job,
            checkpoint,
            epoch: image.epoch,
            started_at,
            finished_at: self.clock.now(),
            bytes,
            error,
        });
        outcome.map(|_| ())
    }

    fn discard(&mut self, job: JobId) {
        if let Some(group) = self.groups.get_mut(&job) {
            group.pending.clear();
            group.going_back = true;
        }
    }

    fn forget(&mut self, job: JobId) -> Result<(), StorageFailure> {
        self.groups.remove(&job);
        if let Some(facts) = self.ledger.forget(job) {
            for range in table_ranges(&facts) {
                for family in Family::ALL {
                    self.backend.drop_range(family, &range).map_err(failure)?;
                }
            }
        }
        self.io.block_on(remove_group(&self.store, u64::from(job.0))).map_err(failure)
    }

    fn reserve_epochs(&mut self) -> Result<std::ops::Range<u64>, StorageFailure> {
        reserve(&self.io, &mut self.epochs)
    }
}

/// Reserves a block of epoch numbers and takes all of them.
pub(super) fn reserve(
    io: &Handle,
    epochs: &mut EpochBlocks,
) -> Result<std::ops::Range<u64>, StorageFailure> {
    io.block_on(epochs.reserve()).map_err(failure)?;
    let first = epochs.take().ok_or_else(|| StorageFailure("no epoch was reserved".to_owned()))?;
    let last = std::iter::from_fn(|| epochs.take()).last().unwrap_or(first);
    Ok(first.0..last.0 + 1)
}

impl Checkpoints {
    fn commit_now(
        &mut self,
        job: JobId,
        image: &JobImage,
        changes: Vec<Delta>,
    ) -> Result<(Committed, u64), StorageFailure> {
        // Dropped meanwhile: what it has not stored is of no use.
        let facts = self.ledger.facts(job).ok_or_else(|| failure(format!("{job} is gone")))?;
        let mut group = match self.groups.remove(&job) {
            Some(group) => group,
            None => self.take_over(job)?,
        };
        let outcome = self.commit_group(&mut group, &facts, job, image, changes);
        if outcome.is_ok() {
            self.upkeep(job, &facts, &mut group);
        }
        self.groups.insert(job, group);
        outcome
    }

    fn take_over(&self, job: JobId) -> Result<Group, StorageFailure> {
        let (group, settings) = (u64::from(job.0), self.settings);
        let taken = GroupCheckpoints::take_over(&self.store, group, self.writer, settings);
        let checkpoints = self.io.block_on(taken).map_err(failure)?;
        Ok(Group::new(checkpoints, None))
    }

    fn commit_group(
        &mut self,
        group: &mut Group,
        facts: &JobFacts,
        job: JobId,
        image: &JobImage,
        changes: Vec<Delta>,
    ) -> Result<(Committed, u64), StorageFailure> {
        let deltas = group.take(changes);
        let written = self.prepare(group).and_then(|()| self.write(job, &deltas));
        let outcome = written.and_then(|files| {
            let committed = self.upload(group, facts, image, &files);
            let outcome = committed.and_then(|committed| {
                self.take_in(&files)?;
                group.acknowledge(committed.checkpoint.checkpoint, &files);
                Ok((committed, files.iter().map(|f| f.file.bytes).sum()))
            });
            remove_files(&files);
            outcome
        });
        if outcome.is_err() {
            group.keep(deltas).map_err(failure)?;
        }
        outcome
    }

    /// Finds out what became of a commit whose outcome was unknown, and goes back to
    /// where the engine is.
    fn prepare(&self, group: &mut Group) -> Result<(), StorageFailure> {
        self.io.block_on(group.checkpoints.settle()).map_err(failure)?;
        if let (true, Some(known)) = (group.going_back, group.acknowledged) {
            let last = group.checkpoints.history().last().map(|c| c.checkpoint);
            if last != Some(known) {
                self.io.block_on(group.checkpoints.resume_from(known)).map_err(failure)?;
            }
        }
        group.going_back = false;
        Ok(())
    }

    fn write(&mut self, job: JobId, deltas: &Deltas) -> Result<Vec<WrittenFile>, StorageFailure> {
        let mut files = Vec::new();
        for (family, deltas) in deltas {
            let path = self.new_path(job, *family);
            let ranges = merged_ranges(deltas);
            let format = self.backend.run_format();
            match write_run(format, &path, &ranges, &mut MergedEntries::new(deltas)) {
                Ok(file) => files.extend(file.map(|file| WrittenFile { family: *family, file })),
                Err(error) => {
                    remove_files(&files);
                    return Err(failure(error));
                }
            }
        }
        Ok(files)
    }

    fn upload(
        &self,
        group: &mut Group,
        facts: &JobFacts,
        image: &JobImage,
        files: &[WrittenFile],
    ) -> Result<Committed, StorageFailure> {
        let Progress { sources, operators } = Progress::of(image, facts);
        let base = match &group.base.next {
            Some((files, through)) => {
                BaseChange::Replace { files: files.clone(), through: *through }
            }
            None => BaseChange::Keep,
        };
        let parts = ManifestParts {
            epoch: image.epoch.0,
            parallelism: image.parallelism,
            created_at_us: self.clock.now(),
            base,
            sources,
            operators,
            finished: image.finished,
            skeleton: facts.skeleton.clone(),
        };
        let locals = files.iter().map(local_file).collect();
        self.io.block_on(group.checkpoints.commit(locals, parts)).map_err(failure)
    }

    /// Lets the backend have what is committed.
    fn take_in(&self, files: &[WrittenFile]) -> Result<(), StorageFailure> {
        let ingest = |f: &WrittenFile| IngestFile { family: f.family, path: f.file.path.clone() };
        let files: Vec<_> = files.iter().map(ingest).collect();
        let taken = self.backend.ingest(&files);
        taken.map_err(|e| failure(format!("committed files were not taken in: {e}")))
    }

    /// What follows a commit and may fail without harm to it: it is done again
    /// after the next one.
    fn upkeep(&mut self, job: JobId, facts: &JobFacts, group: &mut Group) {
        let base = &group.base;
        if base.next.is_none() && base_is_due(base.bytes, base.deltas, base.delta_bytes) {
            match self.write_base(job, facts, group) {
                Ok(next) => group.base.next = next,
                Err(error) => tracing::error!(%job, %error, "a new base was not written"),
            }
        }
        if group.commits.is_multiple_of(COLLECT_AFTER) {
            let now = self.clock.now();
            match self.io.block_on(group.checkpoints.collect_garbage(now)) {
                Ok(collected) => tracing::debug!(%job, ?collected, "garbage was collected"),
                Err(error) => tracing::warn!(%job, %error, "garbage was not collected"),
            }
        }
    }

    /// Writes the whole state of a job, as of its last commit, and uploads it.
    fn write_base(
        &mut self,
        job: JobId,
        facts: &JobFacts,
        group: &mut Group,
    ) -> Result<Option<(Vec<FileRef>, u64)>, StorageFailure> {
        let Some(through) = group.acknowledged else { return Ok(None) };
        let Some(range) = whole_range(facts) else { return Ok(None) };
        let uploader = group.checkpoints.uploader();
        let mut uploaded = Vec::new();
        for family in Family::ALL {
            let path = self.new_path(job, family);
            let cursor = self.backend.scan(family, &range).map_err(failure)?;
            let format = self.backend.run_format();
            let written = write_run(format, &path, &[], &mut CursorSource(cursor));
            let Some(file) = written.map_err(failure)? else { continue };
            let written = WrittenFile { family, file };
            let sent = self.io.block_on(uploader.upload(local_file(&written)));
            remove_files(&[written]);
            match sent {
                Ok(file) => uploaded.push(file),
                Err(error) => {
                    uploaded.iter().for_each(|file| uploader.release(file));
                    return Err(failure(error));
                }
            }
        }
        Ok(Some((uploaded, through)))
    }

    /// A path for a new file; names are not used twice.
    pub(super) fn new_path(&mut self, job: JobId, family: Family) -> PathBuf {
        self.files += 1;
        let extension = self.backend.run_format().extension();
        self.scratch.join(format!("{}-{}-{}.{extension}", job.0, family.name(), self.files))
    }
}

fn remove_files(files: &[WrittenFile]) {
    files.iter().for_each(|f| remove(&f.file.path));
}

/// What stays is removed at the next start.
pub(super) fn remove(path: &std::path::Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "a scratch file stays");
    }
}

pub(super) fn failure(error: impl std::fmt::Display) -> StorageFailure {
    StorageFailure(error.to_string())
}
