//! Merging sorted runs: the newest row of a key wins.
//!
//! [`KeyMerge`] walks the runs of a keyed view in key order and hands out
//! **segments**, stretches of one chunk that no other run interrupts, found by
//! galloping; where keys arrive roughly in order a segment is a whole chunk and
//! nothing is copied. [`merge_keyed`] and [`merge_appended`] build the runs that
//! take the place of several.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, interleave};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_row::{Row, RowConverter};

use super::chunk::{CHUNK_ROWS, Chunk, Run, compact};

/// A stretch of rows of one chunk.
#[derive(Debug)]
pub(super) struct Segment {
    pub chunk: Arc<Chunk>,
    pub range: Range<usize>,
}

#[derive(Debug)]
struct Cursor {
    run: Arc<Run>,
    chunk: usize,
    row: usize,
}

impl Cursor {
    fn chunk(&self) -> Option<&Arc<Chunk>> {
        self.run.chunks.get(self.chunk)
    }

    fn head(&self) -> Option<Row<'_>> {
        self.chunk().map(|c| c.keys().row(self.row))
    }

    /// Steps over `rows` rows of the current chunk.
    fn advance(&mut self, rows: usize) {
        self.row += rows;
        if self.chunk().is_some_and(|c| self.row >= c.len()) {
            self.chunk += 1;
            self.row = 0;
        }
    }
}

/// The rows and tombstones of several runs in key order, each key once.
#[derive(Debug)]
pub(super) struct KeyMerge {
    /// Oldest first.
    cursors: Vec<Cursor>,
}

impl KeyMerge {
    /// `runs` oldest first, without empty chunks.
    pub fn new(runs: &[Arc<Run>]) -> Self {
        let cursor = |run: &Arc<Run>| Cursor { run: Arc::clone(run), chunk: 0, row: 0 };
        KeyMerge { cursors: runs.iter().map(cursor).collect() }
    }

    /// The next stretch, at most `limit` (at least 1) rows long.
    pub fn next_segment(&mut self, limit: usize) -> Option<Segment> {
        let winner = self.smallest()?;
        let chunk = Arc::clone(self.cursors[winner].chunk()?);
        let start = self.cursors[winner].row;
        let key = chunk.keys().row(start);
        for (i, cursor) in self.cursors.iter_mut().enumerate() {
            if i != winner && cursor.head() == Some(key) {
                cursor.advance(1);
            }
        }
        let others = self.cursors.iter().enumerate().filter(|(i, _)| *i != winner);
        let bound = others.filter_map(|(_, c)| c.head()).min();
        let end = chunk.len().min(start + limit.max(1));
        let end = match bound {
            None => end,
            Some(bound) => gallop(&chunk, start, end, bound),
        };
        self.cursors[winner].advance(end - start);
        Some(Segment { chunk, range: start..end })
    }

    /// The cursor with the smallest key; of equal keys the newest.
    fn smallest(&self) -> Option<usize> {
        let mut best: Option<(usize, Row<'_>)> = None;
        for (i, cursor) in self.cursors.iter().enumerate() {
            let Some(head) = cursor.head() else { continue };
            if best.is_none_or(|(_, smallest)| head <= smallest) {
                best = Some((i, head));
            }
        }
        best.map(|(i, _)| i)
    }
}

/// The first row in `start + 1 .. end` whose key is not below `bound`, or `end`.
/// The row at `start` is known to be below.
fn gallop(chunk: &Chunk, start: usize, end: usize, bound: Row<'_>) -> usize {
    let keys = chunk.keys();
    let (mut low, mut step) = (start + 1, 1);
    while low + step <= end && keys.row(low + step - 1) < bound {
        low += step;
        step *= 2;
    }
    let mut high = (low + step).min(end);
    while low < high {
        let middle = low + (high - low) / 2;
        if keys.row(middle) < bound {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Rows picked from chunks, to become one batch.
#[derive(Debug, Default)]
pub(super) struct Gather {
    chunks: Vec<Arc<Chunk>>,
    /// (position in `chunks`, row), as the interleave kernel wants it.
    picks: Vec<(usize, usize)>,
}

impl Gather {
    pub fn len(&self) -> usize {
        self.picks.len()
    }

    pub fn clear(&mut self) {
        self.chunks.clear();
        self.picks.clear();
    }

    /// Picks the rows of a segment; tombstones only where `keep_dead`.
    pub fn push(&mut self, segment: &Segment, keep_dead: bool) {
        let known = self.chunks.iter().rposition(|c| Arc::ptr_eq(c, &segment.chunk));
        let position = known.unwrap_or_else(|| {
            self.chunks.push(Arc::clone(&segment.chunk));
            self.chunks.len() - 1
        });
        let rows = segment.range.clone().filter(|r| keep_dead || !segment.chunk.is_dead(*r));
        self.picks.extend(rows.map(|row| (position, row)));
    }

    /// The picked rows' columns `columns` (positions in the stored rows).
    pub fn batch(&self, schema: &SchemaRef, columns: &[usize]) -> Result<RecordBatch, ArrowError> {
        let gathered = columns.iter().map(|column| {
            let arrays: Vec<_> =
                self.chunks.iter().map(|c| c.rows.column(*column).as_ref()).collect();
            interleave(&arrays, &self.picks)
        });
        let options = RecordBatchOptions::new().with_row_count(Some(self.picks.len()));
        RecordBatch::try_new_with_options(
            Arc::clone(schema),
            gathered.collect::<Result<Vec<_>, _>>()?,
            &options,
        )
    }

    /// The picked rows as a chunk of a merged run.
    fn chunk(&self, schema: &SchemaRef, converter: &RowConverter) -> Result<Chunk, ArrowError> {
        let columns: Vec<usize> = (0..schema.fields().len()).collect();
        let rows = compact(&self.batch(schema, &columns)?)?;
        let bytes = self.picks.iter().map(|(c, r)| self.chunks[*c].keys().row_len(*r)).sum();
        let mut keys = converter.empty_rows(self.picks.len(), bytes);
        for (chunk, row) in &self.picks {
            keys.push(self.chunks[*chunk].keys().row(*row));
        }
        let any_dead = self.chunks.iter().any(|c| c.dead.is_some());
        let dead = any_dead.then(|| {
            self.picks.iter().map(|(c, r)| self.chunks[*c].is_dead(*r)).collect::<BooleanBuffer>()
        });
        Ok(Chunk::new(rows, Some(keys), dead))
    }
}

/// One run with the newest row of every key. `oldest`: nothing lies beneath the
/// result, so tombstones have done their work and are dropped.
pub(super) fn merge_keyed(
    runs: &[Arc<Run>],
    oldest: bool,
    schema: &SchemaRef,
    converter: &RowConverter,
) -> Result<Run, ArrowError> {
    let mut merge = KeyMerge::new(runs);
    let mut chunks = Vec::new();
    let mut pending = Gather::default();
    while let Some(segment) = merge.next_segment(CHUNK_ROWS) {
        let whole = segment.range.len() == segment.chunk.len();
        let shareable = whole
            && segment.range.len() >= CHUNK_ROWS / 2
            && !(oldest && segment.chunk.dead.is_some());
        if shareable {
            flush(&mut pending, &mut chunks, schema, converter)?;
            chunks.push(segment.chunk);
            continue;
        }
        let room = CHUNK_ROWS - pending.len();
        let (head, tail) = split(segment, room);
        pending.push(&head, !oldest);
        if pending.len() >= CHUNK_ROWS {
            flush(&mut pending, &mut chunks, schema, converter)?;
        }
        if let Some(tail) = tail {
            pending.push(&tail, !oldest);
        }
    }
    flush(&mut pending, &mut chunks, schema, converter)?;
    Ok(Run::new(chunks))
}

fn split(segment: Segment, at: usize) -> (Segment, Option<Segment>) {
    let Range { start, end } = segment.range;
    if end - start <= at {
        return (segment, None);
    }
    let tail = Segment { chunk: Arc::clone(&segment.chunk), range: start + at..end };
    (Segment { chunk: segment.chunk, range: start..start + at }, Some(tail))
}

fn flush(
    pending: &mut Gather,
    chunks: &mut Vec<Arc<Chunk>>,
    schema: &SchemaRef,
    converter: &RowConverter,
) -> Result<(), ArrowError> {
    if pending.len() > 0 {
        chunks.push(Arc::new(pending.chunk(schema, converter)?));
    }
    pending.clear();
    Ok(())
}

/// One run with all rows in order; small neighbouring chunks become larger ones.
pub(super) fn merge_appended(runs: &[Arc<Run>], schema: &SchemaRef) -> Result<Run, ArrowError> {
    let mut chunks: Vec<Arc<Chunk>> = Vec::new();
    let mut small: Vec<Arc<Chunk>> = Vec::new();
    let mut small_rows = 0;
    for chunk in runs.iter().flat_map(|r| &r.chunks) {
        if small_rows + chunk.len() > CHUNK_ROWS {
            join(&mut small, &mut chunks, schema)?;
            small_rows = 0;
        }
        small_rows += chunk.len();
        small.push(Arc::clone(chunk));
    }
    join(&mut small, &mut chunks, schema)?;
    Ok(Run::new(chunks))
}

fn join(
    small: &mut Vec<Arc<Chunk>>,
    chunks: &mut Vec<Arc<Chunk>>,
    schema: &SchemaRef,
) -> Result<(), ArrowError> {
    match small.as_slice() {
        [] => {}
        [one] => chunks.push(Arc::clone(one)),
        several => {
            let rows = concat_batches(schema, several.iter().map(|c| &c.rows))?;
            chunks.push(Arc::new(Chunk::new(compact(&rows)?, None, None)));
        }
    }
    small.clear();
    Ok(())
}
