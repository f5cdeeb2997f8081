//! What is known of jobs' checkpoints: what they consist of, and how the last ones
//! went, for `tm_catalog.checkpoints` and the metrics.
//!
//! Sessions, the storage thread and scrapes meet here; nobody holds the lock for
//! longer than a copy.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tidemill_types::{Epoch, EventTime, JobId, ObjectId, OperatorId, TableId};

use crate::catalog::record::{JobDefinition, RecordError};
use crate::catalog::skeleton::SkeletonSource;

/// Checkpoints of one job that are remembered, failed ones included.
pub const REMEMBERED_MAX: usize = 16;

/// What does not change in the life of a job.
#[derive(Clone, Debug)]
pub struct JobFacts {
    /// The stateful skeleton as the manifests have it.
    pub skeleton: Bytes,
    /// What its source operators read.
    pub sources: BTreeMap<OperatorId, ObjectId>,
    pub first_table: TableId,
    pub tables: u32,
}

impl JobFacts {
    /// # Errors
    /// The state has columns of a type without a stored form.
    pub fn of(definition: &JobDefinition) -> Result<Self, RecordError> {
        let sources = definition.skeleton.sources();
        Ok(JobFacts {
            skeleton: definition.skeleton.encode()?.into(),
            sources: sources
                .map(|SkeletonSource { operator, source }| (operator, source))
                .collect(),
            first_table: definition.first_table,
            tables: definition.tables,
        })
    }
}

/// One checkpoint, or an attempt at one.
#[derive(Clone, Debug)]
pub struct CheckpointFacts {
    pub job: JobId,
    /// `None`: it was not committed.
    pub checkpoint: Option<u64>,
    pub epoch: Epoch,
    /// By the server's clock, as `finished_at`.
    pub started_at: EventTime,
    pub finished_at: EventTime,
    /// Uploaded with it.
    pub bytes: u64,
    pub error: Option<String>,
}

/// Totals of one job since the server's start.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckpointTotals {
    pub committed: u64,
    pub failed: u64,
    pub bytes: u64,
    pub micros: u64,
    /// When the last committed one ended.
    pub last_at: Option<EventTime>,
}

/// See the module. Clones are handles to the same one.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<JobId, JobEntry>>>);

#[derive(Debug)]
struct JobEntry {
    facts: Arc<JobFacts>,
    recent: VecDeque<CheckpointFacts>,
    totals: CheckpointTotals,
}

impl Ledger {
    /// A job is about to be started.
    pub fn register(&self, job: JobId, facts: JobFacts) {
        let (recent, totals) = (VecDeque::new(), CheckpointTotals::default());
        self.0.lock().insert(job, JobEntry { facts: Arc::new(facts), recent, totals });
    }

    /// What was registered of a job; `None`: it is gone.
    #[must_use]
    pub fn facts(&self, job: JobId) -> Option<Arc<JobFacts>> {
        self.0.lock().get(&job).map(|entry| Arc::clone(&entry.facts))
    }

    /// The job is gone. Answers what was known of it.
    pub fn forget(&self, job: JobId) -> Option<Arc<JobFacts>> {
        self.0.lock().remove(&job).map(|entry| entry.facts)
    }

    /// A checkpoint was committed or has failed.
    pub fn ended(&self, facts: CheckpointFacts) {
        let mut jobs = self.0.lock();
        let Some(entry) = jobs.get_mut(&facts.job) else { return };
        let totals = &mut entry.totals;
        totals.bytes += facts.bytes;
        totals.micros += u64::try_from(facts.finished_at - facts.started_at).unwrap_or(0);
        if facts.error.is_none() {
            totals.committed += 1;
            totals.last_at = Some(facts.finished_at);
        } else {
            totals.failed += 1;
        }
        if entry.recent.len() == REMEMBERED_MAX {
            entry.recent.pop_front();
        }
        entry.recent.push_back(facts);
    }

    /// The checkpoints that are remembered, by job, oldest first.
    #[must_use]
    pub fn recent(&self) -> Vec<CheckpointFacts> {
        self.0.lock().values().flat_map(|entry| entry.recent.iter().cloned()).collect()
    }

    /// By job.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<JobId, CheckpointTotals> {
        self.0.lock().iter().map(|(job, entry)| (*job, entry.totals)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_ones_and_counts_all() {
        let ledger = Ledger::default();
        let (skeleton, sources) = (Bytes::new(), BTreeMap::new());
        let job = JobFacts { skeleton, sources, first_table: TableId(1), tables: 2 };
        ledger.register(JobId(3), job);
        for i in 0..20_u64 {
            ledger.ended(CheckpointFacts {
                job: JobId(3),
                checkpoint: (i % 4 > 0).then_some(i),
                epoch: Epoch(i * 10),
                started_at: i as i64,
                finished_at: i as i64 + 5,
                bytes: 7,
                error: (i % 4 == 0).then(|| "no space".to_owned()),
            });
        }
        let recent = ledger.recent();
        assert_eq!((recent.len(), recent[0].epoch), (REMEMBERED_MAX, Epoch(40)));
        let totals = ledger.totals()[&JobId(3)];
        assert_eq!((totals.committed, totals.failed), (15, 5));
        assert_eq!((totals.bytes, totals.micros, totals.last_at), (140, 100, Some(24)));
        assert_eq!(ledger.forget(JobId(3)).map(|f| f.tables), Some(2));
        assert!(ledger.facts(JobId(3)).is_none() && ledger.recent().is_empty());
    }
}
