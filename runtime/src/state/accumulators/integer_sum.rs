//! Sums and averages of integers and numerics: exact.
//!
//! A sum is kept in a wider integer `W` than its input: `i64` for 32 bits,
//! `i128` for 64, `i256` for numeric. Only numerics of more than 38 digits can
//! leave it.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, Decimal128Array, Decimal256Array, Int64Array,
    PrimitiveArray,
};
use arrow::datatypes::{
    ArrowNativeType, DataType, Decimal128Type, Decimal256Type, Int64Type, i256,
};
use tidemill_types::plan::{AggregateCall, AggregateFunction};

use super::{Accumulator, Rows, gather, null_where_zero, out_of_range, primitive};
use crate::operators::OperatorError;

/// The integer that a sum is kept in.
pub(super) trait Wide: ArrowNativeType {
    /// The Arrow type of its state column.
    type Arrow: ArrowPrimitiveType<Native = Self>;
    const ZERO: Self;
    fn add(self, other: Self) -> (Self, bool);
    fn subtract(self, other: Self) -> (Self, bool);
    fn narrow(self) -> Option<i128>;
    fn widest(self) -> i256;
}

impl Wide for i64 {
    type Arrow = Int64Type;
    const ZERO: Self = 0;
    #[inline]
    fn add(self, other: Self) -> (Self, bool) {
        self.overflowing_add(other)
    }
    #[inline]
    fn subtract(self, other: Self) -> (Self, bool) {
        self.overflowing_sub(other)
    }
    fn narrow(self) -> Option<i128> {
        Some(i128::from(self))
    }
    fn widest(self) -> i256 {
        i256::from_i128(i128::from(self))
    }
}

impl Wide for i128 {
    type Arrow = Decimal128Type;
    const ZERO: Self = 0;
    #[inline]
    fn add(self, other: Self) -> (Self, bool) {
        self.overflowing_add(other)
    }
    #[inline]
    fn subtract(self, other: Self) -> (Self, bool) {
        self.overflowing_sub(other)
    }
    fn narrow(self) -> Option<i128> {
        Some(self)
    }
    fn widest(self) -> i256 {
        i256::from_i128(self)
    }
}

impl Wide for i256 {
    type Arrow = Decimal256Type;
    const ZERO: Self = i256::ZERO;
    #[inline]
    fn add(self, other: Self) -> (Self, bool) {
        self.overflowing_add(other)
    }
    #[inline]
    fn subtract(self, other: Self) -> (Self, bool) {
        self.overflowing_sub(other)
    }
    fn narrow(self) -> Option<i128> {
        i256::to_i128(self)
    }
    fn widest(self) -> i256 {
        self
    }
}

/// An input value as a `W`.
pub(super) trait Widen<W> {
    fn widen(self) -> W;
}

impl Widen<i64> for i16 {
    #[inline]
    fn widen(self) -> i64 {
        i64::from(self)
    }
}

impl Widen<i64> for i32 {
    #[inline]
    fn widen(self) -> i64 {
        i64::from(self)
    }
}

impl Widen<i128> for i64 {
    #[inline]
    fn widen(self) -> i128 {
        i128::from(self)
    }
}

impl Widen<i256> for i128 {
    #[inline]
    fn widen(self) -> i256 {
        i256::from_i128(self)
    }
}

impl Widen<i256> for i256 {
    #[inline]
    fn widen(self) -> i256 {
        self
    }
}

/// One group.
#[derive(Clone, Copy, Debug)]
struct Total<W> {
    sum: W,
    count: i64,
}

#[derive(Debug)]
pub(super) struct IntegerSum<W, A> {
    totals: Vec<Total<W>>,
    function: AggregateFunction,
    name: String,
    state_type: DataType,
    input_scale: i8,
    output_type: DataType,
    input: PhantomData<fn() -> A>,
}

impl<W: Wide, A> IntegerSum<W, A> {
    pub(super) fn new(call: &AggregateCall) -> Self {
        let input_scale = match &call.input_type {
            DataType::Decimal128(_, s) | DataType::Decimal256(_, s) => *s,
            _ => 0,
        };
        IntegerSum {
            totals: Vec::new(),
            function: call.function,
            name: call.output_name.clone(),
            state_type: call.state_fields(0)[0].data_type().clone(),
            input_scale,
            output_type: call.output_type.clone(),
            input: PhantomData,
        }
    }

    fn too_large(&self) -> OperatorError {
        out_of_range(&self.name, &self.output_type)
    }

    /// The result of a group with `count > 0`, unscaled in the output type.
    fn finish(&self, total: Total<W>) -> Option<i256> {
        match self.function {
            AggregateFunction::Avg => {
                let scale = match &self.output_type {
                    DataType::Decimal128(_, s) | DataType::Decimal256(_, s) => *s,
                    _ => 0,
                };
                let shift = u32::try_from(i32::from(scale) - i32::from(self.input_scale)).ok()?;
                average(total.sum, total.count, shift)
            }
            _ => Some(total.sum.widest()),
        }
    }
}

/// `sum * 10^shift / count`, rounded to the nearest, halves away from zero.
fn average<W: Wide>(sum: W, count: i64, shift: u32) -> Option<i256> {
    // Nearly always everything fits in 128 bits.
    let narrow = sum.narrow().and_then(|s| s.checked_mul(10i128.checked_pow(shift)?));
    if let Some(scaled) = narrow {
        let count = i128::from(count);
        let (quotient, rest) = (scaled / count, scaled % count);
        let away = if rest.unsigned_abs() * 2 >= count.unsigned_abs() { rest.signum() } else { 0 };
        return Some(i256::from_i128(quotient + away));
    }
    // Whole units and rest apart: the rest is below the count and has room.
    let power = i256::from_i128(10).checked_pow(shift)?;
    let (sum, count) = (sum.widest(), i256::from_i128(i128::from(count)));
    let units = sum.checked_div(count)?.checked_mul(power)?;
    let scaled = sum.checked_rem(count)?.checked_mul(power)?;
    let (quotient, rest) = (scaled.checked_div(count)?, scaled.checked_rem(count)?);
    let twice = rest.checked_abs()?.checked_add(rest.checked_abs()?)?;
    let away = if twice >= count { rest.signum() } else { i256::ZERO };
    units.checked_add(quotient)?.checked_add(away)
}

/// `10^digits`, what a number of so many digits stays below.
fn bound(digits: u8) -> i256 {
    i256::from_i128(10).wrapping_pow(u32::from(digits))
}

impl<W, A> Accumulator for IntegerSum<W, A>
where
    W: Wide,
    A: ArrowPrimitiveType,
    A::Native: Widen<W>,
{
    fn resize(&mut self, slots: usize) {
        self.totals.resize(slots, Total { sum: W::ZERO, count: 0 });
    }

    fn update(&mut self, rows: Rows<'_>, argument: Option<&ArrayRef>) -> Result<(), OperatorError> {
        let argument = primitive::<A>(argument)?;
        let values = argument.values();
        let overflow = std::cell::Cell::new(false);
        let totals = std::cell::Cell::from_mut(self.totals.as_mut_slice()).as_slice_of_cells();
        rows.each(
            argument.nulls(),
            |slot, row| {
                let total = totals[slot].get();
                let (sum, over) = total.sum.add(values[row].widen());
                overflow.set(overflow.get() | over);
                totals[slot].set(Total { sum, count: total.count + 1 });
            },
            |slot, row| {
                let total = totals[slot].get();
                let (sum, over) = total.sum.subtract(values[row].widen());
                overflow.set(overflow.get() | over);
                totals[slot].set(Total { sum, count: total.count - 1 });
            },
        );
        if overflow.get() { Err(self.too_large()) } else { Ok(()) }
    }

    fn merge(&mut self, slots: &[u32], states: &[ArrayRef]) -> Result<(), OperatorError> {
        let sums = primitive::<W::Arrow>(states.first())?;
        let counts = primitive::<Int64Type>(states.get(1))?;
        let mut overflow = false;
        for ((slot, sum), count) in slots.iter().zip(sums.values()).zip(counts.values()) {
            let total = &mut self.totals[*slot as usize];
            let (sum, over) = total.sum.add(*sum);
            overflow |= over;
            *total = Total { sum, count: total.count + count };
        }
        if overflow { Err(self.too_large()) } else { Ok(()) }
    }

    fn state(&self, slots: &[u32], out: &mut Vec<ArrayRef>) {
        let sums = PrimitiveArray::<W::Arrow>::from_iter_values(
            slots.iter().map(|s| self.totals[*s as usize].sum),
        );
        out.push(Arc::new(sums.with_data_type(self.state_type.clone())));
        let counts = slots.iter().map(|s| self.totals[*s as usize].count);
        out.push(Arc::new(Int64Array::from_iter_values(counts)));
    }

    fn result(&self, slots: &[u32]) -> Result<ArrayRef, OperatorError> {
        let totals = gather(&self.totals, slots);
        let counts: Vec<i64> = totals.iter().map(|t| t.count).collect();
        let everything: Vec<u32> = (0..slots.len() as u32).collect();
        let nulls = null_where_zero(&counts, &everything);
        match &self.output_type {
            DataType::Int64 => {
                let narrow = |v: i256| v.to_i128().and_then(|v| i64::try_from(v).ok());
                let values = self.results(&totals, 0, narrow)?;
                Ok(Arc::new(Int64Array::new(values.into(), nulls)))
            }
            DataType::Decimal128(digits, _) => {
                let limit = bound(*digits);
                let narrow = |v: i256| v.to_i128().filter(|_| within(v, limit));
                let values = self.results(&totals, 0, narrow)?;
                let array = Decimal128Array::new(values.into(), nulls);
                Ok(Arc::new(array.with_data_type(self.output_type.clone())))
            }
            DataType::Decimal256(digits, _) => {
                let limit = bound(*digits);
                let narrow = |v: i256| Some(v).filter(|v| within(*v, limit));
                let values = self.results(&totals, i256::ZERO, narrow)?;
                let array = Decimal256Array::new(values.into(), nulls);
                Ok(Arc::new(array.with_data_type(self.output_type.clone())))
            }
            other => Err(OperatorError::internal(format!("an exact sum of type {other}"))),
        }
    }

    fn clear(&mut self) {
        self.totals.clear();
    }

    fn bytes(&self) -> usize {
        self.totals.capacity() * size_of::<Total<W>>()
    }
}

fn within(value: i256, limit: i256) -> bool {
    value < limit && value > limit.wrapping_neg()
}

impl<W: Wide, A> IntegerSum<W, A> {
    /// Results narrowed to the output's integer, `zero` for groups without values.
    fn results<N: Copy>(
        &self,
        totals: &[Total<W>],
        zero: N,
        narrow: impl Fn(i256) -> Option<N>,
    ) -> Result<Vec<N>, OperatorError> {
        let one = |total: &Total<W>| {
            if total.count == 0 {
                return Ok(zero);
            }
            self.finish(*total).and_then(&narrow).ok_or_else(|| self.too_large())
        };
        totals.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_round_halves_away_from_zero() {
        let average = |sum: i128, count, shift| average(sum, count, shift).unwrap().as_i128();
        assert_eq!(average(1, 2, 0), 1);
        assert_eq!(average(-1, 2, 0), -1);
        assert_eq!(average(1, 3, 2), 33);
        assert_eq!(average(-2, 3, 2), -67);
        assert_eq!(average(7, 7, 10), 10_000_000_000);
    }

    #[test]
    fn the_wide_average_agrees_with_the_narrow_one() {
        // Larger than fits when scaled, so the other path is taken.
        for sum in [i128::MAX / 3, -i128::MAX / 3, i128::MAX - 1] {
            for count in [1i64, 2, 7, 1_000_003, i64::MAX] {
                let wide = average(sum, count, 10).unwrap();
                let back = wide.wrapping_mul(i256::from_i128(i128::from(count)));
                let exact = i256::from_i128(sum).wrapping_mul(i256::from_i128(10i128.pow(10)));
                let off = exact.wrapping_sub(back).wrapping_abs();
                assert!(off.wrapping_add(off) <= i256::from_i128(i128::from(count)));
            }
        }
    }
}
