//! The protobuf messages of a plan: what is on the wire and nothing else.
//!
//! Written by hand with prost's derive macros, so that a build needs no `protoc`.
//! Only [`super`] sees these types. Tags are never reused: a field that goes
//! away leaves a gap. `bytes` fields named `*_expression`, `schema`, `*_type` and
//! `*_field` hold DataFusion's own protobuf of an expression or type, which is
//! only readable by the same build; see [`super::FORMAT_VERSION`].

use std::collections::BTreeMap;

use prost::{Enumeration, Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub struct Graph {
    #[prost(uint32, tag = "1")]
    pub format_version: u32,
    #[prost(message, repeated, tag = "2")]
    pub fragments: Vec<Fragment>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Fragment {
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(message, repeated, tag = "2")]
    pub nodes: Vec<Node>,
    /// Absent: the root is a materialize or a sink.
    #[prost(message, optional, tag = "3")]
    pub exchange: Option<ExchangeOutput>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ExchangeOutput {
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(uint64, repeated, tag = "2")]
    pub keys: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Node {
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(uint64, repeated, tag = "2")]
    pub inputs: Vec<u64>,
    #[prost(bytes = "vec", tag = "3")]
    pub schema: Vec<u8>,
    #[prost(message, optional, tag = "4")]
    pub properties: Option<Properties>,
    #[prost(oneof = "Operator", tags = "10, 11, 12, 13, 14, 15, 16, 17, 18, 19")]
    pub operator: Option<Operator>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Operator {
    #[prost(message, tag = "10")]
    Source(SourceScan),
    #[prost(message, tag = "11")]
    ExchangeInput(ExchangeInput),
    #[prost(message, tag = "12")]
    Filter(Filter),
    #[prost(message, tag = "13")]
    Project(Project),
    #[prost(message, tag = "14")]
    AssignSlices(Assign),
    #[prost(message, tag = "15")]
    AssignWindows(Assign),
    #[prost(message, tag = "16")]
    LocalAggregate(Aggregate),
    #[prost(message, tag = "17")]
    GlobalAggregate(Aggregate),
    #[prost(message, tag = "18")]
    Materialize(Materialize),
    #[prost(message, tag = "19")]
    Sink(Sink),
}

#[derive(Clone, PartialEq, Message)]
pub struct ExchangeInput {
    #[prost(uint32, tag = "1")]
    pub exchange: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Filter {
    #[prost(bytes = "vec", tag = "1")]
    pub predicate_expression: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Project {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub expressions: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SourceScan {
    #[prost(uint32, tag = "1")]
    pub source: u32,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub connector: String,
    #[prost(btree_map = "string, string", tag = "4")]
    pub options: BTreeMap<String, String>,
    #[prost(bytes = "vec", tag = "5")]
    pub columns_schema: Vec<u8>,
    #[prost(string, repeated, tag = "6")]
    pub physical_names: Vec<String>,
    #[prost(bytes = "vec", tag = "7")]
    pub declared_schema: Vec<u8>,
    #[prost(bytes = "vec", tag = "8")]
    pub computed_schema: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub computed_expressions: Vec<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "10")]
    pub watermark_expression: Option<Vec<u8>>,
    #[prost(bool, tag = "11")]
    pub row_id: bool,
    #[prost(bool, tag = "12")]
    pub row_watermark: bool,
    #[prost(uint64, tag = "13")]
    pub watermark_slot: u64,
    #[prost(enumeration = "OnError", tag = "14")]
    pub on_error: i32,
    #[prost(bool, tag = "15")]
    pub bounded: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct Window {
    #[prost(sint64, tag = "1")]
    pub size: i64,
    #[prost(sint64, tag = "2")]
    pub slide: i64,
    #[prost(sint64, tag = "3")]
    pub offset: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Assign {
    #[prost(message, optional, tag = "1")]
    pub window: Option<Window>,
    #[prost(uint64, tag = "2")]
    pub time_column: u64,
    #[prost(uint64, optional, tag = "3")]
    pub watermark_column: Option<u64>,
    #[prost(sint64, tag = "4")]
    pub allowed_lateness: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Aggregate {
    #[prost(uint64, repeated, tag = "1")]
    pub group: Vec<u64>,
    #[prost(message, optional, tag = "2")]
    pub window: Option<AggregateWindow>,
    #[prost(message, repeated, tag = "3")]
    pub calls: Vec<AggregateCall>,
    #[prost(enumeration = "EmitMode", tag = "4")]
    pub emit: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct AggregateWindow {
    #[prost(message, optional, tag = "1")]
    pub spec: Option<Window>,
    #[prost(uint64, tag = "2")]
    pub slice_end_column: u64,
    #[prost(uint64, tag = "3")]
    pub first_window_end_column: u64,
    #[prost(bytes = "vec", tag = "4")]
    pub time_type: Vec<u8>,
    #[prost(uint64, tag = "5")]
    pub watermark_slot: u64,
    #[prost(sint64, tag = "6")]
    pub allowed_lateness: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct AggregateCall {
    #[prost(enumeration = "AggregateFunction", tag = "1")]
    pub function: i32,
    #[prost(uint64, optional, tag = "2")]
    pub argument: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub filter: Option<u64>,
    #[prost(bytes = "vec", tag = "4")]
    pub input_type: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub output_type: Vec<u8>,
    #[prost(string, tag = "6")]
    pub output_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Materialize {
    #[prost(uint32, tag = "1")]
    pub view: u32,
    #[prost(uint64, repeated, tag = "2")]
    pub key: Vec<u64>,
    #[prost(bool, tag = "3")]
    pub append_only: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct Sink {
    #[prost(uint32, tag = "1")]
    pub sink: u32,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub connector: String,
    #[prost(btree_map = "string, string", tag = "4")]
    pub options: BTreeMap<String, String>,
    #[prost(uint64, repeated, tag = "5")]
    pub columns: Vec<u64>,
    #[prost(uint64, repeated, tag = "6")]
    pub key: Vec<u64>,
    /// Absent: the sink has no log.
    #[prost(message, optional, tag = "7")]
    pub log: Option<SinkLog>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SinkLog {
    #[prost(uint32, tag = "1")]
    pub lanes: u32,
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    #[prost(uint64, tag = "3")]
    pub rolling_rows: u64,
    #[prost(uint64, tag = "4")]
    pub rolling_bytes: u64,
    #[prost(uint64, tag = "5")]
    pub memory_bytes: u64,
    #[prost(uint64, tag = "6")]
    pub max_bytes: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Properties {
    #[prost(enumeration = "ChangelogKind", tag = "1")]
    pub changelog: i32,
    #[prost(uint64, repeated, tag = "2")]
    pub stream_key: Vec<u64>,
    #[prost(message, repeated, tag = "3")]
    pub watermarks: Vec<WatermarkColumn>,
    #[prost(enumeration = "Distribution", tag = "4")]
    pub distribution: i32,
    #[prost(uint64, repeated, tag = "5")]
    pub distribution_keys: Vec<u64>,
    #[prost(uint64, optional, tag = "6")]
    pub row_watermark: Option<u64>,
    #[prost(enumeration = "StateKind", tag = "7")]
    pub state: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct WatermarkColumn {
    #[prost(uint64, tag = "1")]
    pub column: u64,
    #[prost(uint64, tag = "2")]
    pub slot: u64,
    #[prost(sint64, tag = "3")]
    pub lag: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumeration)]
#[repr(i32)]
pub enum OnError {
    Unspecified = 0,
    Drop = 1,
    Fail = 2,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumeration)]
#[repr(i32)]
pub enum EmitMode {
    Unspecified = 0,
    OnUpdate = 1,
    OnWindowClose = 2,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumeration)]
#[repr(i32)]
pub enum AggregateFunction {
    Unspecified = 0,
    Count = 1,
    Sum = 2,
    Min = 3,
    Max = 4,
    Avg = 5,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumeration)]
#[repr(i32)]
pub enum ChangelogKind {
    Unspecified = 0,
    AppendOnly = 1,
    Retract = 2,
    Upsert = 3,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumeration)]
#[repr(i32)]
pub enum Distribution {
    Unspecified = 0,
    Split = 1,
    Hash = 2,
    Single = 3,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumeration)]
#[repr(i32)]
pub enum StateKind {
    Unspecified = 0,
    None = 1,
    Epoch = 2,
    Window = 3,
    Unbounded = 4,
}
