//! Dense sequences of records: how anything is committed.
//!
//! A sequence is a folder of objects, numbered from 1 without gaps. Its end is its
//! state: something is committed when the record that says so exists. One writer owns
//! a sequence; a new owner takes over by appending a *term* record, which fences the
//! one before it. Nothing but create-only puts is needed.
//!
//! ```text
//!  <name>/records/…0001  term 1, by writer a
//!  <name>/records/…0002  data, term 1
//!  <name>/records/…0003  term 2, by writer b        a's next record would be 3: fenced
//!  <name>/records/…0004  data, term 2
//!  <name>/snapshot/…0004 the fold of 1..=4: data records up to the snapshot before
//!                        this one are removed, term records never
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`frame`] | one record as bytes |
//! | [`decide`] | the protocol, as a pure function, and why it is safe |
//! | [`sequence`] | the protocol carried out on a [`Store`](crate::store::Store) |
//! | [`fold`] | snapshots, and which records go |
//! | [`epochs`] | epoch numbers that are never used again |
//!
//! Deliberately absent: leases and elections. They decide who should own a sequence
//! and when it is worth trying; that two owners do no harm is decided here.

pub mod decide;
pub mod epochs;
pub mod fold;
pub mod frame;
pub mod sequence;

mod error;
mod read;

#[cfg(test)]
mod decide_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use epochs::{EpochBlocks, EpochError};
pub use error::{AppendError, SequenceError};
pub use frame::{FrameError, FrameFault, PAYLOAD_MAX};
pub use read::{Loaded, Record, SequenceSnapshot};
pub use sequence::{RecordSequence, WriterId};
