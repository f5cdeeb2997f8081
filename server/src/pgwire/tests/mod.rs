//! Tests of the wire: bytes against real sockets, and encodings against what
//! PostgreSQL 15 wrote for the same values.

pub mod client;
mod drivers;
mod encoding;
mod extended;
mod handshake;
mod interruption;
pub mod scripted;
mod simple;
