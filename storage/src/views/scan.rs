//! Reading one version of a view.
//!
//! A scan owns what it reads and holds at most one batch of its own at a time:
//! its memory does not grow with the view. Long stretches are handed out as
//! slices of the stored chunks; only where runs interleave are rows copied.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use tidemill_types::Epoch;

use super::chunk::{Chunk, Run};
use super::merge::{Gather, KeyMerge, Segment};
use super::{PartVersion, View, ViewError};

/// A view at one epoch. Holding it keeps those contents alive.
#[derive(Clone, Debug)]
pub struct ViewSnapshot {
    view: Arc<View>,
    epoch: Epoch,
    parts: Vec<Arc<PartVersion>>,
}

impl ViewSnapshot {
    pub(super) fn new(view: Arc<View>, epoch: Epoch, parts: Vec<Arc<PartVersion>>) -> Self {
        ViewSnapshot { view, epoch, parts }
    }

    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// No scan of all parts gives more rows than this; append-only views give
    /// exactly as many.
    #[must_use]
    pub fn rows_at_most(&self) -> usize {
        self.parts.iter().flat_map(|p| &p.runs).map(|r| r.rows).sum()
    }

    /// The rows of a part, in batches of at most `batch_rows` (at least 1).
    /// `projection`: stored columns in the order wanted; `None`: all. Keyed views
    /// come in key order within a part, append-only ones in order of arrival.
    #[must_use]
    pub fn scan(&self, part: usize, projection: Option<&[usize]>, batch_rows: usize) -> ViewScan {
        let stored = &self.view.schema.stored;
        let columns: Vec<usize> =
            projection.map_or_else(|| (0..stored.fields().len()).collect(), <[usize]>::to_vec);
        let fields: Vec<_> = columns.iter().map(|i| Arc::clone(&stored.fields()[*i])).collect();
        let runs = self.parts.get(part).map_or(&[][..], |version| &version.runs);
        let source = if self.view.schema.append_only {
            Source::Appended { runs: runs.to_vec(), run: 0, chunk: 0, row: 0 }
        } else {
            Source::Keyed(KeyMerge::new(runs))
        };
        ViewScan {
            source,
            schema: Arc::new(Schema::new(fields)),
            columns,
            batch_rows: batch_rows.max(1),
            gather: Gather::default(),
            held: None,
        }
    }
}

#[derive(Debug)]
enum Source {
    Appended { runs: Vec<Arc<Run>>, run: usize, chunk: usize, row: usize },
    Keyed(KeyMerge),
}

impl Source {
    fn next_segment(&mut self, limit: usize) -> Option<Segment> {
        match self {
            Source::Keyed(merge) => merge.next_segment(limit),
            Source::Appended { runs, run, chunk, row } => loop {
                let current = runs.get(*run)?;
                let Some(found) = current.chunks.get(*chunk) else {
                    (*run, *chunk, *row) = (*run + 1, 0, 0);
                    continue;
                };
                if *row >= found.len() {
                    (*chunk, *row) = (*chunk + 1, 0);
                    continue;
                }
                let start = *row;
                *row = found.len().min(start + limit);
                return Some(Segment { chunk: Arc::clone(found), range: start..*row });
            },
        }
    }
}

/// The rows of one part, batch after batch.
#[derive(Debug)]
pub struct ViewScan {
    source: Source,
    schema: SchemaRef,
    columns: Vec<usize>,
    batch_rows: usize,
    gather: Gather,
    /// A stretch that goes out as a slice, after what had been gathered before it.
    held: Option<Segment>,
}

impl ViewScan {
    /// The columns of every batch.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn advance(&mut self) -> Result<Option<RecordBatch>, ViewError> {
        if let Some(segment) = self.held.take() {
            return Ok(Some(self.slice(&segment)?));
        }
        // A stretch of half a batch is worth handing out without copying.
        let worth_slicing = self.batch_rows.div_ceil(2);
        while self.gather.len() < self.batch_rows {
            let room = self.batch_rows - self.gather.len();
            let Some(segment) = self.source.next_segment(room) else { break };
            let sliceable = segment.chunk.dead.is_none() && segment.range.len() >= worth_slicing;
            if !sliceable {
                self.gather.push(&segment, false);
            } else if self.gather.len() == 0 {
                return Ok(Some(self.slice(&segment)?));
            } else {
                self.held = Some(segment);
                break;
            }
        }
        if self.gather.len() == 0 {
            return Ok(None);
        }
        let batch = self.gather.batch(&self.schema, &self.columns)?;
        self.gather.clear();
        Ok(Some(batch))
    }

    fn slice(&self, segment: &Segment) -> Result<RecordBatch, ArrowError> {
        let chunk: &Chunk = &segment.chunk;
        let (start, length) = (segment.range.start, segment.range.len());
        let columns = self.columns.iter().map(|i| chunk.rows.column(*i).slice(start, length));
        let options = RecordBatchOptions::new().with_row_count(Some(length));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns.collect(), &options)
    }
}

impl Iterator for ViewScan {
    type Item = Result<RecordBatch, ViewError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}
