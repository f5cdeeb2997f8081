//! Keyed state of operators: slot tables and the accumulators beside them.
//!
//! ```text
//!   batch of rows --KeyEncoder--> encoded keys --SlotTable--> slots
//!                                                               |
//!   argument columns ------------------------------------> accumulators[slot]
//! ```
//!
//! A **slot** is a dense number that a table gives to a key; everything that
//! is known about the key lies at that index of plain vectors. Each step works
//! on a whole batch, so that per row there is neither allocation nor dynamic
//! dispatch.
//!
//! Scratch space (encoded keys, hashes, slots) belongs to the operator and is
//! shared by its tables: an operator may have a table per slice of time, and
//! most of those are small.
//!
//! Deliberately absent: removal of single keys. Input is append-only, and state
//! that expires does so by whole tables.

pub mod accumulators;
pub mod group_table;
pub mod keys;
pub mod slot_table;
