//! The watermark expression of a source.
//!
//! Nearly always it is a column of timestamps minus a fixed interval. Evaluating
//! that as an expression takes calendars into account, row by row, and was measured
//! at half the time of a whole query; so this form is recognised and computed as
//! the subtraction of numbers that it is.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Int64Type, IntervalMonthDayNanoType, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::scalar::ScalarValue;
use tidemill_types::EventTime;

use super::decode::evaluate;
use crate::operators::OperatorError;

/// Microseconds of a day; time zones do not come into it, as times are in UTC.
const DAY: i64 = 86_400_000_000;

/// How a split's watermark follows from its rows.
#[derive(Debug)]
pub(super) enum Watermark {
    /// A column of timestamps plus this many microseconds.
    Shifted { column: usize, by: i64 },
    /// Microseconds.
    Expression(Arc<dyn PhysicalExpr>),
}

impl Watermark {
    /// `schema` is that of the rows that the expression is over.
    pub fn new(expression: Arc<dyn PhysicalExpr>, schema: &SchemaRef) -> Self {
        match shifted(&expression, schema) {
            Some((column, by)) => Watermark::Shifted { column, by },
            None => Watermark::Expression(expression),
        }
    }

    /// Moves a split's watermark past `rows`.
    pub fn advance(
        &self,
        rows: &RecordBatch,
        watermark: &mut EventTime,
    ) -> Result<(), OperatorError> {
        let (values, by) = self.values(rows)?;
        if let Some(highest) = arrow::compute::max(&values) {
            *watermark = (*watermark).max(highest.saturating_add(by));
        }
        Ok(())
    }

    /// As [`Self::advance`]; answers what the watermark was before each row.
    pub fn before_each(
        &self,
        rows: &RecordBatch,
        watermark: &mut EventTime,
    ) -> Result<Vec<EventTime>, OperatorError> {
        let (values, by) = self.values(rows)?;
        Ok(running_maximum(&values, by, watermark))
    }

    /// Values, and what is to be added to each.
    fn values(&self, rows: &RecordBatch) -> Result<(Int64Array, i64), OperatorError> {
        match self {
            Watermark::Shifted { column, by } => {
                let times = rows.column(*column).as_primitive_opt::<TimestampMicrosecondType>();
                let times = times.ok_or_else(|| {
                    OperatorError::internal("the watermark's column is not a timestamp")
                })?;
                Ok((times.reinterpret_cast::<Int64Type>(), *by))
            }
            Watermark::Expression(expression) => {
                let value = evaluate(expression, rows)?;
                let value = match value.data_type() {
                    DataType::Int64 => value,
                    _ => cast(&value, &DataType::Int64)?,
                };
                Ok((value.as_primitive::<Int64Type>().clone(), 0))
            }
        }
    }
}

/// The column and the microseconds of `column` or `column +- fixed interval`.
fn shifted(expression: &Arc<dyn PhysicalExpr>, schema: &SchemaRef) -> Option<(usize, i64)> {
    if let Some(column) = expression.downcast_ref::<Column>() {
        let field = schema.fields().get(column.index())?;
        let timestamp = matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _));
        return timestamp.then(|| (column.index(), 0));
    }
    let binary = expression.downcast_ref::<BinaryExpr>()?;
    let sign = match binary.op() {
        Operator::Minus => -1,
        Operator::Plus => 1,
        _ => return None,
    };
    let (column, by) = shifted(binary.left(), schema)?;
    let literal = binary.right().downcast_ref::<Literal>()?;
    let ScalarValue::IntervalMonthDayNano(Some(interval)) = literal.value() else { return None };
    let (months, days, nanoseconds) = IntervalMonthDayNanoType::to_parts(*interval);
    if months != 0 || nanoseconds % 1000 != 0 {
        return None;
    }
    let fixed = i64::from(days).checked_mul(DAY)?.checked_add(nanoseconds / 1000)?;
    Some((column, by.checked_add(fixed.checked_mul(sign)?)?))
}

/// The maximum before each row, starting from and moving `highest`. NULL counts
/// for nothing.
fn running_maximum(values: &Int64Array, by: i64, highest: &mut EventTime) -> Vec<EventTime> {
    let mut running = *highest;
    let before = if values.null_count() == 0 {
        let step = |v: &i64| {
            let before = running;
            running = running.max(v.saturating_add(by));
            before
        };
        values.values().iter().map(step).collect()
    } else {
        let step = |v: Option<i64>| {
            let before = running;
            running = running.max(v.map_or(i64::MIN, |v| v.saturating_add(by)));
            before
        };
        values.iter().map(step).collect()
    };
    *highest = running;
    before
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMicrosecondArray;
    use arrow::datatypes::{Field, Schema};
    use datafusion::physical_expr::expressions::{binary, col, lit};

    use super::*;

    fn rows(values: Vec<Option<i64>>) -> RecordBatch {
        let times = TimestampMicrosecondArray::from(values);
        let field = Field::new("ts", times.data_type().clone(), true);
        RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(times)]).unwrap()
    }

    fn minus(
        months: i32,
        days: i32,
        nanoseconds: i64,
        schema: &SchemaRef,
    ) -> Arc<dyn PhysicalExpr> {
        let interval = IntervalMonthDayNanoType::make_value(months, days, nanoseconds);
        let interval = lit(ScalarValue::IntervalMonthDayNano(Some(interval)));
        binary(col("ts", schema).unwrap(), Operator::Minus, interval, schema).unwrap()
    }

    #[test]
    fn a_fixed_shift_equals_the_expression() {
        let rows =
            rows(vec![Some(5_000_000), None, Some(-7), Some(9_000_000_000), Some(6_000_000)]);
        let schema = rows.schema();
        for (days, nanoseconds) in [(0, 4_000_000_000), (1, 0), (-2, 1_000), (3, -5_000)] {
            let expression = minus(0, days, nanoseconds, &schema);
            let fast = Watermark::new(Arc::clone(&expression), &schema);
            assert!(matches!(fast, Watermark::Shifted { .. }));
            let slow = Watermark::Expression(expression);
            let (mut a, mut b) = (i64::MIN, i64::MIN);
            assert_eq!(
                fast.before_each(&rows, &mut a).unwrap(),
                slow.before_each(&rows, &mut b).unwrap()
            );
            let (mut c, mut d) = (i64::MIN, i64::MIN);
            fast.advance(&rows, &mut c).unwrap();
            slow.advance(&rows, &mut d).unwrap();
            assert!(a == b && b == c && c == d, "{days} days, {nanoseconds} ns");
        }
    }

    #[test]
    fn what_needs_a_calendar_is_left_to_it() {
        let schema = rows(vec![]).schema();
        for (months, nanoseconds) in [(1, 0), (0, 500)] {
            let watermark = Watermark::new(minus(months, 0, nanoseconds, &schema), &schema);
            assert!(matches!(watermark, Watermark::Expression(_)));
        }
    }

    #[test]
    fn the_running_maximum_is_taken_before_the_row() {
        let mut highest = 10;
        let values = Int64Array::from(vec![Some(5), Some(20), None, Some(15), Some(30)]);
        assert_eq!(running_maximum(&values, 0, &mut highest), [10, 10, 20, 20, 20]);
        assert_eq!(highest, 30);
    }
}
