//! The contracts between sink connectors and the engine.
//!
//! A sink is one of two kinds. A [`Sink`] takes rows as they come and forgets or shows
//! them. A [`LoggedSink`] is **delivered to**: its rows are first in a durable log, cut
//! into parts, and each part is handed over whole after the checkpoint that holds it is
//! committed; again after a crash, under the same name, until the engine knows that it
//! is there. So every row arrives exactly once, if a name that is there already counts
//! as delivered.

use arrow::datatypes::SchemaRef;
use tidemill_types::plan::ChangelogKind;
use tidemill_types::{ChangeBatch, Epoch};

use crate::error::ConnectorError;

/// An opened sink without a log.
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

/// What the rows of a logged sink are like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowShape {
    /// The columns that the user sees.
    pub columns: SchemaRef,
    /// What the rows do: where they are not all insertions, each is delivered with its
    /// change ([`tidemill_types::CHANGE_COLUMN`]).
    pub changelog: ChangelogKind,
}

impl RowShape {
    /// What a row does, as it is delivered; `None`: rows are only ever added.
    #[must_use]
    pub fn change_name(&self, taken_back: bool) -> Option<&'static str> {
        match (self.changelog, taken_back) {
            (ChangelogKind::AppendOnly, _) => None,
            (_, true) => Some("delete"),
            (ChangelogKind::Retract, false) => Some("insert"),
            (ChangelogKind::Upsert, false) => Some("upsert"),
        }
    }
}

/// What a part is called: the same whenever it is delivered, and no other part's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PartName {
    pub incarnation: u64,
    pub lane: u32,
    /// Of the checkpoint that holds its rows.
    pub epoch: Epoch,
    /// Who put the rows into the log: the first vnode of the lane that it had.
    pub writer: u16,
    /// Counted from 0 for each of the above.
    pub number: u64,
}

/// A sink that is delivered to from a log.
///
/// # Contract
/// * A part appears as a whole under its name, or not at all.
/// * What has been published before [`LoggedSink::sync`] returns survives a power
///   failure; only then does the engine forget the rows.
/// * Calls may block; they come from one thread, never from a worker's.
pub trait LoggedSink: Send + Sync + std::fmt::Debug {
    /// Whether rows of this shape can be delivered, now and later; called when the
    /// sink is created, and before the first part.
    fn check(&self, shape: &RowShape) -> Result<(), ConnectorError>;

    /// A new incarnation begins: makes what must be there, and refuses a place where
    /// something was delivered under its name already.
    fn begin(&self, incarnation: u64) -> Result<(), ConnectorError>;

    /// Starts a part; `None`: it has been delivered before.
    fn part(
        &self,
        name: &PartName,
        shape: &RowShape,
    ) -> Result<Option<Box<dyn PartWriter>>, ConnectorError>;

    /// Makes all published parts durable.
    fn sync(&self) -> Result<(), ConnectorError>;
}

/// A part being made. Dropped before it is published, it leaves nothing behind.
pub trait PartWriter {
    /// Appends rows.
    fn write(&mut self, batch: &ChangeBatch) -> Result<(), ConnectorError>;
    /// Makes the part appear.
    fn publish(self: Box<Self>) -> Result<(), ConnectorError>;
}
