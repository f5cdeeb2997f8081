//! The contract between a sink connector and the engine.

use arrow::datatypes::SchemaRef;
use tidemill_types::{ChangeBatch, Epoch};

use crate::error::ConnectorError;

/// An opened sink.
pub trait Sink: Send + Sync + std::fmt::Debug {
    /// A writer for one worker; `schema` has only the columns the user sees.
    fn writer(&self, schema: SchemaRef) -> Result<Box<dyn SinkWriter>, ConnectorError>;
}

/// Takes one worker's changes.
pub trait SinkWriter: Send {
    /// Takes the changes of the running epoch.
    fn write(&mut self, batch: &ChangeBatch) -> Result<(), ConnectorError>;
    /// Everything of epoch `epoch` on this worker has been written.
    fn end_epoch(&mut self, epoch: Epoch) -> Result<(), ConnectorError>;
}
