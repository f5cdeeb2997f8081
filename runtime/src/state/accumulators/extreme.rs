//! `min` and `max` of append-only input: the best value so far is the state.
//!
//! Floats are ordered as PostgreSQL orders them, NaN above everything, with one
//! addition that makes the result independent of the order of rows: `-0.0`
//! comes before `0.0`. Text is ordered by its bytes, which for UTF-8 is by code
//! point.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, StringViewArray,
    StringViewBuilder,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, i256};
use tidemill_types::plan::{AggregateCall, AggregateFunction};

use super::{Accumulator, Rows, gather, primitive};
use crate::operators::OperatorError;

/// A total order.
pub(super) trait Ranked: Copy {
    fn less(self, other: Self) -> bool;
}

macro_rules! ranked_by_value {
    ($($t:ty),*) => {$(
        impl Ranked for $t {
            #[inline]
            fn less(self, other: Self) -> bool {
                self < other
            }
        }
    )*};
}

ranked_by_value!(i16, i32, i64, i128, i256);

impl Ranked for f32 {
    #[inline]
    fn less(self, other: Self) -> bool {
        f64::from(self).less(f64::from(other))
    }
}

impl Ranked for f64 {
    #[inline]
    fn less(self, other: Self) -> bool {
        match (self.is_nan(), other.is_nan()) {
            (false, false) => self.total_cmp(&other).is_lt(),
            (false, true) => true,
            (true, _) => false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Extreme<A: ArrowPrimitiveType> {
    max: bool,
    values: Vec<A::Native>,
    seen: Vec<bool>,
    data_type: DataType,
}

impl<A: ArrowPrimitiveType> Extreme<A>
where
    A::Native: Ranked,
{
    pub(super) fn new(call: &AggregateCall) -> Self {
        Extreme {
            max: call.function == AggregateFunction::Max,
            values: Vec::new(),
            seen: Vec::new(),
            data_type: call.input_type.clone(),
        }
    }

    fn take(&mut self, rows: Rows<'_>, column: &PrimitiveArray<A>) -> Result<(), OperatorError> {
        refuse_negative(&rows)?;
        // Decided once, not per row.
        if self.max {
            self.keep(rows, column, |new, old| old.less(new));
        } else {
            self.keep(rows, column, |new, old| new.less(old));
        }
        Ok(())
    }

    fn keep(
        &mut self,
        rows: Rows<'_>,
        column: &PrimitiveArray<A>,
        better: impl Fn(A::Native, A::Native) -> bool,
    ) {
        let news = column.values();
        let (values, seen) = (&mut self.values, &mut self.seen);
        rows.each(
            column.nulls(),
            |slot, row| {
                let new = news[row];
                if !seen[slot] || better(new, values[slot]) {
                    values[slot] = new;
                    seen[slot] = true;
                }
            },
            |_, _| {},
        );
    }

    fn column(&self, slots: &[u32]) -> ArrayRef {
        let values = gather(&self.values, slots);
        let array = PrimitiveArray::<A>::new(values.into(), seen_of(&self.seen, slots));
        Arc::new(array.with_data_type(self.data_type.clone()))
    }
}

/// NULL where nothing was seen; `None`: nowhere.
fn seen_of(seen: &[bool], slots: &[u32]) -> Option<NullBuffer> {
    let valid: BooleanBuffer = slots.iter().map(|s| seen[*s as usize]).collect();
    Some(NullBuffer::new(valid)).filter(|n| n.null_count() > 0)
}

fn refuse_negative(rows: &Rows<'_>) -> Result<(), OperatorError> {
    match rows.neg {
        Some(neg) if neg.count_set_bits() > 0 => Err(OperatorError::internal(
            "min and max of append-only input were given a row to take back",
        )),
        _ => Ok(()),
    }
}

impl<A> Accumulator for Extreme<A>
where
    A: ArrowPrimitiveType,
    A::Native: Ranked,
{
    fn resize(&mut self, slots: usize) {
        self.values.resize(slots, A::Native::default());
        self.seen.resize(slots, false);
    }

    fn update(&mut self, rows: Rows<'_>, argument: Option<&ArrayRef>) -> Result<(), OperatorError> {
        self.take(rows, primitive::<A>(argument)?)
    }

    fn merge(&mut self, slots: &[u32], states: &[ArrayRef]) -> Result<(), OperatorError> {
        self.take(Rows::all(slots), primitive::<A>(states.first())?)
    }

    fn state(&self, slots: &[u32], out: &mut Vec<ArrayRef>) {
        out.push(self.column(slots));
    }

    fn result(&self, slots: &[u32]) -> Result<ArrayRef, OperatorError> {
        Ok(self.column(slots))
    }

    fn clear(&mut self) {
        self.values.clear();
        self.seen.clear();
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<A::Native>() + self.seen.capacity()
    }
}

/// Values are copied into the group's own buffer, which is written over by a
/// better one; a view into the batch would keep the whole batch alive.
#[derive(Debug)]
pub(super) struct TextExtreme {
    max: bool,
    values: Vec<Option<String>>,
    /// Bytes of the buffers of `values`.
    heap: usize,
}

impl TextExtreme {
    pub(super) fn new(call: &AggregateCall) -> Self {
        let max = call.function == AggregateFunction::Max;
        TextExtreme { max, values: Vec::new(), heap: 0 }
    }

    fn take(&mut self, rows: Rows<'_>, column: Option<&ArrayRef>) -> Result<(), OperatorError> {
        refuse_negative(&rows)?;
        let column: &StringViewArray = column
            .and_then(|c| c.as_string_view_opt())
            .ok_or_else(|| OperatorError::internal("min and max of text without text"))?;
        let (max, values, heap) = (self.max, &mut self.values, &mut self.heap);
        rows.each(
            column.nulls(),
            |slot, row| {
                let new = column.value(row);
                match &mut values[slot] {
                    Some(old) => {
                        let better = if max { new > old.as_str() } else { new < old.as_str() };
                        if better {
                            let before = old.capacity();
                            old.clear();
                            old.push_str(new);
                            *heap += old.capacity() - before;
                        }
                    }
                    none => {
                        *heap += new.len();
                        *none = Some(new.to_owned());
                    }
                }
            },
            |_, _| {},
        );
        Ok(())
    }

    fn column(&self, slots: &[u32]) -> ArrayRef {
        let mut builder = StringViewBuilder::with_capacity(slots.len());
        for slot in slots {
            builder.append_option(self.values[*slot as usize].as_deref());
        }
        Arc::new(builder.finish())
    }
}

impl Accumulator for TextExtreme {
    fn resize(&mut self, slots: usize) {
        self.values.resize(slots, None);
    }

    fn update(&mut self, rows: Rows<'_>, argument: Option<&ArrayRef>) -> Result<(), OperatorError> {
        self.take(rows, argument)
    }

    fn merge(&mut self, slots: &[u32], states: &[ArrayRef]) -> Result<(), OperatorError> {
        self.take(Rows::all(slots), states.first())
    }

    fn state(&self, slots: &[u32], out: &mut Vec<ArrayRef>) {
        out.push(self.column(slots));
    }

    fn result(&self, slots: &[u32]) -> Result<ArrayRef, OperatorError> {
        Ok(self.column(slots))
    }

    fn clear(&mut self) {
        self.values.clear();
        self.heap = 0;
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<Option<String>>() + self.heap
    }
}
