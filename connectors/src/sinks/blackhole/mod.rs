//! The sink `blackhole`: takes changes and forgets them.
//!
//! For measuring a query without the cost of a destination. Rows are counted, so
//! that a test can tell that they arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::SchemaRef;
use tidemill_types::{ChangeBatch, Diagnostic, Epoch, OptionFact, Options};

use crate::error::ConnectorError;
use crate::options::Checked;
use crate::sink::{Sink, SinkWriter};

/// The connector's name.
pub const NAME: &str = "blackhole";
/// It has none.
pub const OPTIONS: &[OptionFact] = &[];

/// The options with defaults filled in.
pub fn check(options: &Options) -> Result<Options, Diagnostic> {
    let checked = Checked::new("connector \"blackhole\"", OPTIONS, options)?;
    Ok(checked.complete().clone())
}

/// Opens a sink.
pub fn open(options: &Options) -> Result<Arc<dyn Sink>, ConnectorError> {
    check(options).map_err(ConnectorError::Options)?;
    Ok(Arc::new(Blackhole::default()))
}

/// An opened sink.
#[derive(Debug, Default)]
pub struct Blackhole {
    rows: Arc<AtomicU64>,
}

impl Blackhole {
    /// Rows that all writers together have taken, retractions included.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }
}

impl Sink for Blackhole {
    fn writer(&self, _schema: SchemaRef) -> Result<Box<dyn SinkWriter>, ConnectorError> {
        Ok(Box::new(Writer { rows: self.rows.clone() }))
    }
}

struct Writer {
    rows: Arc<AtomicU64>,
}

impl SinkWriter for Writer {
    fn write(&mut self, batch: &ChangeBatch) -> Result<(), ConnectorError> {
        self.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn end_epoch(&mut self, _epoch: Epoch) -> Result<(), ConnectorError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};

    #[test]
    fn counts_what_it_forgets() {
        let sink = Blackhole::default();
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]));
        let values = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let batch =
            ChangeBatch::inserts(RecordBatch::try_new(schema.clone(), vec![values]).unwrap());
        for _ in 0..2 {
            let mut writer = sink.writer(schema.clone()).unwrap();
            writer.write(&batch).unwrap();
            writer.end_epoch(Epoch(1)).unwrap();
        }
        assert_eq!(sink.rows(), 6);
    }

    #[test]
    fn takes_no_options() {
        let options = Options::from([("path".to_string(), "x".to_string())]);
        let error = check(&options).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("It takes no options."));
    }
}
