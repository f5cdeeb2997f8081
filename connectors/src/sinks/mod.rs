//! Sinks, one folder each: its options and its writer.

pub mod blackhole;
pub mod file;
