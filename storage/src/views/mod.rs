//! Contents of materialized views: many versions, one per epoch that changed it.
//!
//! A view is cut into **parts**, one per worker of its job. Each part is written
//! by exactly one [`ViewWriter`] and is a list of immutable **runs**, oldest
//! first; the rows of one epoch make one run:
//!
//! ```text
//!            part 0                      part 1
//! epoch 9   [run 1-8][run 9]            [run 1-4][run 5-7]        a version is a list of
//! epoch 10  [run 1-8][run 9][run 10]    [run 1-4][run 5-7]        runs; versions share them
//! epoch 11  [run 1-11            ]      [run 1-4][run 5-7][run 11]
//! ```
//!
//! Sealing an epoch adds its run and merges neighbours of similar size, so that a
//! part has O(log rows) runs and a row is rewritten O(log rows) times. It then
//! publishes a new version of the part; older versions keep their own runs alive
//! until [`View::retain_from`] or the last reader lets go of them.
//!
//! A keyed view ([`ViewSchema::append_only`] unset) has runs sorted by encoded
//! key in which a key occurs once, as a row or as a tombstone; a reader merges
//! the runs and the newest wins. An append-only view has runs in order of
//! arrival, and reading is walking through them.
//!
//! Invariants: a version, once published, never changes; the versions of a part
//! have rising epochs; a reader sees an epoch only after every part has sealed it.
//!
//! Contents live in memory. A writer tells what has changed since it was asked last
//! ([`ViewWriter::take_changes`]) and is filled again after a restart
//! ([`ViewWriter::load`]); what is durable is the affair of whoever asks. Merging
//! into a large oldest run happens on the worker that seals, in one go.

mod chunk;
mod merge;
mod scan;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_row::RowConverter;
use parking_lot::RwLock;
use tidemill_types::{Diagnostic, Epoch, ObjectId, SqlState};

use chunk::{Run, key_fields};
pub use scan::{ViewScan, ViewSnapshot};
pub use writer::{SavedRows, ViewWriter};

/// What a view stores.
#[derive(Clone, Debug)]
pub struct ViewSchema {
    /// All stored columns, hidden ones included.
    pub stored: SchemaRef,
    /// The columns that identify a row, in key order; none: the view has at most
    /// one row. Unused where `append_only`.
    pub key: Vec<usize>,
    /// Rows are only ever added and no key comes twice.
    pub append_only: bool,
}

/// What can go wrong with a view's contents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The epoch has been pruned, or is before the view's first.
    #[error("epoch {epoch} is no longer kept; the oldest is {oldest}")]
    TooOld { epoch: Epoch, oldest: Epoch },
    /// Not every part has sealed the epoch.
    #[error("epoch {epoch} is not complete yet")]
    NotYet { epoch: Epoch },
    /// Epochs of a part must rise.
    #[error("epoch {epoch} was sealed after epoch {sealed}")]
    EpochOrder { epoch: Epoch, sealed: Epoch },
    /// A deletion came to an append-only view.
    #[error("a deletion came to an append-only view")]
    NotAppendOnly,
    /// A second writer for a part, or a part that does not exist.
    #[error("part {part} of the view has a writer already, or does not exist")]
    PartTaken { part: usize },
    /// The key has a column of a type that has no order, or the schema changed.
    #[error("stored rows: {0}")]
    Rows(String),
}

impl From<ArrowError> for ViewError {
    fn from(error: ArrowError) -> Self {
        ViewError::Rows(error.to_string())
    }
}

impl ViewError {
    /// What a user is told. Only [`ViewError::TooOld`] and [`ViewError::NotYet`]
    /// can follow from what users do: 55000.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            ViewError::TooOld { .. } | ViewError::NotYet { .. } => {
                Diagnostic::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, self.to_string())
                    .with_hint(
                        "Run the statement or the transaction again to read a current epoch.",
                    )
            }
            _ => Diagnostic::internal(self.to_string()),
        }
    }
}

/// All views of the process, by object.
#[derive(Debug, Default)]
pub struct ViewStore {
    views: RwLock<HashMap<ObjectId, Arc<View>>>,
}

impl ViewStore {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new, empty view of `parts` parts (at least 1). It replaces a view of the
    /// same id: object ids are never reused, so that one is left from a failed
    /// creation.
    ///
    /// # Errors
    /// [`ViewError::Rows`] when a key column's type cannot be ordered.
    pub fn create(
        &self,
        id: ObjectId,
        schema: ViewSchema,
        parts: usize,
    ) -> Result<Arc<View>, ViewError> {
        let view = Arc::new(View::new(id, schema, parts.max(1))?);
        self.views.write().insert(id, Arc::clone(&view));
        Ok(view)
    }

    #[must_use]
    pub fn get(&self, id: ObjectId) -> Option<Arc<View>> {
        self.views.read().get(&id).cloned()
    }

    /// Forgets a view. Readers and writers that hold it go on undisturbed.
    pub fn drop_view(&self, id: ObjectId) -> Option<Arc<View>> {
        self.views.write().remove(&id)
    }

    /// Every view, in no particular order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<View>> {
        self.views.read().values().cloned().collect()
    }
}

/// One materialized view's contents.
#[derive(Debug)]
pub struct View {
    id: ObjectId,
    schema: ViewSchema,
    parts: Vec<Part>,
}

/// What a view holds at its newest epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ViewStats {
    /// Stored rows, tombstones and replaced rows included: an upper bound of what
    /// a scan gives, exact for append-only views.
    pub rows: usize,
    /// Bytes of the newest version's rows and keys.
    pub bytes: usize,
    /// Runs of the newest version, over all parts.
    pub runs: usize,
    /// Versions kept, over all parts.
    pub versions: usize,
}

impl View {
    fn new(id: ObjectId, schema: ViewSchema, parts: usize) -> Result<Self, ViewError> {
        if !schema.append_only {
            RowConverter::new(key_fields(&schema))?;
        }
        Ok(View { id, schema, parts: (0..parts).map(|_| Part::default()).collect() })
    }

    #[must_use]
    pub fn id(&self) -> ObjectId {
        self.id
    }

    #[must_use]
    pub fn schema(&self) -> &ViewSchema {
        &self.schema
    }

    /// How many parts there are.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// The writer of a part; each part has one for life.
    ///
    /// # Errors
    /// [`ViewError::PartTaken`] for a second one.
    pub fn writer(self: &Arc<Self>, part: usize) -> Result<ViewWriter, ViewError> {
        let free = self.parts.get(part).is_some_and(|p| !p.taken.swap(true, Ordering::AcqRel));
        if !free {
            return Err(ViewError::PartTaken { part });
        }
        ViewWriter::new(Arc::clone(self), part)
    }

    /// The contents as of the end of `epoch`, pinned for as long as the snapshot
    /// lives.
    ///
    /// # Errors
    /// [`ViewError::TooOld`] for a pruned epoch or one before the first sealed
    /// epoch, [`ViewError::NotYet`] for one that a part has not sealed.
    pub fn read(self: &Arc<Self>, epoch: Epoch) -> Result<ViewSnapshot, ViewError> {
        let versions =
            self.parts.iter().map(|p| p.at(epoch)).collect::<Result<Vec<_>, ViewError>>()?;
        Ok(ViewSnapshot::new(Arc::clone(self), epoch, versions))
    }

    /// Forgets versions that no read at `floor` or later needs.
    pub fn retain_from(&self, floor: Epoch) {
        for part in &self.parts {
            part.retain_from(floor);
        }
    }

    /// Figures of the newest version.
    #[must_use]
    pub fn stats(&self) -> ViewStats {
        let mut stats = ViewStats::default();
        for part in &self.parts {
            let history = part.history.read();
            stats.versions += history.versions.len();
            if let Some(newest) = history.versions.back() {
                stats.runs += newest.runs.len();
                stats.rows += newest.runs.iter().map(|r| r.rows).sum::<usize>();
                stats.bytes += newest.runs.iter().map(|r| r.bytes).sum::<usize>();
            }
        }
        stats
    }
}

/// A part as of one epoch.
#[derive(Debug)]
struct PartVersion {
    epoch: Epoch,
    /// Oldest first.
    runs: Vec<Arc<Run>>,
}

/// One worker's share of a view.
#[derive(Debug, Default)]
struct Part {
    /// A writer exists.
    taken: AtomicBool,
    /// Held for a few instructions by either side: the writer once per epoch, a
    /// reader once per statement.
    history: RwLock<History>,
}

#[derive(Debug, Default)]
struct History {
    /// The newest sealed epoch.
    sealed: Option<Epoch>,
    /// Rising epochs; only those that changed something, and the first.
    versions: VecDeque<Arc<PartVersion>>,
}

impl Part {
    fn at(&self, epoch: Epoch) -> Result<Arc<PartVersion>, ViewError> {
        let history = self.history.read();
        if history.sealed.is_none_or(|sealed| sealed < epoch) {
            return Err(ViewError::NotYet { epoch });
        }
        let after = history.versions.partition_point(|v| v.epoch <= epoch);
        match after.checked_sub(1).and_then(|i| history.versions.get(i)) {
            Some(version) => Ok(Arc::clone(version)),
            None => {
                let oldest = history.versions.front().map_or(epoch, |v| v.epoch);
                Err(ViewError::TooOld { epoch, oldest })
            }
        }
    }

    /// Completes `epoch`; `version` is its contents where they changed.
    fn publish(&self, epoch: Epoch, version: Option<Arc<PartVersion>>) -> Result<(), ViewError> {
        let mut history = self.history.write();
        if let Some(sealed) = history.sealed.filter(|sealed| *sealed >= epoch) {
            return Err(ViewError::EpochOrder { epoch, sealed });
        }
        history.sealed = Some(epoch);
        history.versions.extend(version);
        Ok(())
    }

    fn retain_from(&self, floor: Epoch) {
        let mut history = self.history.write();
        let needed = history.versions.partition_point(|v| v.epoch <= floor).saturating_sub(1);
        // Freed after the lock is: the last reference to a run may go here.
        let pruned: Vec<_> = history.versions.drain(..needed).collect();
        drop(history);
        drop(pruned);
    }
}
