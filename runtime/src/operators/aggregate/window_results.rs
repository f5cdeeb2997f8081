//! Windowed aggregation, EMIT ON WINDOW CLOSE: a table per pane, combined when a
//! window closes.
//!
//! ```text
//!   due: window end -> panes whose next window that is
//!
//!     12:00  [pane 11:50] [pane 12:00]        closing 12:00 combines these two,
//!     12:10  [pane 12:10]                     then 11:50 is dropped and 12:00
//!                                             moves to 12:10
//! ```
//!
//! A pane stands in `due` at the first window of its that has not been emitted,
//! so the panes of the earliest entry are exactly those of the next window:
//! closing follows the data, never the clock, and stretches of time without rows
//! cost nothing. A window with a single pane, which is every tumbling window
//! without late rows, is emitted from that pane's table as it is.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidemill_storage::state::Delta;
use tidemill_types::plan::AggregateWindow;
use tidemill_types::{ChangeBatch, EventTime};

use super::super::{Barrier, Counters, Operator, OperatorError, Output, Restored, Step};
use super::durable::DurableGroups;
use super::{Pane, PanePartials, Partials, Results, closed_through, refuse_closed};
use crate::state::group_table::{GroupTable, TouchedSlots};

#[derive(Debug)]
pub(super) struct WindowResults {
    partials: Partials,
    results: Results,
    stored: DurableGroups,
    window: AggregateWindow,
    /// Ends of the slices that the state table has something of.
    in_table: BTreeSet<EventTime>,
    tables: HashMap<Pane, PaneGroups>,
    /// See the module.
    due: BTreeMap<EventTime, Vec<Pane>>,
    /// Windows that end at or before this are closed.
    closed: Option<EventTime>,
    emitting: Option<Emitting>,
    counters: Counters,
}

/// A pane's groups.
#[derive(Debug)]
struct PaneGroups {
    table: GroupTable,
    /// Slots that have changed since the last checkpoint.
    dirty: TouchedSlots,
}

/// A closed window that is being emitted.
#[derive(Debug)]
struct Emitting {
    end: EventTime,
    table: GroupTable,
    /// The pane that `table` is to be given back to, if it has windows left.
    owner: Option<(Pane, TouchedSlots)>,
    emitted: usize,
}

impl WindowResults {
    pub(super) fn new(
        partials: Partials,
        results: Results,
        stored: DurableGroups,
        window: &AggregateWindow,
    ) -> Self {
        WindowResults {
            partials,
            results,
            stored,
            in_table: BTreeSet::new(),
            window: window.clone(),
            tables: HashMap::new(),
            due: BTreeMap::new(),
            closed: None,
            emitting: None,
            counters: Counters::default(),
        }
    }

    /// Adds partials to the table of `pane`; a new one is put down for its first
    /// window.
    fn merge(&mut self, pane: Pane, partials: &PanePartials) -> Result<(), OperatorError> {
        let groups = match self.tables.entry(pane) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.due.entry(pane.first_window_end).or_default().push(pane);
                let table = self.partials.grouping.table()?;
                entry.insert(PaneGroups { table, dirty: TouchedSlots::default() })
            }
        };
        let slots = self.partials.merge(&mut groups.table, partials)?;
        groups.dirty.mark(slots, groups.table.len());
        Ok(())
    }

    /// The window after `end` that `pane` belongs to.
    fn window_after(&self, end: EventTime, pane: Pane) -> Option<EventTime> {
        let next = end.checked_add(self.window.spec.slide)?;
        (next <= self.window.spec.latest_window_end(pane.slice_end)).then_some(next)
    }

    /// Combines the next closed window.
    fn next_closed(&mut self) -> Result<Option<Emitting>, OperatorError> {
        let Some(entry) = self.due.first_entry() else {
            return Ok(None);
        };
        let end = *entry.key();
        if self.closed.is_none_or(|closed| end > closed) {
            return Ok(None);
        }
        let panes = entry.remove();
        if let [pane] = panes[..] {
            let PaneGroups { table, dirty } = self.groups_of(pane)?;
            let next = self.window_after(end, pane);
            if let Some(next) = next {
                self.due.entry(next).or_default().push(pane);
            }
            let owner = next.map(|_| (pane, dirty));
            return Ok(Some(Emitting { end, table, owner, emitted: 0 }));
        }
        let table = self.combine(end, &panes)?;
        Ok(Some(Emitting { end, table, owner: None, emitted: 0 }))
    }

    /// One table with the groups of all `panes`; moves each pane to its next
    /// window or drops it.
    fn combine(&mut self, end: EventTime, panes: &[Pane]) -> Result<GroupTable, OperatorError> {
        let mut leaving = Vec::new();
        let mut staying = Vec::new();
        for pane in panes {
            match self.window_after(end, *pane) {
                Some(next) => {
                    self.due.entry(next).or_default().push(*pane);
                    staying.push(*pane);
                }
                None => leaving.push(self.groups_of(*pane)?.table),
            }
        }
        // The largest table that nobody needs any more is the one to add to.
        leaving.sort_by_key(GroupTable::len);
        let mut combined = match leaving.pop() {
            Some(table) => table,
            None => self.partials.grouping.table()?,
        };
        for table in &leaving {
            self.partials.grouping.absorb(&mut combined, table)?;
        }
        for pane in staying {
            let groups = self.tables.get(&pane).ok_or_else(lost)?;
            self.partials.grouping.absorb(&mut combined, &groups.table)?;
        }
        Ok(combined)
    }

    fn groups_of(&mut self, pane: Pane) -> Result<PaneGroups, OperatorError> {
        self.tables.remove(&pane).ok_or_else(lost)
    }
}

fn lost() -> OperatorError {
    OperatorError::internal("a pane that is due has no table")
}

impl Operator for WindowResults {
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
        let current = match self.emitting.take() {
            Some(current) => Some(current),
            None => self.next_closed()?,
        };
        let Some(mut current) = current else {
            return Ok(Step::Done);
        };
        let until = current.table.len().min(current.emitted + self.results.batch_rows);
        let slots: Vec<u32> = (current.emitted as u32..until as u32).collect();
        let grouping = &self.partials.grouping;
        out.emit(self.results.batch(grouping, &current.table, &slots, Some(current.end))?);
        self.counters.rows_out += slots.len() as u64;
        current.emitted = until;
        if until < current.table.len() {
            self.emitting = Some(current);
        } else if let Some((pane, dirty)) = current.owner {
            self.tables.insert(pane, PaneGroups { table: current.table, dirty });
        }
        Ok(Step::MoreOutput)
    }

    fn checkpoint(&mut self, delta: &mut Delta) -> Result<(), OperatorError> {
        let alive: BTreeSet<EventTime> = self.tables.keys().map(|p| p.slice_end).collect();
        for slice in self.in_table.extract_if(.., |slice| !alive.contains(slice)) {
            self.stored.expire(delta, slice);
        }
        for (pane, groups) in &mut self.tables {
            let slots = groups.dirty.take();
            let place = Some((pane.slice_end, pane.first_window_end));
            self.stored.write(delta, &self.partials.grouping, &groups.table, &slots, place)?;
        }
        self.in_table.extend(alive);
        Ok(())
    }

    fn restore(&mut self, from: &Restored<'_>) -> Result<(), OperatorError> {
        self.closed = closed_through(from.watermarks, &self.window)?;
        let (grouping, tables) = (&mut self.partials.grouping, &mut self.tables);
        let in_table = &mut self.in_table;
        self.stored.read(from, |stored| {
            in_table.insert(stored.slice);
            let mut start = 0;
            for same in stored.first_window_ends.chunk_by(|a, b| a == b) {
                let pane = Pane { slice_end: stored.slice, first_window_end: same[0] };
                let groups = match tables.entry(pane) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => {
                        let table = grouping.table()?;
                        entry.insert(PaneGroups { table, dirty: TouchedSlots::default() })
                    }
                };
                stored.load(start..start + same.len(), grouping, &mut groups.table)?;
                start += same.len();
            }
            Ok(())
        })?;
        // A pane is due at the first of its windows that is still open.
        let panes: BTreeSet<Pane> = self.tables.keys().copied().collect();
        for pane in panes {
            let open = self.closed.and_then(|c| c.checked_add(1)).unwrap_or(EventTime::MIN);
            let next = self.window.spec.first_window_end_at_or_after(open);
            let due = next.max(pane.first_window_end);
            self.due.entry(due).or_default().push(pane);
        }
        Ok(())
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn state_bytes(&self) -> usize {
        let emitting = self.emitting.as_ref().map_or(0, |e| e.table.bytes());
        emitting + self.tables.values().map(|g| g.table.bytes() + g.dirty.bytes()).sum::<usize>()
    }
}
