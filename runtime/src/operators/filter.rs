//! Keeps the rows that a predicate is true for.
//!
//! On an upsert edge a row says "the row of this key is now this"; if it fails
//! the predicate, the earlier row of the key has to go, so the row turns into a
//! deletion instead of disappearing. (The key may never have been let through;
//! deletions of absent keys are allowed on upsert edges.)

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use datafusion::physical_expr::PhysicalExpr;
use tidemill_types::{ChangeBatch, Ops};

use super::{Barrier, Counters, Operator, OperatorError, Output, Step};

#[derive(Debug)]
pub(super) struct Filter {
    predicate: Arc<dyn PhysicalExpr>,
    upsert: bool,
    counters: Counters,
}

impl Filter {
    /// `upsert`: whether the edge carries upserts.
    pub(super) fn new(predicate: Arc<dyn PhysicalExpr>, upsert: bool) -> Self {
        Filter { predicate, upsert, counters: Counters::default() }
    }

    /// The predicate's value for each row; NULL is false.
    fn decide(&self, batch: &ChangeBatch) -> Result<BooleanBuffer, OperatorError> {
        let value = self
            .predicate
            .evaluate(&batch.rows)
            .and_then(|v| v.into_array(batch.num_rows()))
            .map_err(|e| OperatorError::expression(&e))?;
        if *value.data_type() != DataType::Boolean {
            let found = value.data_type();
            return Err(OperatorError::internal(format!("a predicate of type {found}")));
        }
        let value = value.as_boolean();
        Ok(match value.nulls() {
            None => value.values().clone(),
            Some(nulls) => value.values() & nulls.inner(),
        })
    }
}

impl Operator for Filter {
    fn push(
        &mut self,
        _port: usize,
        batch: ChangeBatch,
        out: &mut Output,
    ) -> Result<Step, OperatorError> {
        self.counters.rows_in += batch.num_rows() as u64;
        let keep = self.decide(&batch)?;
        let kept = keep.count_set_bits();
        let result = if kept == batch.num_rows() {
            batch
        } else if self.upsert {
            ChangeBatch { ops: delete_unkept(&batch.ops, &keep), ..batch }
        } else if kept == 0 {
            return Ok(Step::Done);
        } else {
            batch.filter(&BooleanArray::new(keep, None))?
        };
        self.counters.rows_out += result.num_rows() as u64;
        out.emit(result);
        Ok(Step::Done)
    }

    fn barrier(&mut self, _barrier: &Barrier, _out: &mut Output) -> Result<Step, OperatorError> {
        Ok(Step::Done)
    }

    fn resume(&mut self, _out: &mut Output) -> Result<Step, OperatorError> {
        Ok(Step::Done)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn state_bytes(&self) -> usize {
        0
    }
}

fn delete_unkept(ops: &Ops, keep: &BooleanBuffer) -> Ops {
    let failed = !keep;
    Ops::Signs {
        neg: match ops {
            Ops::Insert => failed,
            Ops::Signs { neg } => neg | &failed,
        },
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{Field, Int64Type, Schema};
    use datafusion::logical_expr::Operator as Op;
    use datafusion::physical_expr::expressions::{binary, col, lit};
    use tidemill_types::SqlState;

    use super::*;

    fn batch(values: Vec<Option<i64>>) -> ChangeBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, true)]));
        let rows = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values))]).unwrap();
        let hash = (0..rows.num_rows() as u64).collect();
        ChangeBatch { rows, ops: Ops::Insert, hash: Some(hash) }
    }

    fn more_than(limit: i64, b: &ChangeBatch) -> Arc<dyn PhysicalExpr> {
        let schema = b.rows.schema();
        binary(col("x", &schema).unwrap(), Op::Gt, lit(limit), &schema).unwrap()
    }

    fn run(filter: &mut Filter, b: ChangeBatch) -> Option<ChangeBatch> {
        let mut out = Output::default();
        assert_eq!(filter.push(0, b, &mut out).unwrap(), Step::Done);
        out.pop()
    }

    #[test]
    fn a_null_does_not_pass_and_hashes_follow_their_rows() {
        let b = batch(vec![Some(1), None, Some(5), Some(3), Some(9)]);
        let mut filter = Filter::new(more_than(2, &b), false);
        let got = run(&mut filter, b).unwrap();
        assert_eq!(got.rows.column(0).as_primitive::<Int64Type>().values(), &[5, 3, 9]);
        assert_eq!(got.hash.as_deref(), Some(&[2, 3, 4][..]));
        assert_eq!(got.ops, Ops::Insert);
        assert_eq!((filter.counters.rows_in, filter.counters.rows_out), (5, 3));
    }

    #[test]
    fn nothing_passes_nothing_is_emitted() {
        let b = batch(vec![Some(1), None]);
        assert!(run(&mut Filter::new(more_than(2, &b), false), b).is_none());
    }

    #[test]
    fn a_failing_upsert_becomes_a_deletion() {
        let b = batch(vec![Some(1), None, Some(5), Some(7)]);
        let before = BooleanBuffer::from(vec![false, false, false, true]);
        let b = ChangeBatch { ops: Ops::Signs { neg: before }, ..b };
        let got = run(&mut Filter::new(more_than(2, &b), true), b).unwrap();
        assert_eq!(got.num_rows(), 4);
        let neg = BooleanBuffer::from(vec![true, true, false, true]);
        assert_eq!(got.ops, Ops::Signs { neg });
    }

    #[test]
    fn a_division_by_zero_is_the_users() {
        let b = batch(vec![Some(0)]);
        let schema = b.rows.schema();
        let quotient = binary(lit(1i64), Op::Divide, col("x", &schema).unwrap(), &schema).unwrap();
        let predicate = binary(quotient, Op::Gt, lit(0i64), &schema).unwrap();
        let error = Filter::new(predicate, false).push(0, b, &mut Output::default()).unwrap_err();
        assert_eq!(error.diagnostic().state, SqlState::DIVISION_BY_ZERO);
        assert_eq!(error.diagnostic().message, "division by zero");
    }
}
