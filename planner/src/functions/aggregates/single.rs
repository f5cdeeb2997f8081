//! One sum: the same state with a single group, for aggregation without GROUP
//! BY and for window frames.

use arrow::array::{ArrayRef, AsArray};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use super::groups::SumGroups;
use super::number::Number;

#[derive(Debug)]
pub(super) struct OneGroup<T: Number> {
    groups: SumGroups<T>,
    /// Group 0 for every row of a batch; kept to be allocated once.
    zeros: Vec<usize>,
}

impl<T: Number> OneGroup<T> {
    pub(super) fn new(groups: SumGroups<T>) -> Self {
        OneGroup { groups, zeros: vec![] }
    }

    fn zeros(&mut self, rows: usize) -> &[usize] {
        if self.zeros.len() < rows {
            self.zeros.resize(rows, 0);
        }
        &self.zeros[..rows]
    }

    /// A copy with at least the one group: taking a result empties the state,
    /// and a window frame asks for many results of one state.
    fn copy(&self) -> Result<SumGroups<T>> {
        let mut copy = self.groups.clone();
        copy.update_batch(&[arrow::array::new_empty_array(&T::DATA_TYPE)], &[], None, 1)?;
        Ok(copy)
    }
}

impl<T: Number> Accumulator for OneGroup<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values[0].len();
        debug_assert!(values[0].as_primitive_opt::<T>().is_some());
        self.zeros(rows);
        self.groups.update_batch(values, &self.zeros[..rows], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let result = self.copy()?.evaluate(EmitTo::All)?;
        ScalarValue::try_from_array(&result, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.groups.size() + self.zeros.capacity() * size_of::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let columns = self.copy()?.state(EmitTo::All)?;
        columns.iter().map(|c| ScalarValue::try_from_array(c, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states[0].len();
        self.zeros(rows);
        self.groups.merge_batch(states, &self.zeros[..rows], 1)
    }
}
