//! Sums and averages of `real` and `double precision`.
//!
//! Neumaier's compensated summation (A. Neumaier, ZAMM 54, 1974): beside the sum
//! stands what rounding has lost, so the result hardly depends on the order in
//! which rows and partial sums come together. An infinity that was in the input
//! is a result; one that finite inputs add up to is an overflow.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, Float32Array, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use tidemill_types::plan::{AggregateCall, AggregateFunction};

use super::{Accumulator, Rows, gather, null_where_zero, out_of_range, primitive};
use crate::operators::OperatorError;

/// `sum + lost` is the value.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    sum: f64,
    lost: f64,
}

impl Pair {
    /// Adds `value`; true: finite numbers have added up to infinity.
    #[inline]
    fn add(&mut self, value: f64) -> bool {
        let sum = self.sum + value;
        if !sum.is_finite() {
            let overflow = self.sum.is_finite() && value.is_finite();
            *self = Pair { sum, lost: 0.0 };
            return overflow;
        }
        self.lost += if self.sum.abs() >= value.abs() {
            (self.sum - sum) + value
        } else {
            (value - sum) + self.sum
        };
        self.sum = sum;
        false
    }

    fn value(self) -> f64 {
        if self.sum.is_finite() { self.sum + self.lost } else { self.sum }
    }
}

#[derive(Debug)]
pub(super) struct FloatSum<A> {
    pairs: Vec<Pair>,
    counts: Vec<i64>,
    function: AggregateFunction,
    name: String,
    output_type: DataType,
    input: PhantomData<fn() -> A>,
}

impl<A> FloatSum<A> {
    pub(super) fn new(call: &AggregateCall) -> Self {
        FloatSum {
            pairs: Vec::new(),
            counts: Vec::new(),
            function: call.function,
            name: call.output_name.clone(),
            output_type: call.output_type.clone(),
            input: PhantomData,
        }
    }

    fn check(&self, overflow: bool) -> Result<(), OperatorError> {
        if overflow { Err(out_of_range(&self.name, &self.output_type)) } else { Ok(()) }
    }

    fn value(&self, slot: u32) -> f64 {
        let value = self.pairs[slot as usize].value();
        match self.function {
            AggregateFunction::Avg => value / self.counts[slot as usize] as f64,
            _ => value,
        }
    }
}

impl<A> Accumulator for FloatSum<A>
where
    A: ArrowPrimitiveType,
    A::Native: Into<f64>,
{
    fn resize(&mut self, slots: usize) {
        self.pairs.resize(slots, Pair::default());
        self.counts.resize(slots, 0);
    }

    fn update(&mut self, rows: Rows<'_>, argument: Option<&ArrayRef>) -> Result<(), OperatorError> {
        let argument = primitive::<A>(argument)?;
        let values = argument.values();
        let overflow = Cell::new(false);
        let pairs = Cell::from_mut(self.pairs.as_mut_slice()).as_slice_of_cells();
        let counts = Cell::from_mut(self.counts.as_mut_slice()).as_slice_of_cells();
        let add = |slot: usize, value: f64, count: i64| {
            let mut pair = pairs[slot].get();
            overflow.set(pair.add(value) | overflow.get());
            pairs[slot].set(pair);
            counts[slot].set(counts[slot].get() + count);
        };
        rows.each(
            argument.nulls(),
            |slot, row| add(slot, values[row].into(), 1),
            |slot, row| add(slot, -values[row].into(), -1),
        );
        self.check(overflow.get())
    }

    fn merge(&mut self, slots: &[u32], states: &[ArrayRef]) -> Result<(), OperatorError> {
        let sums = primitive::<Float64Type>(states.first())?.values();
        let lost = primitive::<Float64Type>(states.get(1))?.values();
        let counts = primitive::<Int64Type>(states.get(2))?.values();
        let mut overflow = false;
        for (row, slot) in slots.iter().enumerate() {
            let pair = &mut self.pairs[*slot as usize];
            overflow |= pair.add(sums[row]);
            if pair.sum.is_finite() {
                pair.lost += lost[row];
            }
            self.counts[*slot as usize] += counts[row];
        }
        self.check(overflow)
    }

    fn state(&self, slots: &[u32], out: &mut Vec<ArrayRef>) {
        let pair = |s: &u32| self.pairs[*s as usize];
        out.push(Arc::new(Float64Array::from_iter_values(slots.iter().map(|s| pair(s).sum))));
        out.push(Arc::new(Float64Array::from_iter_values(slots.iter().map(|s| pair(s).lost))));
        out.push(Arc::new(Int64Array::from(gather(&self.counts, slots))));
    }

    fn result(&self, slots: &[u32]) -> Result<ArrayRef, OperatorError> {
        let nulls = null_where_zero(&self.counts, slots);
        let values: Vec<f64> = slots.iter().map(|s| self.value(*s)).collect();
        if self.output_type != DataType::Float32 {
            return Ok(Arc::new(Float64Array::new(values.into(), nulls)));
        }
        let narrow: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        let overflow = narrow.iter().zip(&values).any(|(n, v)| n.is_infinite() && v.is_finite());
        self.check(overflow)?;
        Ok(Arc::new(Float32Array::new(narrow.into(), nulls)))
    }

    fn clear(&mut self) {
        self.pairs.clear();
        self.counts.clear();
    }

    fn bytes(&self) -> usize {
        self.pairs.capacity() * size_of::<Pair>() + self.counts.capacity() * 8
    }
}
