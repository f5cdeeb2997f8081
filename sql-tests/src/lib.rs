//! Black-box tests: the server as a process, seen over the PostgreSQL wire.
//!
//! Nothing here links the engine. [`server`] starts and stops the real binary,
//! [`driver`] speaks to it for sqllogictest, [`suite`] runs `.slt` files, each in
//! a schema of its own, several at a time on one server; [`disturb`] kills and
//! rescales underneath.
//!
//! Invariants: whatever a test starts it stops, also when it fails; expected
//! rows come from another engine or from hand calculation (`oracle/`), never
//! from the server under test.

pub mod disturb;
pub mod driver;
pub mod server;
pub mod suite;
