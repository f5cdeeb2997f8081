//! The nouns of Tidemill.
//!
//! Everything that two other crates must agree on lives here: how a change is
//! represented ([`ChangeBatch`]), what time is ([`Epoch`], [`EventTime`]), which
//! worker owns a key ([`vnode`]), what a window is ([`WindowSpec`]), what the
//! planner hands to the runtime ([`plan`]) and what a user is told when
//! something is wrong ([`Diagnostic`]).
//!
//! Invariants: no I/O, no threads, no clock, no tokio. A value of this crate
//! means the same on every worker and, where it is written down (hashes, vnodes,
//! wire messages), in every later version.

pub mod batch;
pub mod connector;
pub mod diagnostic;
pub mod hidden;
pub mod ids;
pub mod names;
pub mod plan;
pub mod short_circuit;
pub mod text;
pub mod time;
pub mod vnode;
pub mod window;

pub use batch::{CHANGE_COLUMN, ChangeBatch, Ops};
pub use connector::{
    ColumnFact, ConnectorFacts, ConnectorKind, OnError, OptionFact, OptionKind, Options,
    SourceShape, WatermarkFact,
};
pub use diagnostic::{Diagnostic, SqlState};
pub use ids::{ExchangeId, FragmentId, GroupId, JobId, ObjectId, OperatorId, TableId, WorkerIndex};
pub use time::{Epoch, EventTime, WATERMARK_END, WATERMARK_NONE};
pub use vnode::{VNODE_COUNT, VnodeMap};
pub use window::WindowSpec;
