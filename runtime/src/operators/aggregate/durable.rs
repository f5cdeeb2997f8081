//! An aggregation's groups in its state table: the key columns (in front of them
//! the end of the pane's first window, where there are panes) and the state
//! columns of each call, as the exchange carries them. Restoring is merging them
//! into an empty table.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use tidemill_storage::state::{Delta, Family, KeyCodec, StateTable, ValueCodec};
use tidemill_types::plan::Aggregate;
use tidemill_types::{EventTime, TableId};

use super::super::{OperatorError, Restored};
use super::{AsArray, Int64Type};
use crate::state::group_table::{GroupTable, Grouping, KeyColumns};

/// Groups that are encoded in one go.
const DUMP_ROWS: usize = 8192;

/// How the windows of an aggregation divide its state table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slicing {
    /// No windows: groups live for ever.
    None,
    /// A slice per open window.
    Windows,
    /// A slice per slice of time; in it the panes, told apart by their first
    /// window.
    Panes,
}

/// The state table of one instance.
#[derive(Debug)]
pub(super) struct DurableGroups {
    table: StateTable,
    slicing: Slicing,
}

/// Groups that were stored, of one slice.
pub(super) struct StoredGroups {
    /// `i64::MIN` where there are no slices.
    pub slice: EventTime,
    /// One per group where there are panes.
    pub first_window_ends: Vec<EventTime>,
    keys: Vec<ArrayRef>,
    hashes: Vec<u64>,
    states: Vec<ArrayRef>,
}

impl DurableGroups {
    pub(super) fn new(
        spec: &Aggregate,
        key_types: &[DataType],
        id: TableId,
        slicing: Slicing,
    ) -> Result<Self, OperatorError> {
        let mut key = Vec::with_capacity(key_types.len() + 1);
        if slicing == Slicing::Panes {
            key.push(DataType::Int64);
        }
        key.extend_from_slice(key_types);
        let states = spec.calls.iter().flat_map(|c| c.state_fields(0));
        let value: Vec<DataType> = states.map(|f| f.data_type().clone()).collect();
        let family = if slicing == Slicing::None { Family::Aggregate } else { Family::Window };
        let (key, value) = (KeyCodec::new(&key)?, ValueCodec::new(&value)?);
        let table = StateTable::new(id, family, slicing != Slicing::None, true, key, value)?;
        Ok(DurableGroups { table, slicing })
    }

    /// Writes the groups `slots` of `groups`. `place`: their slice and, where there
    /// are panes, the pane's first window.
    pub(super) fn write(
        &mut self,
        delta: &mut Delta,
        grouping: &Grouping,
        groups: &GroupTable,
        slots: &[u32],
        place: Option<(EventTime, EventTime)>,
    ) -> Result<(), OperatorError> {
        for slots in slots.chunks(DUMP_ROWS) {
            let mut keys = Vec::new();
            if let (Slicing::Panes, Some((_, first))) = (self.slicing, place) {
                keys.push(Arc::new(Int64Array::from_value(first, slots.len())) as ArrayRef);
            }
            keys.extend(grouping.keys(groups, slots)?);
            let hashes: Vec<u64> = groups.hashes(slots).collect();
            let states = groups.states(slots);
            let slice = place.map(|(slice, _)| slice);
            self.table.write(delta, slice, &hashes, &keys, &states)?;
        }
        Ok(())
    }

    /// Forgets a slice with everything in it.
    pub(super) fn expire(&self, delta: &mut Delta, slice: EventTime) {
        self.table.expire_slice(delta, slice);
    }

    /// Hands over everything stored of the instance's vnodes, part by part.
    pub(super) fn read(
        &self,
        from: &Restored<'_>,
        mut each: impl FnMut(StoredGroups) -> Result<(), OperatorError>,
    ) -> Result<(), OperatorError> {
        let panes = self.slicing == Slicing::Panes;
        self.table.read(from.backend, from.vnodes.clone(), |rows| {
            let mut keys = rows.keys;
            let first_window_ends = match panes.then(|| keys.remove(0)) {
                Some(column) => column.as_primitive::<Int64Type>().values().to_vec(),
                None => Vec::new(),
            };
            each(StoredGroups {
                slice: rows.slice.unwrap_or(EventTime::MIN),
                first_window_ends,
                keys,
                hashes: rows.hashes,
                states: rows.values,
            })
        })
    }
}

impl StoredGroups {
    /// Adds the groups `rows` to `table`, which has none of them.
    pub(super) fn load(
        &self,
        rows: std::ops::Range<usize>,
        grouping: &mut Grouping,
        table: &mut GroupTable,
    ) -> Result<(), OperatorError> {
        let part = |c: &ArrayRef| c.slice(rows.start, rows.len());
        let keys: Vec<ArrayRef> = self.keys.iter().map(part).collect();
        let states: Vec<ArrayRef> = self.states.iter().map(part).collect();
        let hashes = &self.hashes[rows];
        grouping.merge(table, KeyColumns { columns: &keys, hashes, tags: &[] }, &states)?;
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }
}
