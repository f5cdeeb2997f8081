//! Groups and their aggregates: a slot table with an accumulator per call.
//!
//! A [`Grouping`] is what all tables of one operator have in common: how keys are
//! encoded, which calls there are, and the scratch space for one batch. A
//! [`GroupTable`] is only state.

use arrow::array::{Array, ArrayRef};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use tidemill_types::plan::AggregateCall;

use super::accumulators::{Accumulator, Rows, accumulator};
use super::keys::KeyEncoder;
use super::slot_table::SlotTable;
use crate::operators::OperatorError;

/// Slots that are copied from one table into another in one go.
const ABSORB_ROWS: usize = 4096;

/// Groups with the state of their aggregates.
#[derive(Debug)]
pub struct GroupTable {
    slots: SlotTable,
    accumulators: Vec<Box<dyn Accumulator>>,
}

impl GroupTable {
    /// Number of groups; their slots are `0 .. len`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The keys.
    #[must_use]
    pub fn slots(&self) -> &SlotTable {
        &self.slots
    }

    /// Forgets every group; memory is kept.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.accumulators.iter_mut().for_each(|a| a.clear());
    }

    /// Bytes of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slots.bytes() + self.accumulators.iter().map(|a| a.bytes()).sum::<usize>()
    }

    /// The state columns of `slots`, call after call.
    #[must_use]
    pub fn states(&self, slots: &[u32]) -> Vec<ArrayRef> {
        let mut columns = Vec::new();
        self.accumulators.iter().for_each(|a| a.state(slots, &mut columns));
        columns
    }

    /// The result columns of `slots`, one per call.
    pub fn results(&self, slots: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        self.accumulators.iter().map(|a| a.result(slots)).collect()
    }

    /// Hash of each of `slots`' distribution keys.
    pub fn hashes(&self, slots: &[u32]) -> impl Iterator<Item = u64> {
        slots.iter().map(|s| self.slots.hashes()[*s as usize])
    }
}

/// A call's columns in a batch.
#[derive(Clone, Copy, Debug)]
pub struct CallInput<'a> {
    pub argument: Option<&'a ArrayRef>,
    /// Only rows whose bit is set count.
    pub filter: Option<&'a BooleanBuffer>,
}

/// Keys of a batch of rows.
#[derive(Clone, Copy, Debug)]
pub struct KeyColumns<'a> {
    pub columns: &'a [ArrayRef],
    /// One per row: the stable hash of the distribution key.
    pub hashes: &'a [u64],
    /// One per row or none, see [`super::keys::tag_of`].
    pub tags: &'a [u32],
}

/// See the module.
#[derive(Debug)]
pub struct Grouping {
    encoder: KeyEncoder,
    calls: Vec<AggregateCall>,
    /// How many state columns each call has.
    state_widths: Vec<usize>,
    /// The slots of the last batch.
    slots: Vec<u32>,
}

impl Grouping {
    /// For keys of columns of `key_types`.
    pub fn new(key_types: Vec<DataType>, calls: &[AggregateCall]) -> Result<Self, OperatorError> {
        Ok(Grouping {
            encoder: KeyEncoder::new(key_types)?,
            calls: calls.to_vec(),
            state_widths: calls.iter().map(|c| c.state_fields(0).len()).collect(),
            slots: Vec::new(),
        })
    }

    /// An empty table.
    pub fn table(&self) -> Result<GroupTable, OperatorError> {
        Ok(GroupTable { slots: self.encoder.table(), accumulators: self.accumulators()? })
    }

    /// An accumulator for each call.
    pub fn accumulators(&self) -> Result<Vec<Box<dyn Accumulator>>, OperatorError> {
        self.calls.iter().map(accumulator).collect()
    }

    /// Makes groups for keys that have none; answers the slot of each row.
    pub fn add(
        &mut self,
        table: &mut GroupTable,
        keys: KeyColumns<'_>,
    ) -> Result<&[u32], OperatorError> {
        self.intern(table, keys)?;
        Ok(&self.slots)
    }

    /// Adds rows to their groups; answers the slot of each row. `inputs` has an
    /// entry per call.
    pub fn update(
        &mut self,
        table: &mut GroupTable,
        keys: KeyColumns<'_>,
        inputs: &[CallInput<'_>],
    ) -> Result<&[u32], OperatorError> {
        self.intern(table, keys)?;
        for (accumulator, input) in table.accumulators.iter_mut().zip(inputs) {
            let rows = Rows { slots: &self.slots, filter: input.filter, neg: None };
            accumulator.update(rows, input.argument)?;
        }
        Ok(&self.slots)
    }

    /// Adds partial states to their groups; answers the slot of each row.
    /// `states` are the state columns, call after call.
    pub fn merge(
        &mut self,
        table: &mut GroupTable,
        keys: KeyColumns<'_>,
        states: &[ArrayRef],
    ) -> Result<&[u32], OperatorError> {
        self.intern(table, keys)?;
        self.merge_states(table, states)?;
        Ok(&self.slots)
    }

    /// Adds all groups of `from` to `into`.
    pub fn absorb(
        &mut self,
        into: &mut GroupTable,
        from: &GroupTable,
    ) -> Result<(), OperatorError> {
        let mut source = Vec::with_capacity(from.len().min(ABSORB_ROWS));
        for start in (0..from.len()).step_by(ABSORB_ROWS) {
            let range = start..from.len().min(start + ABSORB_ROWS);
            let keys = self.encoder.copy_from(&from.slots, range.clone())?;
            self.slots.clear();
            let hashes = &from.slots.hashes()[range.clone()];
            into.slots.intern(keys, hashes, 0..range.len(), &mut self.slots)?;
            source.clear();
            source.extend(range.start as u32..range.end as u32);
            self.merge_states(into, &from.states(&source))?;
        }
        Ok(())
    }

    /// The key columns of `slots`.
    pub fn keys(&self, table: &GroupTable, slots: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        self.encoder.decode(&table.slots, slots)
    }

    fn intern(
        &mut self,
        table: &mut GroupTable,
        keys: KeyColumns<'_>,
    ) -> Result<(), OperatorError> {
        let rows = keys.hashes.len();
        let batch = self.encoder.encode(keys.columns, rows, keys.tags)?;
        self.slots.clear();
        table.slots.intern(batch, keys.hashes, 0..rows, &mut self.slots)?;
        let groups = table.slots.len();
        table.accumulators.iter_mut().for_each(|a| a.resize(groups));
        Ok(())
    }

    fn merge_states(
        &self,
        table: &mut GroupTable,
        states: &[ArrayRef],
    ) -> Result<(), OperatorError> {
        let groups = table.slots.len();
        let mut rest = states;
        for (accumulator, width) in table.accumulators.iter_mut().zip(&self.state_widths) {
            let (own, after) = rest.split_at_checked(*width).ok_or_else(|| {
                OperatorError::internal("partial aggregates have too few state columns")
            })?;
            accumulator.resize(groups);
            accumulator.merge(&self.slots, own)?;
            rest = after;
        }
        Ok(())
    }
}

/// Slots that changed since the last barrier.
#[derive(Debug, Default)]
pub struct TouchedSlots {
    words: Vec<u64>,
}

impl TouchedSlots {
    /// Marks `slots`, all below `len`.
    pub fn mark(&mut self, slots: &[u32], len: usize) {
        self.words.resize(len.div_ceil(64).max(self.words.len()), 0);
        for slot in slots {
            self.words[(slot >> 6) as usize] |= 1 << (slot & 63);
        }
    }

    /// The marked slots, ascending; afterwards none is.
    pub fn take(&mut self) -> Vec<u32> {
        let mut slots = Vec::new();
        for (position, word) in self.words.iter_mut().enumerate() {
            let mut bits = std::mem::take(word);
            while bits != 0 {
                slots.push((position as u32) << 6 | bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
        slots
    }

    /// Bytes of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.words.capacity() * 8
    }
}

/// A `FILTER` column as the bits of rows that count; NULL does not.
pub fn filter_bits(column: &ArrayRef) -> Result<BooleanBuffer, OperatorError> {
    use arrow::array::AsArray;
    let column = column
        .as_boolean_opt()
        .ok_or_else(|| OperatorError::internal("an aggregate's filter is not boolean"))?;
    Ok(match column.nulls() {
        None => column.values().clone(),
        Some(nulls) => column.values() & nulls.inner(),
    })
}
