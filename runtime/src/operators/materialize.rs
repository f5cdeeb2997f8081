//! Puts rows into a view: one writer for this worker's part of it.
//!
//! Rows are handed to the writer as they come; nobody sees them before the
//! barrier seals the epoch.

use tidemill_storage::views::{ViewError, ViewWriter};
use tidemill_types::ChangeBatch;

use super::{Barrier, Counters, Operator, OperatorError, Output, Step};

#[derive(Debug)]
pub(super) struct Materialize {
    writer: ViewWriter,
    counters: Counters,
}

impl Materialize {
    pub(super) fn new(writer: ViewWriter) -> Self {
        Materialize { writer, counters: Counters::default() }
    }
}

impl Operator for Materialize {
    fn push(
        &mut self,
        _port: usize,
        batch: ChangeBatch,
        _out: &mut Output,
    ) -> Result<Step, OperatorError> {
        self.writer.apply(&batch).map_err(|e| failed(&e))?;
        self.counters.rows_in += batch.num_rows() as u64;
        self.counters.rows_out += batch.num_rows() as u64;
        Ok(Step::Done)
    }

    fn barrier(&mut self, barrier: &Barrier, _out: &mut Output) -> Result<Step, OperatorError> {
        self.writer.seal(barrier.epoch).map_err(|e| failed(&e))?;
        Ok(Step::Done)
    }

    fn resume(&mut self, _out: &mut Output) -> Result<Step, OperatorError> {
        Ok(Step::Done)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    /// The view's contents are the storage's to account for.
    fn state_bytes(&self) -> usize {
        0
    }
}

fn failed(error: &ViewError) -> OperatorError {
    OperatorError::View(error.diagnostic())
}
