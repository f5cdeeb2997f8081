//! The end of a job that feeds a sink: rows are handed to the connector as they come
//! ([`Direct`]), or written to a log that is delivered after each checkpoint
//! ([`Logged`], [`crate::sink_log`]).

mod direct;
mod logged;

#[cfg(test)]
mod tests;

pub(super) use direct::Direct;
pub(super) use logged::Logged;
