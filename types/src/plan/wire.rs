//! The plan as protobuf messages.
//!
//! A plan is deployed by [`encode`] on the side that planned it and [`decode`] on
//! every worker, so that workers share nothing in memory and one process or many
//! makes no difference. The structure is our own; scalar expressions and types
//! inside it are DataFusion's protobuf, which is only promised to be readable by
//! the same build. The bytes therefore travel between processes of one build and
//! are never stored.
//!
//! Invariants: `decode(encode(g))` is `g`, functions being found again by name
//! in the decoder's registry; bytes from anywhere else are an error, never a
//! panic; every node of a decoded graph has inputs that stand before it.

mod decode;
mod encode;
mod messages;

use datafusion::error::DataFusionError;

pub use decode::decode;
pub use encode::encode;

/// The version of the messages. A decoder refuses any other.
pub const FORMAT_VERSION: u32 = 1;

/// Why a plan could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The bytes are not a protobuf message of this kind.
    #[error("the plan's bytes cannot be read: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// Written by another version.
    #[error("the plan has format version {found}, this build reads {FORMAT_VERSION}")]
    Version { found: u32 },
    /// A part that must be there is not, or has an impossible value.
    #[error("the plan is inconsistent: {0}")]
    Invalid(&'static str),
    /// An expression or type that has no wire form, or a function that the
    /// decoder does not know.
    #[error("the plan's expressions cannot be carried: {0}")]
    Expression(#[from] DataFusionError),
}

#[cfg(test)]
mod tests;
