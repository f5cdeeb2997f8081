//! Hands rows to a sink connector, only the columns that the user sees.
//!
//! Rows are written as they come and the epoch is ended at its barrier; what the
//! connector makes durable, and when, is its own affair.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidemill_connectors::error::ConnectorError;
use tidemill_connectors::sink::SinkWriter;
use tidemill_types::ChangeBatch;
use tidemill_types::plan;

use crate::operators::{Barrier, BuildContext, Counters, Operator, OperatorError, Output, Step};

pub(in crate::operators) struct Direct {
    name: String,
    columns: Vec<usize>,
    writer: Box<dyn SinkWriter>,
    counters: Counters,
}

impl Direct {
    pub fn new(
        spec: &plan::Sink,
        input: &SchemaRef,
        cx: &BuildContext<'_>,
    ) -> Result<Self, OperatorError> {
        let schema = Arc::new(input.project(&spec.columns)?);
        let writer = (cx.sinks)(spec, schema)
            .map_err(|error| OperatorError::Sink { sink: spec.name.clone(), error })?;
        Ok(Direct {
            name: spec.name.clone(),
            columns: spec.columns.clone(),
            writer,
            counters: Counters::default(),
        })
    }

    fn failed(&self, error: ConnectorError) -> OperatorError {
        OperatorError::Sink { sink: self.name.clone(), error }
    }
}

impl Operator for Direct {
    fn push(
        &mut self,
        _port: usize,
        batch: ChangeBatch,
        _out: &mut Output,
    ) -> Result<Step, OperatorError> {
        let rows = batch.rows.project(&self.columns)?;
        let visible = ChangeBatch { rows, ops: batch.ops, hash: batch.hash };
        self.writer.write(&visible).map_err(|e| self.failed(e))?;
        self.counters.rows_in += visible.num_rows() as u64;
        self.counters.rows_out += visible.num_rows() as u64;
        Ok(Step::Done)
    }

    fn barrier(&mut self, barrier: &Barrier, _out: &mut Output) -> Result<Step, OperatorError> {
        self.writer.end_epoch(barrier.epoch).map_err(|e| self.failed(e))?;
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
