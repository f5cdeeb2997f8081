//! Sources, sinks and formats: bytes to Arrow and back.
//!
//! `sources/<name>`, `sinks/<name>` and `formats/<name>` have one shape each; an
//! option is declared once, beside the connector that reads it. Connectors know
//! nothing of epochs' meaning, watermarks or state: they deliver numbered records
//! ([`source`]) and take changes ([`sink`]).
//!
//! [`registry::Connectors`] is the door: it knows the connectors by name, and the
//! rest of the server asks it alone.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod columns;
pub mod error;
pub mod formats;
pub mod options;
pub mod registry;
pub mod sink;
pub mod sinks;
pub mod source;
pub mod sources;

pub use error::ConnectorError;
pub use registry::{ConnectorConfig, Connectors};
