//! Computes the output columns, one expression each. Change markers and hashes
//! stay with their rows.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use tidemill_types::ChangeBatch;

use super::{Barrier, Counters, Operator, OperatorError, Output, Step};

#[derive(Debug)]
pub(super) struct Project {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    counters: Counters,
}

impl Project {
    /// `schema` names and types the results of `expressions`, one each.
    pub(super) fn new(
        expressions: Vec<Arc<dyn PhysicalExpr>>,
        schema: SchemaRef,
    ) -> Result<Self, OperatorError> {
        if expressions.len() != schema.fields().len() {
            return Err(OperatorError::internal(format!(
                "{} expressions for {} columns",
                expressions.len(),
                schema.fields().len()
            )));
        }
        Ok(Project { expressions, schema, counters: Counters::default() })
    }

    fn evaluate(&self, rows: &RecordBatch) -> Result<RecordBatch, OperatorError> {
        let count = rows.num_rows();
        let mut columns = Vec::with_capacity(self.expressions.len());
        for expression in &self.expressions {
            let column = expression
                .evaluate(rows)
                .and_then(|v| v.into_array(count))
                .map_err(|e| OperatorError::expression(&e))?;
            columns.push(column);
        }
        // A projection of no columns still has rows to count.
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

impl Operator for Project {
    fn push(
        &mut self,
        _port: usize,
        batch: ChangeBatch,
        out: &mut Output,
    ) -> Result<Step, OperatorError> {
        let rows = self.evaluate(&batch.rows)?;
        self.counters.rows_in += rows.num_rows() as u64;
        self.counters.rows_out += rows.num_rows() as u64;
        out.emit(ChangeBatch { rows, ops: batch.ops, hash: batch.hash });
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

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::buffer::BooleanBuffer;
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::logical_expr::Operator as Op;
    use datafusion::physical_expr::expressions::{binary, col, lit};
    use tidemill_types::Ops;

    use super::*;

    fn input() -> ChangeBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, true)]));
        let x = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        let neg = BooleanBuffer::from(vec![false, true, false]);
        ChangeBatch {
            rows: RecordBatch::try_new(schema, vec![x]).unwrap(),
            ops: Ops::Signs { neg },
            hash: Some([7, 8, 9].into()),
        }
    }

    fn run(expressions: Vec<Arc<dyn PhysicalExpr>>, fields: Vec<Field>) -> ChangeBatch {
        let mut project = Project::new(expressions, Arc::new(Schema::new(fields))).unwrap();
        let mut out = Output::default();
        assert_eq!(project.push(0, input(), &mut out).unwrap(), Step::Done);
        out.pop().unwrap()
    }

    #[test]
    fn columns_are_computed_and_markers_kept() {
        let schema = input().rows.schema();
        let twice = binary(col("x", &schema).unwrap(), Op::Multiply, lit(2i64), &schema).unwrap();
        let fields = vec![
            Field::new("twice", DataType::Int64, true),
            Field::new("one", DataType::Int64, false),
        ];
        let got = run(vec![twice, lit(1i64)], fields);
        let twice = got.rows.column(0).as_primitive::<Int64Type>();
        assert_eq!(twice.iter().collect::<Vec<_>>(), [Some(2), None, Some(6)]);
        assert_eq!(got.rows.column(1).as_primitive::<Int64Type>().values(), &[1, 1, 1]);
        assert_eq!((got.ops, got.hash), (input().ops, input().hash));
    }

    #[test]
    fn no_columns_still_count_rows() {
        assert_eq!(run(vec![], vec![]).num_rows(), 3);
    }
}
