//! The contract between a source connector and the engine.
//!
//! A source is a fixed list of **splits**; each is an ordered sequence of records
//! numbered from 0 (the **ordinal**). Reading a split twice from the same ordinal
//! gives the same records, so a row's identity is (split, ordinal) and recovery
//! is reading again.
//!
//! # Contract of [`SplitReader`]
//! * `read` never blocks on the outside: with nothing to give it says
//!   [`Read::Pending`].
//! * Ordinals rise without gaps over decoded and rejected records together:
//!   `read.start` is the previous `read.end` (checked by the engine).
//! * What a call returns depends on the position and the contents only, never on
//!   `max_records` of earlier calls.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use tidemill_types::EventTime;

use crate::error::ConnectorError;

/// What to read: columns in order, under the user's names and types.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// The columns to deliver, as the user named and typed them.
    pub columns: Vec<Field>,
    /// The connector's own name for each of `columns`.
    pub physical_names: Vec<String>,
    /// All columns that the source declares, in order, for formats where a
    /// record is decoded by position.
    pub declared: Vec<Field>,
}

/// A split as a source lists it; its number is its place in the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Split {
    /// For `tm_catalog.splits` and messages: a path, a partition's name.
    pub name: String,
}

/// An opened source.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// The splits, in an order that does not change while the source exists.
    /// May touch the outside (list files).
    fn splits(&self) -> Result<Vec<Split>, ConnectorError>;

    /// Opens split number `split` before record `ordinal`.
    fn open(
        &self,
        split: usize,
        ordinal: u64,
        request: &Arc<ReadRequest>,
    ) -> Result<Box<dyn SplitReader>, ConnectorError>;
}

/// Reads one split from a position onwards.
pub trait SplitReader: Send {
    /// The next records, at most `max_records` (at least 1). `now` is the
    /// engine's clock in microseconds since the Unix epoch, for throttling.
    fn read(&mut self, max_records: usize, now: EventTime) -> Result<Read, ConnectorError>;

    /// Records before `ordinal` have been delivered already, by another reader of
    /// this split: a source that holds records back by the clock gives them at
    /// once, so that a reader that starts late can catch up.
    fn released_before(&mut self, _ordinal: u64) {}
}

/// What [`SplitReader::read`] has.
#[derive(Debug)]
pub enum Read {
    Records(Records),
    /// Nothing now. `ready_at`: when to ask again at the earliest, on the clock of
    /// `now`; `None`: at the next tick.
    Pending {
        ready_at: Option<EventTime>,
    },
    /// Nothing ever again: the split has ended.
    End,
}

/// Consecutive records `start .. end` of a split.
#[derive(Debug)]
pub struct Records {
    /// The decoded ones, in order, with the requested columns.
    pub rows: RecordBatch,
    pub start: u64,
    pub end: u64,
    /// The ones that could not be decoded, by ascending ordinal;
    /// `rows.num_rows() + rejected.len() == end - start`.
    pub rejected: Vec<Rejected>,
}

/// A record that could not be decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    pub ordinal: u64,
    /// For a person: `line 17: column dep_delay: cannot read "abc" as bigint`.
    pub reason: String,
    /// The record as it was, cut to at most 4 KiB.
    pub raw: Vec<u8>,
}
