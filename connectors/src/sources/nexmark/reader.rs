//! Reads one split of the sequence.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use tidemill_types::{Diagnostic, EventTime};

use super::columns::{Column, Rows};
use super::random::Prices;
use super::sequence::{Layout, Run, Sequence};
use crate::columns::{batch, convert, sql_name};
use crate::error::ConnectorError;
use crate::source::{Read, ReadRequest, Records, Rejected, SplitReader};

/// Records per read at most, whatever the engine asks for.
const RECORDS_MAX: usize = 1 << 16;
/// A throttled reader waits until so much is due (microseconds), so that batches
/// do not become single rows.
const THROTTLE_STEP: i64 = 5_000;
const MICROS_PER_SECOND: u128 = 1_000_000;

/// The columns to generate and what the user calls them.
#[derive(Debug)]
pub struct Output {
    columns: Vec<(&'static Column, Option<DataType>)>,
    schema: SchemaRef,
}

impl Output {
    /// Finds the columns of a request among those `offered`.
    pub fn new(offered: &'static [Column], request: &ReadRequest) -> Result<Self, ConnectorError> {
        let columns = request.columns.iter().zip(&request.physical_names).map(|(field, name)| {
            let column = offered.iter().find(|column| column.name == name).ok_or_else(|| {
                let message = format!("connector \"nexmark\" offers no column \"{name}\"");
                ConnectorError::Options(Diagnostic::internal(message))
            })?;
            let converted =
                (column.kind.data_type() != *field.data_type()).then(|| field.data_type().clone());
            Ok((column, converted))
        });
        Ok(Output {
            columns: columns.collect::<Result<_, ConnectorError>>()?,
            schema: Arc::new(Schema::new(request.columns.clone())),
        })
    }

    /// Generates the rows. A row in which some value does not fit the user's type
    /// is left out and described instead.
    fn generate(&self, rows: &Rows<'_>, start: u64) -> Result<Records, ArrowError> {
        let mut misfit: Option<Misfits> = None;
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (column, target) in &self.columns {
            let own = (column.generate)(rows);
            let Some(target) = target else {
                arrays.push(own);
                continue;
            };
            let converted = convert(&own, target)?;
            if converted.null_count() > own.null_count() {
                let reasons = misfit.get_or_insert_with(|| vec![None; rows.count]);
                note_misfits(reasons, column, target, &own, &converted);
            }
            arrays.push(converted);
        }
        let end = start + rows.count as u64;
        let keep = misfit.as_ref().map(|reasons| {
            reasons.iter().map(|reason| Some(reason.is_none())).collect::<BooleanArray>()
        });
        let rows = batch(&self.schema, arrays, rows.count, keep)?;
        let rejected =
            (start..).zip(misfit.into_iter().flatten()).filter_map(|(ordinal, reason)| {
                reason.map(|reason| Rejected { ordinal, reason, raw: Vec::new() })
            });
        Ok(Records { rows, start, end, rejected: rejected.collect() })
    }
}

/// Why a row cannot be delivered, if so.
type Misfits = Vec<Option<String>>;

fn note_misfits(
    reasons: &mut Misfits,
    column: &Column,
    target: &DataType,
    own: &ArrayRef,
    converted: &ArrayRef,
) {
    for (row, reason) in reasons.iter_mut().enumerate() {
        if reason.is_none() && converted.is_null(row) && own.is_valid(row) {
            let target = sql_name(target);
            *reason = Some(format!("column {}: out of range of {target}", column.name));
        }
    }
}

/// Releases events at a rate of the clock, counted from the first read that is
/// held back by it. A reader that is opened again at a later position starts a
/// new count there, and so does one that had to catch up.
#[derive(Debug)]
pub struct Throttle {
    /// Events of the whole sequence per second, at least 1.
    rate: u64,
    /// The clock and the next event's number at the first read.
    anchor: Option<(EventTime, u64)>,
}

impl Throttle {
    #[must_use]
    pub fn new(rate: u64) -> Self {
        Throttle { rate, anchor: None }
    }

    /// The number of the first event that is not due at `now`; `next` is the one
    /// to be read next.
    fn due_before(&mut self, now: EventTime, next: u64) -> u64 {
        let (start, first) = *self.anchor.get_or_insert((now, next));
        let elapsed = now.saturating_sub(start).max(0) as u128;
        let events = elapsed * u128::from(self.rate) / MICROS_PER_SECOND;
        first.saturating_add(u64::try_from(events).unwrap_or(u64::MAX)).saturating_add(1)
    }

    /// When event `number` is due, but not before the next step after `now`.
    fn ready_at(&self, now: EventTime, number: u64) -> Option<EventTime> {
        let (start, first) = self.anchor?;
        let events = u128::from(number.saturating_sub(first));
        let micros = (events * MICROS_PER_SECOND).div_ceil(u128::from(self.rate));
        let due = start.saturating_add(i64::try_from(micros).unwrap_or(i64::MAX));
        Some(due.max(now.saturating_add(THROTTLE_STEP)))
    }
}

/// Reads records of one table in one split.
#[derive(Debug)]
pub struct Reader {
    layout: Layout,
    sequence: Sequence,
    prices: Arc<Prices>,
    output: Output,
    throttle: Option<Throttle>,
    /// Records before this one are not held back.
    released: u64,
    next: u64,
    end: u64,
    /// Kept for its memory only.
    runs: Vec<Run>,
}

impl Reader {
    /// A reader that stands before record `next`.
    #[must_use]
    pub fn new(
        layout: Layout,
        sequence: Sequence,
        prices: Arc<Prices>,
        output: Output,
        throttle: Option<Throttle>,
        next: u64,
    ) -> Self {
        let end = layout.records_before(sequence.events());
        let runs = Vec::new();
        Reader { layout, sequence, prices, output, throttle, released: 0, next, end, runs }
    }
}

impl SplitReader for Reader {
    fn read(&mut self, max_records: usize, now: EventTime) -> Result<Read, ConnectorError> {
        if self.next >= self.end {
            return Ok(Read::End);
        }
        let mut end = self.end;
        if self.next < self.released {
            end = end.min(self.released);
        } else if let Some(throttle) = &mut self.throttle {
            let event = self.layout.event(self.next);
            end = end.min(self.layout.records_before(throttle.due_before(now, event)));
            if end <= self.next {
                return Ok(Read::Pending { ready_at: throttle.ready_at(now, event) });
            }
        }
        let count = max_records.clamp(1, RECORDS_MAX) as u64;
        let ordinals = self.next..end.min(self.next + count);
        self.layout.runs(ordinals.clone(), &mut self.runs);
        let rows = Rows::new(&self.runs, &self.sequence, &self.prices);
        let records = self.output.generate(&rows, ordinals.start).map_err(|error| {
            let message = format!("connector \"nexmark\" cannot build its rows: {error}");
            ConnectorError::Options(Diagnostic::internal(message))
        })?;
        self.next = ordinals.end;
        Ok(Read::Records(records))
    }

    fn released_before(&mut self, ordinal: u64) {
        self.released = self.released.max(ordinal);
    }
}
