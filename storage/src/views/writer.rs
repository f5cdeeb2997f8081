//! The writing side of a part: collects one epoch's changes, seals them.
//!
//! Changes are only referenced until the epoch ends; sealing sorts them by key
//! (the last change of a key stays), copies them into a run and merges runs of
//! similar size. An epoch without changes only moves the part's sealed epoch.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use arrow::compute::concat_batches;
use arrow_row::{RowConverter, Rows};
use tidemill_types::{ChangeBatch, Epoch, Ops};

use super::chunk::{CHUNK_ROWS, Chunk, Run, compact, key_columns, key_fields};
use super::merge::{merge_appended, merge_keyed};
use super::{PartVersion, View, ViewError, ViewSchema};

/// A run is left alone only while it is this many times as large as everything
/// newer: more runs to merge when reading against rewriting rows more often.
const RUN_RATIO: usize = 4;

/// Rows that [`ViewWriter::load`] sorts in one go.
const LOAD_ROWS: usize = 32 * CHUNK_ROWS;

/// Writes one part of a view; owned by the worker.
#[derive(Debug)]
pub struct ViewWriter {
    view: Arc<View>,
    part: usize,
    /// Keyed views: encodes keys. All keys of a part come from this one, which is
    /// what makes them comparable.
    converter: Option<RowConverter>,
    pending: Vec<ChangeBatch>,
    /// The newest version's runs, oldest first.
    runs: Vec<Arc<Run>>,
    /// A version has been published.
    published: bool,
    /// What each epoch changed since [`ViewWriter::take_changes`], oldest first;
    /// `None`: nobody asks.
    unsaved: Option<Vec<Arc<Run>>>,
}

/// Changes of a view since it was last made durable.
#[derive(Debug)]
pub struct SavedRows {
    /// The rows, at most [`CHUNK_ROWS`]; of a keyed view each key once, in key
    /// order.
    pub rows: RecordBatch,
    /// Set bits are deletions, of which only the key means something.
    pub dead: Option<BooleanBuffer>,
}

impl ViewWriter {
    pub(super) fn new(view: Arc<View>, part: usize) -> Result<Self, ViewError> {
        let keyed = !view.schema.append_only;
        let converter =
            if keyed { Some(RowConverter::new(key_fields(&view.schema))?) } else { None };
        Ok(ViewWriter {
            view,
            part,
            converter,
            pending: Vec::new(),
            runs: Vec::new(),
            published: false,
            unsaved: None,
        })
    }

    /// What the view stores.
    #[must_use]
    pub fn schema(&self) -> &ViewSchema {
        &self.view.schema
    }

    /// Keeps what changes from now on for [`Self::take_changes`].
    pub fn keep_changes(&mut self) {
        self.unsaved.get_or_insert_default();
    }

    /// What the epochs sealed since the last call have changed, all in all.
    ///
    /// # Errors
    /// [`ViewError::Rows`].
    pub fn take_changes(&mut self) -> Result<Vec<SavedRows>, ViewError> {
        let Some(unsaved) = &mut self.unsaved else { return Ok(Vec::new()) };
        let runs = std::mem::take(unsaved);
        let saved =
            |chunk: &Arc<Chunk>| SavedRows { rows: chunk.rows.clone(), dead: chunk.dead.clone() };
        match &self.converter {
            Some(converter) if runs.len() > 1 => {
                let merged = merge_keyed(&runs, false, &self.view.schema.stored, converter)?;
                Ok(merged.chunks.iter().map(saved).collect())
            }
            _ => Ok(runs.iter().flat_map(|r| &r.chunks).map(saved).collect()),
        }
    }

    /// Puts rows into a part that has never been sealed, as they were at `epoch`,
    /// and publishes it. Rows of a keyed view have different keys.
    ///
    /// # Errors
    /// [`ViewError::Rows`] when rows do not have the view's schema;
    /// [`ViewError::EpochOrder`] for a part that has been sealed.
    pub fn load(
        &mut self,
        epoch: Epoch,
        batches: impl IntoIterator<Item = RecordBatch>,
    ) -> Result<(), ViewError> {
        let unsaved = self.unsaved.take();
        let mut rows = 0;
        for batch in batches {
            rows += batch.num_rows();
            self.pending.push(ChangeBatch::inserts(batch));
            if rows >= LOAD_ROWS {
                self.add_run()?;
                rows = 0;
            }
        }
        if rows > 0 {
            self.add_run()?;
        }
        self.seal(epoch)?;
        self.unsaved = unsaved;
        Ok(())
    }

    /// Takes changes of the running epoch, in order: in a keyed view a row
    /// replaces the row of its key, a set sign deletes the key.
    ///
    /// # Errors
    /// [`ViewError::NotAppendOnly`] for a deletion in an append-only view.
    pub fn apply(&mut self, batch: &ChangeBatch) -> Result<(), ViewError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if let (None, Ops::Signs { neg }) = (&self.converter, &batch.ops)
            && neg.count_set_bits() > 0
        {
            return Err(ViewError::NotAppendOnly);
        }
        self.pending.push(ChangeBatch { hash: None, ..batch.clone() });
        Ok(())
    }

    /// Ends the running epoch as `epoch`, which is above all earlier ones, and
    /// publishes it to readers.
    ///
    /// # Errors
    /// [`ViewError::EpochOrder`]; [`ViewError::Rows`] when rows do not have the
    /// view's schema.
    pub fn seal(&mut self, epoch: Epoch) -> Result<(), ViewError> {
        let changed = !self.pending.is_empty();
        if changed {
            self.add_run()?;
        }
        let version = (changed || !self.published)
            .then(|| Arc::new(PartVersion { epoch, runs: self.runs.clone() }));
        self.published = true;
        self.view.parts[self.part].publish(epoch, version)
    }

    fn add_run(&mut self) -> Result<(), ViewError> {
        let pending = std::mem::take(&mut self.pending);
        let schema = &self.view.schema.stored;
        let rows = concat_batches(schema, pending.iter().map(|b| &b.rows))?;
        let run = match &self.converter {
            None => appended_run(&rows)?,
            Some(converter) => {
                let keys = converter.convert_columns(&key_columns(&self.view.schema, &rows))?;
                let dead = signs(&pending, rows.num_rows());
                drop(pending);
                // What is durable lies beneath even a part that is empty now.
                let oldest = self.runs.is_empty() && self.unsaved.is_none();
                keyed_run(&rows, &keys, dead.as_ref(), oldest, converter)?
            }
        };
        if run.rows > 0 {
            let run = Arc::new(run);
            if let Some(unsaved) = &mut self.unsaved {
                unsaved.push(Arc::clone(&run));
            }
            self.runs.push(run);
            self.merge_runs()?;
        }
        Ok(())
    }

    /// Merges the newest runs until each is [`RUN_RATIO`] times as large as
    /// everything newer.
    fn merge_runs(&mut self) -> Result<(), ViewError> {
        let Some(mut first) = self.runs.len().checked_sub(1) else { return Ok(()) };
        let mut rows = self.runs[first].rows;
        while first > 0 && self.runs[first - 1].rows < RUN_RATIO * rows {
            first -= 1;
            rows += self.runs[first].rows;
        }
        if self.runs.len() - first < 2 {
            return Ok(());
        }
        let schema = &self.view.schema.stored;
        let merged = match &self.converter {
            None => merge_appended(&self.runs[first..], schema)?,
            Some(converter) => merge_keyed(&self.runs[first..], first == 0, schema, converter)?,
        };
        self.runs.truncate(first);
        if merged.rows > 0 {
            self.runs.push(Arc::new(merged));
        }
        Ok(())
    }
}

/// The signs of all batches, one bit per row; `None`: only insertions.
fn signs(pending: &[ChangeBatch], rows: usize) -> Option<Vec<bool>> {
    if pending.iter().all(|b| b.ops == Ops::Insert) {
        return None;
    }
    let mut dead = Vec::with_capacity(rows);
    for batch in pending {
        match &batch.ops {
            Ops::Insert => dead.resize(dead.len() + batch.num_rows(), false),
            Ops::Signs { neg } => dead.extend(neg.iter()),
        }
    }
    Some(dead)
}

/// Rows in order of arrival.
fn appended_run(rows: &RecordBatch) -> Result<Run, ViewError> {
    let starts = (0..rows.num_rows()).step_by(CHUNK_ROWS);
    let chunks = starts.map(|start| {
        let slice = rows.slice(start, CHUNK_ROWS.min(rows.num_rows() - start));
        Ok(Arc::new(Chunk::new(compact(&slice)?, None, None)))
    });
    Ok(Run::new(chunks.collect::<Result<Vec<_>, ViewError>>()?))
}

/// The last change of every key, sorted by key. `oldest`: no run lies beneath,
/// so deletions delete nothing.
fn keyed_run(
    rows: &RecordBatch,
    keys: &Rows,
    dead: Option<&Vec<bool>>,
    oldest: bool,
    converter: &RowConverter,
) -> Result<Run, ViewError> {
    let is_dead = |row: usize| dead.is_some_and(|d| d[row]);
    let mut order = last_per_key(keys);
    if oldest {
        order.retain(|row| !is_dead(*row as usize));
    }
    let mut chunks = Vec::with_capacity(order.len().div_ceil(CHUNK_ROWS));
    for picked in order.chunks(CHUNK_ROWS) {
        let indices = arrow::array::UInt32Array::from(picked.to_vec());
        let taken = arrow::compute::take_record_batch(rows, &indices)?;
        let bytes = picked.iter().map(|row| keys.row_len(*row as usize)).sum();
        let mut chunk_keys = converter.empty_rows(picked.len(), bytes);
        for row in picked {
            chunk_keys.push(keys.row(*row as usize));
        }
        let tombstones: Option<BooleanBuffer> =
            dead.map(|_| picked.iter().map(|row| is_dead(*row as usize)).collect());
        chunks.push(Arc::new(Chunk::new(compact(&taken)?, Some(chunk_keys), tombstones)));
    }
    Ok(Run::new(chunks))
}

/// The rows to keep, in key order: of equal keys the one that came last.
fn last_per_key(keys: &Rows) -> Vec<u32> {
    // The first eight bytes decide nearly every comparison without following a
    // pointer.
    let mut order: Vec<(u64, u32)> =
        keys.iter().enumerate().map(|(row, key)| (prefix(key.data()), row as u32)).collect();
    order.sort_unstable_by(|(a_prefix, a), (b_prefix, b)| {
        a_prefix
            .cmp(b_prefix)
            .then_with(|| keys.row(*a as usize).cmp(&keys.row(*b as usize)))
            .then_with(|| b.cmp(a))
    });
    order.dedup_by(|(later_prefix, later), (kept_prefix, kept)| {
        later_prefix == kept_prefix && keys.row(*later as usize) == keys.row(*kept as usize)
    });
    order.into_iter().map(|(_, row)| row).collect()
}

fn prefix(key: &[u8]) -> u64 {
    let mut bytes = [0u8; 8];
    let length = key.len().min(8);
    bytes[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(bytes)
}
