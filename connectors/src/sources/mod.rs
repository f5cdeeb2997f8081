//! Sources, one folder each: its options, what it offers, and its reader.

pub mod file;
pub mod nexmark;
