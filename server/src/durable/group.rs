//! One job's checkpoints: what is committed, what is known to be, and what waits.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidemill_storage::checkpoint::{FileBody, FileRef, GroupCheckpoints, LocalFile, Manifest};
use tidemill_storage::state::{
    Delta, Family, KeyLayout, KeyRange, RunFile, SortedRun, StateError, merge_runs,
};
use tidemill_types::TableId;

use super::ledger::JobFacts;

/// One job's checkpoints.
#[derive(Debug)]
pub(super) struct Group {
    pub checkpoints: GroupCheckpoints,
    /// What the engine does not know to be stored. (It may be: then it is stored
    /// once more, which changes nothing.)
    pub pending: BTreeMap<Family, SortedRun>,
    /// The last checkpoint that the engine was told of: the one that it goes back to.
    pub acknowledged: Option<u64>,
    /// The engine has gone back: the next commit builds on what it knows.
    pub going_back: bool,
    pub base: Base,
    pub commits: u64,
}

/// How much a recovery would read.
#[derive(Debug, Default)]
pub(super) struct Base {
    pub bytes: u64,
    pub deltas: usize,
    pub delta_bytes: u64,
    /// Uploaded, and to be named by the next commit.
    pub next: Option<(Vec<FileRef>, u64)>,
}

/// By family, oldest first, each as the runs of its workers.
pub(super) type Deltas = BTreeMap<Family, Vec<Vec<SortedRun>>>;

#[derive(Debug)]
pub(super) struct WrittenFile {
    pub family: Family,
    pub file: RunFile,
}

impl Group {
    pub fn new(checkpoints: GroupCheckpoints, latest: Option<&Manifest>) -> Self {
        let base = latest.map_or_else(Base::default, |manifest| Base {
            bytes: manifest.base.iter().map(|f| f.length).sum(),
            deltas: manifest.deltas.len(),
            delta_bytes: manifest.deltas.iter().map(|f| f.length).sum(),
            next: None,
        });
        Group {
            checkpoints,
            pending: BTreeMap::new(),
            acknowledged: latest.map(|manifest| manifest.checkpoint),
            going_back: false,
            base,
            commits: 0,
        }
    }

    /// What is to be stored now: what was kept, then `changes`, by family.
    pub fn take(&mut self, changes: Vec<Delta>) -> Deltas {
        let mut deltas = Deltas::new();
        for (family, run) in std::mem::take(&mut self.pending) {
            deltas.entry(family).or_default().push(vec![run]);
        }
        let mut runs: BTreeMap<Family, Vec<SortedRun>> = BTreeMap::new();
        for (family, run) in changes.into_iter().flat_map(Delta::into_runs) {
            runs.entry(family).or_default().push(run);
        }
        for (family, runs) in runs {
            deltas.entry(family).or_default().push(runs);
        }
        deltas
    }

    /// Keeps what could not be stored.
    pub fn keep(&mut self, deltas: Deltas) -> Result<(), StateError> {
        for (family, deltas) in deltas {
            self.pending.insert(family, merge_runs(&deltas)?);
        }
        Ok(())
    }

    /// A checkpoint is committed and taken in.
    pub fn acknowledge(&mut self, checkpoint: u64, files: &[WrittenFile]) {
        self.acknowledged = Some(checkpoint);
        if let Some((base, _)) = self.base.next.take() {
            let bytes = base.iter().map(|f| f.length).sum();
            self.base = Base { bytes, ..Base::default() };
        }
        self.base.deltas += files.len();
        self.base.delta_bytes += files.iter().map(|f| f.file.bytes).sum::<u64>();
        self.commits += 1;
    }
}

pub(super) fn local_file(written: &WrittenFile) -> LocalFile {
    let (first, last) = written.file.keys.clone().unwrap_or_default();
    LocalFile {
        family: written.family.name().to_owned(),
        body: FileBody::Path(written.file.path.clone()),
        first_key: Bytes::from(first),
        last_key: Bytes::from(last),
        entries: written.file.entries,
    }
}

/// The keys of each of a job's tables.
pub(super) fn table_ranges(facts: &JobFacts) -> impl Iterator<Item = KeyRange> + '_ {
    let tables = facts.first_table.0..facts.first_table.0.saturating_add(facts.tables);
    tables.filter_map(|t| KeyLayout::new(TableId(t), false, false).ok()).map(|l| l.table_range())
}

/// The keys of all of a job's tables, which are neighbours; `None`: it has none.
pub(super) fn whole_range(facts: &JobFacts) -> Option<KeyRange> {
    let mut ranges = table_ranges(facts);
    let first = ranges.next()?;
    let to = ranges.last().map_or(first.to, |last| last.to);
    Some(KeyRange { from: first.from, to })
}
