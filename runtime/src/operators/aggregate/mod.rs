//! Grouped aggregation in two halves.
//!
//! ```text
//!   rows -> LocalAggregate ==exchange==> global half -> results
//!           one table, emptied           state until the window closes,
//!           at every barrier             or for ever
//! ```
//!
//! The local half makes the exchange carry groups instead of rows, and spreads a
//! hot key over all workers. The global half comes in three kinds:
//!
//! * [`running`]: no window; upserts of the groups that changed, state for ever.
//! * [`window_updates`]: windows, EMIT ON UPDATE; a table per open window, upserts
//!   of the (window, group) pairs that changed.
//! * [`window_results`]: windows, EMIT ON WINDOW CLOSE; a table per slice, combined
//!   when a window closes, each result once.
//!
//! Invariant: a partial that reaches the global half has a window that has not
//! closed. Lateness was decided in front of the exchange by the row's own split,
//! whose watermark is never behind the combined one that closes windows here. A
//! partial that breaks this is an internal error, never dropped.

mod durable;
mod local;
mod running;
mod window_results;
mod window_updates;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit};
use tidemill_types::plan::{Aggregate, AggregateWindow, EmitMode};
use tidemill_types::vnode::hash_columns;
use tidemill_types::{ChangeBatch, EventTime, Ops, WATERMARK_END, WATERMARK_NONE, WindowSpec};

use super::{BuildContext, Operator, OperatorError};
use crate::state::group_table::{GroupTable, Grouping, KeyColumns};
use durable::{DurableGroups, Slicing};

pub(super) use local::LocalAggregate;

/// The global half that `spec` asks for; `input` are the partials, `output` the
/// results.
pub(super) fn build_global(
    spec: &Aggregate,
    input: &SchemaRef,
    output: SchemaRef,
    cx: &BuildContext<'_>,
) -> Result<Box<dyn Operator>, OperatorError> {
    let partials = Partials::new(spec, input)?;
    let results = Results::new(spec, output, cx.batch_rows)?;
    let slicing = match (&spec.window, spec.emit) {
        (None, _) => Slicing::None,
        (Some(_), EmitMode::OnUpdate) => Slicing::Windows,
        (Some(_), EmitMode::OnWindowClose) => Slicing::Panes,
    };
    let stored = DurableGroups::new(spec, &partials.key_types, cx.table, slicing)?;
    Ok(match (&spec.window, spec.emit) {
        (None, EmitMode::OnUpdate) => {
            Box::new(running::RunningAggregate::new(partials, results, stored, cx)?)
        }
        (None, EmitMode::OnWindowClose) => {
            return Err(OperatorError::internal("EMIT ON WINDOW CLOSE without a window"));
        }
        (Some(window), EmitMode::OnUpdate) => {
            Box::new(window_updates::WindowUpdates::new(partials, results, stored, window))
        }
        (Some(window), EmitMode::OnWindowClose) => {
            Box::new(window_results::WindowResults::new(partials, results, stored, window))
        }
    })
}

/// A slice, and the first window that its rows belong to: rows that were late for
/// some of their windows are kept apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Pane {
    slice_end: EventTime,
    first_window_end: EventTime,
}

/// Reads batches of partials.
#[derive(Debug)]
struct Partials {
    grouping: Grouping,
    group: Vec<usize>,
    key_types: Vec<DataType>,
    /// Where the state columns begin.
    states_from: usize,
    /// Columns of slice end and first window end.
    pane_columns: Option<(usize, usize)>,
    hashes: Vec<u64>,
}

/// Partials of one pane, or all where there are no windows.
struct PanePartials {
    rows: RecordBatch,
    hashes: Arc<[u64]>,
}

impl Partials {
    fn new(spec: &Aggregate, input: &SchemaRef) -> Result<Self, OperatorError> {
        let types = spec.group.iter().map(|g| Ok(input_type(input, *g)?.clone()));
        let key_types = types.collect::<Result<Vec<_>, OperatorError>>()?;
        let pane_columns =
            spec.window.as_ref().map(|w| (w.slice_end_column, w.first_window_end_column));
        Ok(Partials {
            grouping: Grouping::new(key_types.clone(), &spec.calls)?,
            group: spec.group.clone(),
            key_types,
            states_from: spec.group.len() + if spec.window.is_some() { 2 } else { 0 },
            pane_columns,
            hashes: Vec::new(),
        })
    }

    /// The batch with a hash per row, made here if the exchange carried none.
    fn hashed(&mut self, batch: &ChangeBatch) -> Result<PanePartials, OperatorError> {
        refuse_negative(batch)?;
        let hashes = match &batch.hash {
            Some(hashes) => Arc::clone(hashes),
            None => {
                let keys = pick(&batch.rows, &self.group);
                hash_columns(&keys, batch.num_rows(), &mut self.hashes)
                    .map_err(|e| OperatorError::internal(e.to_string()))?;
                self.hashes.as_slice().into()
            }
        };
        Ok(PanePartials { rows: batch.rows.clone(), hashes })
    }

    /// The batch by pane.
    fn by_pane(&mut self, batch: &ChangeBatch) -> Result<Vec<(Pane, PanePartials)>, OperatorError> {
        let all = self.hashed(batch)?;
        let (slice_column, first_column) = self
            .pane_columns
            .ok_or_else(|| OperatorError::internal("partials without a window have no panes"))?;
        let slice_ends = int64s(&all.rows, slice_column)?;
        let first_ends = int64s(&all.rows, first_column)?;
        let split = split_by_pane(slice_ends, first_ends);
        if let [(pane, _)] = split.panes[..] {
            return Ok(vec![(pane, all)]);
        }
        let rows = take_record_batch(&all.rows, &UInt32Array::from(split.order.clone()))?;
        let hashes: Vec<u64> = split.order.iter().map(|i| all.hashes[*i as usize]).collect();
        let mut start = 0;
        Ok(split
            .panes
            .into_iter()
            .map(|(pane, count)| {
                let part = start..start + count;
                start += count;
                let rows = rows.slice(part.start, count);
                (pane, PanePartials { rows, hashes: hashes[part].into() })
            })
            .collect())
    }

    /// Adds partials to `table`; answers the slot of each.
    fn merge(
        &mut self,
        table: &mut GroupTable,
        partials: &PanePartials,
    ) -> Result<&[u32], OperatorError> {
        let columns = pick(&partials.rows, &self.group);
        let keys = KeyColumns { columns: &columns, hashes: &partials.hashes, tags: &[] };
        let states = partials.rows.columns().get(self.states_from..).unwrap_or_default();
        self.grouping.merge(table, keys, states)
    }
}

/// The rows of a batch, brought into an order in which panes are together.
struct PaneSplit {
    /// Each pane and its number of rows.
    panes: Vec<(Pane, usize)>,
    /// Row indices, pane by pane; within a pane as they came.
    order: Vec<u32>,
}

/// A counting sort; neighbours are mostly of one pane.
fn split_by_pane(slice_ends: &[i64], first_ends: &[i64]) -> PaneSplit {
    let mut panes: Vec<(Pane, usize)> = Vec::new();
    let mut numbers: HashMap<Pane, u32> = HashMap::new();
    let mut of_row: Vec<u32> = Vec::with_capacity(slice_ends.len());
    let mut last: Option<(Pane, u32)> = None;
    for (slice_end, first_window_end) in slice_ends.iter().zip(first_ends) {
        let pane = Pane { slice_end: *slice_end, first_window_end: *first_window_end };
        let number = match last {
            Some((same, number)) if same == pane => number,
            _ => *numbers.entry(pane).or_insert_with(|| {
                panes.push((pane, 0));
                panes.len() as u32 - 1
            }),
        };
        last = Some((pane, number));
        panes[number as usize].1 += 1;
        of_row.push(number);
    }
    let mut next: Vec<usize> = Vec::with_capacity(panes.len());
    let mut start = 0;
    for (_, count) in &panes {
        next.push(start);
        start += count;
    }
    let mut order = vec![0; of_row.len()];
    for (row, number) in of_row.iter().enumerate() {
        let place = &mut next[*number as usize];
        order[*place] = row as u32;
        *place += 1;
    }
    PaneSplit { panes, order }
}

/// Makes batches of results.
#[derive(Debug)]
struct Results {
    schema: SchemaRef,
    /// The windows, and the zone of their bounds.
    window: Option<(WindowSpec, Option<Arc<str>>)>,
    batch_rows: usize,
}

impl Results {
    fn new(spec: &Aggregate, schema: SchemaRef, batch_rows: usize) -> Result<Self, OperatorError> {
        let window = match &spec.window {
            None => None,
            Some(w) => Some((w.spec, zone_of(&w.time_type)?)),
        };
        Ok(Results { schema, window, batch_rows })
    }

    /// The results of `slots` of `table`, all of the window that ends at
    /// `window_end` where there are windows.
    fn batch(
        &self,
        grouping: &Grouping,
        table: &GroupTable,
        slots: &[u32],
        window_end: Option<EventTime>,
    ) -> Result<ChangeBatch, OperatorError> {
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        if let (Some((spec, zone)), Some(end)) = (&self.window, window_end) {
            columns.push(constant_time(spec.window_start(end), slots.len(), zone));
            columns.push(constant_time(end, slots.len(), zone));
        }
        columns.extend(grouping.keys(table, slots)?);
        columns.extend(table.results(slots)?);
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let hash = Some(table.hashes(slots).collect());
        Ok(ChangeBatch { rows, ops: Ops::Insert, hash })
    }
}

/// Window ends up to which windows are closed at `watermarks`; `None`: none is.
fn closed_through(
    watermarks: &[EventTime],
    w: &AggregateWindow,
) -> Result<Option<EventTime>, OperatorError> {
    let watermark = watermarks.get(w.watermark_slot).copied().ok_or_else(|| {
        OperatorError::internal(format!("there is no watermark slot {}", w.watermark_slot))
    })?;
    Ok(match watermark {
        WATERMARK_NONE => None,
        WATERMARK_END => Some(EventTime::MAX),
        watermark => Some(watermark.saturating_sub(w.allowed_lateness)),
    })
}

/// The broken invariant of the module.
fn refuse_closed(pane: Pane, closed: Option<EventTime>) -> Result<(), OperatorError> {
    match closed {
        Some(closed) if pane.first_window_end <= closed => Err(OperatorError::internal(format!(
            "a partial aggregate of the window that ends at {} us came after windows were closed \
             up to {closed} us",
            pane.first_window_end
        ))),
        _ => Ok(()),
    }
}

/// Retractions are refused at planning; state here could not take them.
fn refuse_negative(batch: &ChangeBatch) -> Result<(), OperatorError> {
    match &batch.ops {
        Ops::Signs { neg } if neg.count_set_bits() > 0 => {
            Err(OperatorError::internal("an aggregate of append-only input was given a deletion"))
        }
        _ => Ok(()),
    }
}

fn zone_of(time_type: &DataType) -> Result<Option<Arc<str>>, OperatorError> {
    match time_type {
        DataType::Timestamp(TimeUnit::Microsecond, zone) => Ok(zone.clone()),
        other => Err(OperatorError::internal(format!("window bounds of type {other}"))),
    }
}

fn constant_time(value: EventTime, rows: usize, zone: &Option<Arc<str>>) -> ArrayRef {
    let array = TimestampMicrosecondArray::from_value(value, rows);
    Arc::new(array.with_timezone_opt(zone.clone()))
}

fn input_type(input: &SchemaRef, position: usize) -> Result<&DataType, OperatorError> {
    match input.fields().get(position) {
        Some(field) => Ok(field.data_type()),
        None => Err(OperatorError::internal(format!("the input has no column {position}"))),
    }
}

fn pick(rows: &RecordBatch, positions: &[usize]) -> Vec<ArrayRef> {
    positions.iter().map(|p| Arc::clone(rows.column(*p))).collect()
}

fn int64s(rows: &RecordBatch, position: usize) -> Result<&[i64], OperatorError> {
    let column = rows.columns().get(position).and_then(|c| c.as_primitive_opt::<Int64Type>());
    match column {
        Some(column) if column.null_count() == 0 => Ok(column.values()),
        _ => Err(OperatorError::internal(format!("column {position} is not a time of slices"))),
    }
}
