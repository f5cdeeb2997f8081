//! What an engine leaves behind, in memory, for the next one.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tidemill_runtime::{CheckpointStore, JobImage, StorageFailure};
use tidemill_storage::state::{Delta, ModelBackend};
use tidemill_types::JobId;

/// What outlives an engine.
#[derive(Default)]
pub struct Disk {
    /// As of the last commit of each job.
    pub state: Arc<ModelBackend>,
    pub images: Mutex<BTreeMap<JobId, JobImage>>,
    /// Changes of commits that failed; they come with the next.
    waiting: Mutex<BTreeMap<JobId, Vec<Delta>>>,
    epochs: AtomicU64,
    /// Commits to fail, counted down.
    pub failures: AtomicU64,
}

/// A store of checkpoints over a [`Disk`].
pub struct Commits(Arc<Disk>);

impl Commits {
    /// For an engine that starts.
    pub fn new(disk: &Arc<Disk>) -> Self {
        // What a failed commit was to store died with the process.
        disk.waiting.lock().clear();
        Commits(Arc::clone(disk))
    }
}

impl CheckpointStore for Commits {
    fn commit(
        &mut self,
        job: JobId,
        image: &JobImage,
        changes: Vec<Delta>,
    ) -> Result<(), StorageFailure> {
        let mut waiting = self.0.waiting.lock();
        let all = waiting.entry(job).or_default();
        all.extend(changes);
        let left = self.0.failures.load(Ordering::Relaxed);
        if left > 0 {
            self.0.failures.store(left - 1, Ordering::Relaxed);
            return Err(StorageFailure("the store is down".into()));
        }
        for delta in std::mem::take(all) {
            for (family, run) in delta.into_runs() {
                self.0.state.apply(family, &run);
            }
        }
        self.0.images.lock().insert(job, image.clone());
        Ok(())
    }

    fn discard(&mut self, job: JobId) {
        self.0.waiting.lock().remove(&job);
    }

    fn forget(&mut self, job: JobId) -> Result<(), StorageFailure> {
        self.0.images.lock().remove(&job);
        Ok(())
    }

    fn reserve_epochs(&mut self) -> Result<Range<u64>, StorageFailure> {
        let start = self.0.epochs.fetch_add(100_000, Ordering::Relaxed);
        Ok(start..start + 100_000)
    }
}
