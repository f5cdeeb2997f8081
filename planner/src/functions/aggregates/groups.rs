//! Many sums at once: one running sum and one count per group.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Decimal256Array, Float32Array,
    Float64Array, Int64Array, PrimitiveArray,
};
use arrow::datatypes::{DataType, i256};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use tidemill_types::plan::AggregateFunction;

use super::number::{Number, Total, decode_count, out_of_range};

/// The state of `sum` or `avg` over arguments of type `T`.
#[derive(Debug)]
pub(super) struct SumGroups<T: Number> {
    function: AggregateFunction,
    output: DataType,
    /// The argument's scale; 0 for other than numeric.
    scale: i8,
    sums: Vec<T::Sum>,
    /// How many values are in each sum; a sum of none is NULL.
    counts: Vec<i64>,
}

/// By hand, since `T` is only a name and not `Clone` itself.
impl<T: Number> Clone for SumGroups<T> {
    fn clone(&self) -> Self {
        SumGroups {
            function: self.function,
            output: self.output.clone(),
            scale: self.scale,
            sums: self.sums.clone(),
            counts: self.counts.clone(),
        }
    }
}

impl<T: Number> SumGroups<T> {
    pub(super) fn new(function: AggregateFunction, input: &DataType) -> Result<Self> {
        let Some(output) = function.output_type(input) else {
            return internal_err!("{} of {input} was planned", function.name());
        };
        let scale = match input {
            DataType::Decimal128(_, s) | DataType::Decimal256(_, s) => *s,
            _ => 0,
        };
        Ok(SumGroups { function, output, scale, sums: vec![], counts: vec![] })
    }

    fn resize(&mut self, groups: usize) {
        if groups > self.sums.len() {
            self.sums.resize(groups, T::Sum::default());
            self.counts.resize(groups, 0);
        }
    }

    #[inline]
    fn add(&mut self, group: usize, value: T::Native) -> bool {
        self.counts[group] += 1;
        T::add(&mut self.sums[group], value)
    }

    /// The result of each group.
    fn results(&self, sums: &[T::Sum], counts: &[i64]) -> Result<ArrayRef> {
        let groups = sums.iter().zip(counts);
        let floats = || {
            groups.clone().map(|(sum, count)| {
                (*count > 0).then(|| match (T::total(*sum), self.function) {
                    (Total::Float(f), AggregateFunction::Avg) => f / *count as f64,
                    (Total::Float(f), _) => f,
                    (Total::Exact(_), _) => f64::NAN,
                })
            })
        };
        let exact = groups.clone().map(|(sum, count)| self.exact(*sum, *count));
        Ok(match &self.output {
            DataType::Float64 => Arc::new(Float64Array::from_iter(floats())),
            DataType::Float32 => {
                let mut narrowed = Vec::with_capacity(sums.len());
                for value in floats() {
                    let wide = value.filter(|v| v.is_finite());
                    let narrow = value.map(|v| v as f32);
                    if wide.is_some() && narrow.is_some_and(f32::is_infinite) {
                        return Err(out_of_range(&self.output));
                    }
                    narrowed.push(narrow);
                }
                Arc::new(Float32Array::from(narrowed))
            }
            DataType::Int64 => {
                let values = exact.map(|v| self.narrow(v?, |v| v.to_i128().map(|v| v as i64)));
                Arc::new(values.collect::<Result<Int64Array>>()?)
            }
            DataType::Decimal128(precision, scale) => {
                let limit = 10_i128.pow(u32::from(*precision));
                let fits = |v: i256| v.to_i128().filter(|v| v.abs() < limit);
                let values = exact.map(|v| self.narrow(v?, fits));
                let array = values.collect::<Result<Decimal128Array>>()?;
                Arc::new(array.with_precision_and_scale(*precision, *scale)?)
            }
            DataType::Decimal256(precision, scale) => {
                let limit = i256::from_i128(10).checked_pow(u32::from(*precision));
                let fits = |v: i256| match (limit, v.checked_abs()) {
                    (Some(limit), Some(magnitude)) if magnitude < limit => Some(v),
                    _ => None,
                };
                let values = exact.map(|v| self.narrow(v?, fits));
                let array = values.collect::<Result<Decimal256Array>>()?;
                Arc::new(array.with_precision_and_scale(*precision, *scale)?)
            }
            other => return internal_err!("{} gives {other}", self.function.name()),
        })
    }

    /// The unscaled result of an exact sum; `None` for a group without values.
    fn exact(&self, sum: T::Sum, count: i64) -> Result<Option<i256>> {
        if count == 0 {
            return Ok(None);
        }
        let Total::Exact(sum) = T::total(sum) else {
            return internal_err!("an exact result from a float sum");
        };
        if self.function != AggregateFunction::Avg {
            return Ok(Some(sum));
        }
        let scale = match &self.output {
            DataType::Decimal128(_, s) | DataType::Decimal256(_, s) => *s,
            _ => 0,
        };
        let more_digits = u32::try_from(scale - self.scale).unwrap_or(0);
        i256::from_i128(10)
            .checked_pow(more_digits)
            .and_then(|factor| sum.checked_mul(factor))
            .and_then(|scaled| divide_rounding(scaled, count))
            .map(Some)
            .ok_or_else(|| out_of_range(&self.output))
    }

    fn narrow<N>(
        &self,
        value: Option<i256>,
        fits: impl Fn(i256) -> Option<N>,
    ) -> Result<Option<N>> {
        value.map(|v| fits(v).ok_or_else(|| out_of_range(&self.output))).transpose()
    }

    /// The type whose overflow an error names.
    fn sum_type(&self) -> DataType {
        match &self.output {
            DataType::Decimal128(_, 10) if self.scale == 0 => DataType::Int64,
            other => other.clone(),
        }
    }
}

/// `value / by`, half away from zero.
fn divide_rounding(value: i256, by: i64) -> Option<i256> {
    let by = i256::from_i128(i128::from(by));
    let quotient = value.checked_div(by)?;
    let remainder = value.checked_rem(by)?.checked_abs()?;
    let twice = remainder.checked_add(remainder)?;
    if twice < by {
        return Some(quotient);
    }
    let one = if value.is_negative() { i256::MINUS_ONE } else { i256::ONE };
    quotient.checked_add(one)
}

impl<T: Number> GroupsAccumulator for SumGroups<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.resize(total_num_groups);
        let values: &PrimitiveArray<T> = values[0].as_primitive();
        let mut fits = true;
        if values.null_count() == 0 && opt_filter.is_none() {
            for (group, value) in group_indices.iter().zip(values.values()) {
                fits &= self.add(*group, *value);
            }
        } else {
            for (row, group) in group_indices.iter().enumerate() {
                let counted = opt_filter.is_none_or(|f| f.is_valid(row) && f.value(row));
                if counted && values.is_valid(row) {
                    fits &= self.add(*group, values.value(row));
                }
            }
        }
        if fits { Ok(()) } else { Err(out_of_range(&self.sum_type())) }
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = emit_to.take_needed(&mut self.sums);
        let counts = emit_to.take_needed(&mut self.counts);
        self.results(&sums, &counts)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = emit_to.take_needed(&mut self.sums);
        let counts = emit_to.take_needed(&mut self.counts);
        let mut columns = T::encode(&sums, self.scale)?;
        columns.push(Arc::new(Int64Array::from(counts)));
        Ok(columns)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.resize(total_num_groups);
        let mut fits = true;
        for (row, group) in group_indices.iter().enumerate() {
            let count = decode_count(values, row);
            if count > 0 {
                self.counts[*group] += count;
                fits &= T::merge(&mut self.sums[*group], T::decode(values, row));
            }
        }
        if fits { Ok(()) } else { Err(out_of_range(&self.sum_type())) }
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let rows = values[0].len();
        let each: Vec<usize> = (0..rows).collect();
        let mut one_per_row =
            SumGroups::<T> { sums: vec![], counts: vec![], output: self.output.clone(), ..*self };
        one_per_row.update_batch(values, &each, opt_filter, rows)?;
        one_per_row.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<T::Sum>() + self.counts.capacity() * size_of::<i64>()
    }
}
