//! Windowed aggregation, EMIT ON UPDATE: a table per open window.
//!
//! The partials of an epoch are merged into every window that they belong to, and
//! at the barrier the (window, group) pairs that changed are emitted as upserts.
//! The work of an epoch is its partials times the windows per row, whatever the
//! size of the state. A window that the barrier closes is forgotten after its
//! last changes are out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use tidemill_storage::state::Delta;
use tidemill_types::plan::AggregateWindow;
use tidemill_types::{ChangeBatch, EventTime};

use super::super::{Barrier, Counters, Operator, OperatorError, Output, Restored, Step};
use super::durable::DurableGroups;
use super::{Pane, PanePartials, Partials, Results, closed_through, refuse_closed};
use crate::state::group_table::{GroupTable, Grouping, TouchedSlots};

#[derive(Debug)]
pub(super) struct WindowUpdates {
    partials: Partials,
    results: Results,
    stored: DurableGroups,
    window: AggregateWindow,
    /// Ends of the windows that the state table has something of.
    in_table: BTreeSet<EventTime>,
    /// Open windows by their end.
    windows: BTreeMap<EventTime, OpenWindow>,
    /// Ends of the windows that changed in this epoch.
    changed: BTreeSet<EventTime>,
    /// The window that is being emitted.
    emitting: Option<Emitting>,
    closed: Option<EventTime>,
    counters: Counters,
}

#[derive(Debug)]
struct OpenWindow {
    table: GroupTable,
    touched: TouchedSlots,
    /// Slots that have changed since the last checkpoint.
    dirty: TouchedSlots,
}

impl OpenWindow {
    fn new(grouping: &Grouping) -> Result<Self, OperatorError> {
        Ok(OpenWindow {
            table: grouping.table()?,
            touched: TouchedSlots::default(),
            dirty: TouchedSlots::default(),
        })
    }
}

#[derive(Debug)]
struct Emitting {
    end: EventTime,
    slots: Vec<u32>,
    emitted: usize,
}

impl WindowUpdates {
    pub(super) fn new(
        partials: Partials,
        results: Results,
        stored: DurableGroups,
        window: &AggregateWindow,
    ) -> Self {
        WindowUpdates {
            partials,
            results,
            stored,
            in_table: BTreeSet::new(),
            window: window.clone(),
            windows: BTreeMap::new(),
            changed: BTreeSet::new(),
            emitting: None,
            closed: None,
            counters: Counters::default(),
        }
    }

    /// Merges partials into every window from the pane's first to the slice's last.
    fn merge(&mut self, pane: Pane, partials: &PanePartials) -> Result<(), OperatorError> {
        let last = self.window.spec.latest_window_end(pane.slice_end);
        let mut end = pane.first_window_end;
        while end <= last {
            let window = match self.windows.entry(end) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(OpenWindow::new(&self.partials.grouping)?),
            };
            let slots = self.partials.merge(&mut window.table, partials)?;
            window.touched.mark(slots, window.table.len());
            window.dirty.mark(slots, window.table.len());
            self.changed.insert(end);
            match end.checked_add(self.window.spec.slide) {
                Some(next) => end = next,
                None => break,
            }
        }
        Ok(())
    }

    /// The next window that changed, ready to be emitted.
    fn next_changed(&mut self) -> Option<Emitting> {
        let end = self.changed.pop_first()?;
        let slots = self.windows.get_mut(&end)?.touched.take();
        Some(Emitting { end, slots, emitted: 0 })
    }

    fn forget_closed(&mut self) {
        if let Some(closed) = self.closed {
            while self.windows.first_key_value().is_some_and(|(end, _)| *end <= closed) {
                self.windows.pop_first();
            }
        }
    }
}

impl Operator for WindowUpdates {
    fn push(
        &mut self,
        _port: usize,
        batch: ChangeBatch,
        _out: &mut Output,
    ) -> Result<Step, OperatorError> {
        if batch.num_rows() == 0 {
            return Ok(Step::Done);
        }
        self.counters.rows_in += batch.num_rows() as u64;
        for (pane, partials) in self.partials.by_pane(&batch)? {
            refuse_closed(pane, self.closed)?;
            self.merge(pane, &partials)?;
        }
        Ok(Step::Done)
    }

    fn barrier(&mut self, barrier: &Barrier, out: &mut Output) -> Result<Step, OperatorError> {
        self.closed = self.closed.max(closed_through(&barrier.watermarks, &self.window)?);
        self.resume(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, OperatorError> {
        let current = self.emitting.take();
        let Some(mut current) = current.or_else(|| self.next_changed()) else {
            self.forget_closed();
            return Ok(Step::Done);
        };
        let until = current.slots.len().min(current.emitted + self.results.batch_rows);
        let slots = &current.slots[current.emitted..until];
        if let Some(window) = self.windows.get(&current.end) {
            let grouping = &self.partials.grouping;
            out.emit(self.results.batch(grouping, &window.table, slots, Some(current.end))?);
            self.counters.rows_out += slots.len() as u64;
        }
        current.emitted = until;
        if until < current.slots.len() {
            self.emitting = Some(current);
        }
        Ok(Step::MoreOutput)
    }

    fn checkpoint(&mut self, delta: &mut Delta) -> Result<(), OperatorError> {
        // Closed windows have been forgotten at the barrier.
        let windows = &self.windows;
        for end in self.in_table.extract_if(.., |end| !windows.contains_key(end)) {
            self.stored.expire(delta, end);
        }
        for (end, window) in &mut self.windows {
            let slots = window.dirty.take();
            let place = Some((*end, *end));
            self.stored.write(delta, &self.partials.grouping, &window.table, &slots, place)?;
            self.in_table.insert(*end);
        }
        Ok(())
    }

    fn restore(&mut self, from: &Restored<'_>) -> Result<(), OperatorError> {
        self.closed = closed_through(from.watermarks, &self.window)?;
        let (grouping, windows) = (&mut self.partials.grouping, &mut self.windows);
        let in_table = &mut self.in_table;
        self.stored.read(from, |groups| {
            in_table.insert(groups.slice);
            let window = match windows.entry(groups.slice) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(OpenWindow::new(grouping)?),
            };
            groups.load(0..groups.len(), grouping, &mut window.table)
        })
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn state_bytes(&self) -> usize {
        let bytes = |w: &OpenWindow| w.table.bytes() + w.touched.bytes() + w.dirty.bytes();
        self.windows.values().map(bytes).sum()
    }
}
