//! From a connector's records to the batch that a source operator emits.
//!
//! Adds generated columns, evaluates the watermark expression, and appends the
//! hidden columns. The split's watermark before each row is a running maximum, so
//! it depends on the split's order alone, never on how the split was cut into
//! batches.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use tidemill_connectors::source::{Records, Rejected};
use tidemill_types::plan::SourceScan;
use tidemill_types::short_circuit::short_circuit;
use tidemill_types::{EventTime, hidden};

use super::watermark::Watermark;
use crate::operators::OperatorError;

/// Records ready to be emitted, and those that were refused.
#[derive(Debug)]
pub struct Decoded {
    pub rows: RecordBatch,
    pub rejected: Vec<Rejected>,
}

/// Evaluates what a [`SourceScan`] adds to the connector's columns.
#[derive(Debug)]
pub struct Decoder {
    /// Connector columns, then generated ones.
    with_computed: SchemaRef,
    computed: Vec<Arc<dyn PhysicalExpr>>,
    watermark: Option<Watermark>,
    row_id: bool,
    row_watermark: bool,
    output: SchemaRef,
}

impl Decoder {
    /// `output` is the schema of the plan's node.
    #[must_use]
    pub fn new(scan: &SourceScan, output: SchemaRef) -> Self {
        let mut fields = scan.columns.clone();
        fields.extend(scan.computed.iter().map(|(field, _)| field.clone()));
        let with_computed = Arc::new(Schema::new(fields));
        let watermark = scan.watermark.clone().map(|e| Watermark::new(e, &with_computed));
        Decoder {
            with_computed,
            computed: scan.computed.iter().map(|(_, e)| short_circuit(e)).collect(),
            watermark,
            row_id: scan.row_id,
            row_watermark: scan.row_watermark,
            output,
        }
    }

    /// `watermark` is the split's, before the first record; it is moved past the last.
    pub fn decode(
        &self,
        split: u32,
        records: Records,
        watermark: &mut EventTime,
    ) -> Result<Decoded, OperatorError> {
        let Records { mut rows, start, mut rejected, .. } = records;
        let mut ordinals = OrdinalRun { start, rejected: &rejected }.collect(rows.num_rows());
        if !self.computed.is_empty() {
            let (kept, refused) = self.compute(&rows, &mut ordinals)?;
            rows = kept;
            rejected.extend(refused);
            rejected.sort_by_key(|r| r.ordinal);
        }
        let count = rows.num_rows();
        let before = match &self.watermark {
            None => None,
            Some(w) if self.row_watermark => Some(w.before_each(&rows, watermark)?),
            Some(w) => {
                w.advance(&rows, watermark)?;
                None
            }
        };
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        if self.row_id {
            let ids = ordinals.iter(count).map(|o| hidden::row_id(split, o));
            columns.push(Arc::new(Int64Array::from_iter_values(ids)));
        }
        if self.row_watermark {
            let before = before.unwrap_or_else(|| vec![*watermark; count]);
            columns.push(Arc::new(Int64Array::from(before)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.output), columns, &options)?;
        Ok(Decoded { rows, rejected })
    }

    /// Appends the generated columns. Where an expression fails for the batch, it
    /// is tried row by row, and the rows that fail are refused alone.
    fn compute(
        &self,
        rows: &RecordBatch,
        ordinals: &mut Ordinals,
    ) -> Result<(RecordBatch, Vec<Rejected>), OperatorError> {
        if let Ok(batch) = self.compute_all(rows) {
            return Ok((batch, Vec::new()));
        }
        let mut refused = Vec::new();
        let mut keep = Vec::with_capacity(rows.num_rows());
        for i in 0..rows.num_rows() {
            match self.compute_all(&rows.slice(i, 1)) {
                Ok(_) => keep.push(true),
                Err(e) => {
                    keep.push(false);
                    refused.push(Rejected {
                        ordinal: ordinals.at(i),
                        reason: e.diagnostic().message,
                        raw: Vec::new(),
                    });
                }
            }
        }
        *ordinals = ordinals.keep(&keep);
        let kept = filter_record_batch(rows, &keep.into())?;
        Ok((self.compute_all(&kept)?, refused))
    }

    fn compute_all(&self, rows: &RecordBatch) -> Result<RecordBatch, OperatorError> {
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        for expression in &self.computed {
            columns.push(evaluate(expression, rows)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let schema = Arc::clone(&self.with_computed);
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }
}

pub(super) fn evaluate(
    expression: &Arc<dyn PhysicalExpr>,
    rows: &RecordBatch,
) -> Result<ArrayRef, OperatorError> {
    expression
        .evaluate(rows)
        .and_then(|value| value.into_array(rows.num_rows()))
        .map_err(|e| OperatorError::expression(&e))
}

/// The ordinals of decoded rows: consecutive, or listed where records between
/// them were refused.
enum Ordinals {
    From(u64),
    Listed(Vec<u64>),
}

struct OrdinalRun<'a> {
    start: u64,
    rejected: &'a [Rejected],
}

impl OrdinalRun<'_> {
    fn collect(&self, rows: usize) -> Ordinals {
        if self.rejected.is_empty() {
            return Ordinals::From(self.start);
        }
        let mut refused = self.rejected.iter().map(|r| r.ordinal).peekable();
        let mut next = self.start;
        let mut listed = Vec::with_capacity(rows);
        while listed.len() < rows {
            if refused.next_if_eq(&next).is_none() {
                listed.push(next);
            }
            next += 1;
        }
        Ordinals::Listed(listed)
    }
}

impl Ordinals {
    fn at(&self, row: usize) -> u64 {
        match self {
            Ordinals::From(start) => start + row as u64,
            Ordinals::Listed(all) => all[row],
        }
    }

    fn iter(&self, rows: usize) -> impl Iterator<Item = u64> + '_ {
        (0..rows).map(|i| self.at(i))
    }

    fn keep(&self, keep: &[bool]) -> Ordinals {
        let kept = keep.iter().enumerate().filter(|(_, k)| **k).map(|(i, _)| self.at(i));
        Ordinals::Listed(kept.collect())
    }
}

/// Cuts records before the one numbered `at`: what comes before, and the rest.
#[must_use]
pub fn split_records(records: Records, at: u64) -> (Records, Records) {
    let before = records.rejected.partition_point(|r| r.ordinal < at);
    let rows = (at - records.start) as usize - before;
    let mut rejected = records.rejected;
    let later = rejected.split_off(before);
    let remaining = records.rows.num_rows() - rows;
    (
        Records { rows: records.rows.slice(0, rows), start: records.start, end: at, rejected },
        Records {
            rows: records.rows.slice(rows, remaining),
            start: at,
            end: records.end,
            rejected: later,
        },
    )
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn records(start: u64, values: &[Option<i64>]) -> Records {
        // A `None` is a record that was rejected.
        let kept = Int64Array::from_iter_values(values.iter().flatten().copied());
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
        let rejected = values.iter().enumerate().filter(|(_, v)| v.is_none()).map(|(i, _)| {
            Rejected { ordinal: start + i as u64, reason: String::new(), raw: Vec::new() }
        });
        Records {
            rows: RecordBatch::try_new(schema, vec![Arc::new(kept)]).unwrap(),
            start,
            end: start + values.len() as u64,
            rejected: rejected.collect(),
        }
    }

    #[test]
    fn cutting_records_keeps_rejected_ones_on_their_side() {
        let values = [Some(10), None, Some(12), None, None, Some(15)];
        for at in 5..=11 {
            let (head, tail) = split_records(records(5, &values), at);
            assert_eq!((head.start, head.end, tail.start, tail.end), (5, at, at, 11));
            for part in [head, tail] {
                let total = part.rows.num_rows() + part.rejected.len();
                assert_eq!(total as u64, part.end - part.start);
                assert!(part.rejected.iter().all(|r| (part.start..part.end).contains(&r.ordinal)));
            }
        }
    }

    #[test]
    fn ordinals_skip_rejected_records() {
        let r = records(5, &[Some(10), None, Some(12), None, None, Some(15)]);
        let got = OrdinalRun { start: r.start, rejected: &r.rejected }.collect(3);
        assert_eq!(got.iter(3).collect::<Vec<_>>(), [5, 7, 10]);
    }
}
