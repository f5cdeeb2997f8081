//! `count(*)` and `count(x)`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::datatypes::Int64Type;

use super::{Accumulator, Rows, gather, primitive};
use crate::operators::OperatorError;

#[derive(Debug, Default)]
pub(super) struct Count {
    counts: Vec<i64>,
}

impl Accumulator for Count {
    fn resize(&mut self, slots: usize) {
        self.counts.resize(slots, 0);
    }

    fn update(&mut self, rows: Rows<'_>, argument: Option<&ArrayRef>) -> Result<(), OperatorError> {
        let counts = std::cell::Cell::from_mut(self.counts.as_mut_slice()).as_slice_of_cells();
        rows.each(
            argument.and_then(|a| a.nulls()),
            |slot, _| counts[slot].set(counts[slot].get() + 1),
            |slot, _| counts[slot].set(counts[slot].get() - 1),
        );
        Ok(())
    }

    fn merge(&mut self, slots: &[u32], states: &[ArrayRef]) -> Result<(), OperatorError> {
        let counts = primitive::<Int64Type>(states.first())?;
        for (slot, count) in slots.iter().zip(counts.values()) {
            self.counts[*slot as usize] += count;
        }
        Ok(())
    }

    fn state(&self, slots: &[u32], out: &mut Vec<ArrayRef>) {
        out.push(Arc::new(Int64Array::from(gather(&self.counts, slots))));
    }

    fn result(&self, slots: &[u32]) -> Result<ArrayRef, OperatorError> {
        Ok(Arc::new(Int64Array::from(gather(&self.counts, slots))))
    }

    fn clear(&mut self) {
        self.counts.clear();
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * 8
    }
}
