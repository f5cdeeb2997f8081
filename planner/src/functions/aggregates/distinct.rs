//! `sum(DISTINCT x)` and `avg(DISTINCT x)` in SELECT: the set of values, summed
//! at the end. Not for views, whose state it would be.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use super::groups::SumGroups;
use super::number::Number;

#[derive(Debug)]
pub(super) struct DistinctAccumulator<T: Number> {
    /// Empty; copied to sum the values.
    groups: SumGroups<T>,
    input: DataType,
    values: HashSet<ScalarValue>,
}

/// The state's column: the list of values.
pub(super) fn state_field(input: &DataType) -> FieldRef {
    let item = Field::new_list_field(input.clone(), true);
    Arc::new(Field::new("distinct_values", DataType::List(Arc::new(item)), false))
}

impl<T: Number> DistinctAccumulator<T> {
    pub(super) fn new(groups: SumGroups<T>, input: DataType) -> Self {
        DistinctAccumulator { groups, input, values: HashSet::new() }
    }

    fn insert(&mut self, values: &ArrayRef) -> Result<()> {
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            self.values.insert(ScalarValue::try_from_array(values, row)?);
        }
        Ok(())
    }

    fn array(&self) -> Result<ArrayRef> {
        if self.values.is_empty() {
            return Ok(arrow::array::new_empty_array(&self.input));
        }
        ScalarValue::iter_to_array(self.values.iter().cloned())
    }
}

impl<T: Number> Accumulator for DistinctAccumulator<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.insert(&values[0])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let values = self.array()?;
        let zeros = vec![0; values.len()];
        let mut groups = self.groups.clone();
        groups.update_batch(&[values], &zeros, None, 1)?;
        ScalarValue::try_from_array(&groups.evaluate(EmitTo::All)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<ScalarValue>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: Vec<ScalarValue> = self.values.iter().cloned().collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.input))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states[0].as_list::<i32>();
        for values in lists.iter().flatten() {
            self.insert(&values)?;
        }
        Ok(())
    }
}
