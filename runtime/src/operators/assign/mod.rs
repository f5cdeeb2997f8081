//! Time operators: which slice or windows a row belongs to, and whether it is
//! too late for them.
//!
//! Lateness is decided here and nowhere else, from the row's own split: the
//! hidden column [`tidemill_types::hidden::ROW_WATERMARK`] says what the split
//! had promised just before the row. So the set of late rows does not depend on
//! speed, batch size or parallelism, and every operator behind may rely on each
//! row still having an open window.
//!
//! The ledger: rows in = admitted + late + null time. A row in no window at all
//! (windows that leave gaps) is admitted and goes no further.

mod slices;
mod windows;

#[cfg(test)]
mod tests;

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use tidemill_types::window::Assignment;
use tidemill_types::{EventTime, WATERMARK_NONE, WindowSpec};

use super::{Counters, OperatorError};

pub(super) use slices::AssignSlices;
pub(super) use windows::AssignWindows;

/// Decides row by row, remembering the last row's slice: rows that are near each
/// other in time, which is nearly all of them, cost two comparisons.
#[derive(Debug)]
struct Assigner {
    window: WindowSpec,
    allowed_lateness: i64,
    width: i64,
    /// Start of the remembered slice.
    start: EventTime,
    /// End of the remembered slice.
    end: EventTime,
    /// End of the earliest window with the remembered slice.
    earliest: EventTime,
    /// A row of the remembered slice is in time for all its windows while its
    /// watermark is below this. `i64::MIN`: nothing is remembered.
    open_below: EventTime,
}

/// What becomes of a row.
enum Place {
    /// In a slice, with the end of the earliest window that admits it.
    Admitted {
        slice_end: EventTime,
        first_window_end: EventTime,
    },
    /// Admitted, but no window contains it.
    Gap,
    Late,
}

impl Assigner {
    fn new(window: WindowSpec, allowed_lateness: i64) -> Self {
        Assigner {
            window,
            allowed_lateness,
            width: window.slice_width(),
            start: 0,
            end: 0,
            earliest: 0,
            open_below: i64::MIN,
        }
    }

    #[inline]
    fn place(&mut self, ts: EventTime, watermark: EventTime, counters: &mut Counters) -> Place {
        // Within [start, start + width), in one comparison; a wrapped difference
        // is as large as an unsigned number gets.
        let inside = (ts.wrapping_sub(self.start) as u64) < self.width as u64;
        if inside && watermark < self.open_below {
            counters.admitted += 1;
            return Place::Admitted { slice_end: self.end, first_window_end: self.earliest };
        }
        self.place_anew(ts, watermark, counters)
    }

    fn place_anew(
        &mut self,
        ts: EventTime,
        watermark: EventTime,
        counters: &mut Counters,
    ) -> Place {
        let Assignment { slice_end, first_window_end, refused_windows, late } =
            self.window.assign(ts, watermark, self.allowed_lateness);
        counters.late_window_rows += refused_windows as u64;
        if late {
            counters.late_rows += 1;
            return Place::Late;
        }
        counters.admitted += 1;
        let earliest = self.window.earliest_window_end(slice_end);
        if earliest > self.window.latest_window_end(slice_end) {
            return Place::Gap;
        }
        // A slice cut off by the end of time is not remembered: its end is not
        // its start plus its width.
        if let Some(start) = slice_end.checked_sub(self.width)
            && slice_end < i64::MAX
        {
            self.start = start;
            self.end = slice_end;
            self.earliest = earliest;
            self.open_below = earliest.saturating_add(self.allowed_lateness);
        }
        Place::Admitted { slice_end, first_window_end }
    }
}

/// The two columns that decide about a row.
struct Times<'a> {
    time: &'a PrimitiveArray<TimestampMicrosecondType>,
    watermark: Option<&'a PrimitiveArray<Int64Type>>,
}

impl<'a> Times<'a> {
    fn of(
        rows: &'a RecordBatch,
        time_column: usize,
        watermark_column: Option<usize>,
    ) -> Result<Self, OperatorError> {
        let time = column(rows, time_column)?
            .as_primitive_opt()
            .ok_or_else(|| OperatorError::internal("the time column is not a timestamp"))?;
        let watermark = match watermark_column {
            None => None,
            Some(position) => Some(
                column(rows, position)?
                    .as_primitive_opt()
                    .ok_or_else(|| OperatorError::internal("the row watermark is not a bigint"))?,
            ),
        };
        Ok(Times { time, watermark })
    }

    /// The row's event time; `None` for NULL.
    #[inline]
    fn time(&self, row: usize) -> Option<EventTime> {
        self.time.is_valid(row).then(|| self.time.value(row))
    }

    #[inline]
    fn watermark(&self, row: usize) -> EventTime {
        self.watermark.map_or(WATERMARK_NONE, |w| w.value(row))
    }
}

fn column(rows: &RecordBatch, position: usize) -> Result<&dyn Array, OperatorError> {
    match rows.columns().get(position) {
        Some(column) => Ok(column.as_ref()),
        None => Err(OperatorError::internal(format!("the input has no column {position}"))),
    }
}
