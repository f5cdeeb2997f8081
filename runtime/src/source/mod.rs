//! Reading sources inside a worker.
//!
//! `leaf` drives the split readers of one instance and turns records into change
//! batches and barriers; `boundaries` keeps the jobs that share a source in step.

pub mod boundaries;
pub mod decode;
pub mod leaf;
mod watermark;

pub use boundaries::Boundaries;
pub use leaf::{SourceLeaf, SplitProgress};
