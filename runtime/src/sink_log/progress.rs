//! What a sink's workers, the coordinator and the delivery thread know in common.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tidemill_types::{Diagnostic, Epoch};

/// One logged sink of a running job.
///
/// It bounds the memory of rows that no checkpoint holds yet: those that workers have
/// collected, and those in deltas that are not committed. At half of the limit a
/// checkpoint is taken early ([`SinkProgress::is_filling`]); at the limit the job's
/// sources are not read any further, and no epochs but those of checkpoints are ended
/// ([`SinkProgress::is_full`]), until a checkpoint is committed. What is on the way
/// between the sources and the sink at that moment comes on top.
#[derive(Debug)]
pub(crate) struct SinkProgress {
    memory_bytes: u64,
    collected: AtomicU64,
    /// In deltas, by the epoch of their checkpoint.
    waiting: Mutex<BTreeMap<Epoch, u64>>,
    /// The last epoch whose slice, like all before it, is at its destination.
    delivered: AtomicU64,
    /// Why delivery does not get on.
    failure: Mutex<Option<Diagnostic>>,
}

impl SinkProgress {
    pub fn new(memory_bytes: u64) -> Self {
        SinkProgress {
            memory_bytes,
            collected: AtomicU64::new(0),
            waiting: Mutex::default(),
            delivered: AtomicU64::new(0),
            failure: Mutex::default(),
        }
    }

    /// A worker has collected rows.
    pub fn collected(&self, bytes: u64) {
        self.collected.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A worker has put what it had collected into a delta.
    pub fn dumped(&self, epoch: Epoch, bytes: u64) {
        *self.waiting.lock().entry(epoch).or_default() += bytes;
        self.collected.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The checkpoint of `epoch`, and with it all before it, is committed.
    pub fn committed(&self, epoch: Epoch) {
        let mut waiting = self.waiting.lock();
        *waiting = waiting.split_off(&epoch.next());
    }

    fn held(&self) -> u64 {
        let waiting: u64 = self.waiting.lock().values().sum();
        waiting.saturating_add(self.collected.load(Ordering::Relaxed))
    }

    /// A checkpoint should be taken before it is due.
    pub fn is_filling(&self) -> bool {
        self.held() >= self.memory_bytes / 2
    }

    /// No further row should be read.
    pub fn is_full(&self) -> bool {
        // Cheap for the common case: this is asked for every batch of a source.
        let collected = self.collected.load(Ordering::Relaxed);
        collected >= self.memory_bytes || self.held() >= self.memory_bytes
    }

    /// `None`: nothing is known to be delivered.
    pub fn delivered(&self) -> Option<Epoch> {
        match self.delivered.load(Ordering::Acquire) {
            0 => None,
            epoch => Some(Epoch(epoch)),
        }
    }

    pub fn set_delivered(&self, epoch: Epoch) {
        self.delivered.fetch_max(epoch.0, Ordering::Release);
        *self.failure.lock() = None;
    }

    pub fn failure(&self) -> Option<Diagnostic> {
        self.failure.lock().clone()
    }

    pub fn set_failure(&self, failure: Diagnostic) {
        *self.failure.lock() = Some(failure);
    }
}
