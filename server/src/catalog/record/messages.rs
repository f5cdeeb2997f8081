//! The protobuf messages of a catalog record: what is stored and nothing else.
//!
//! Written by hand with prost's derive macros, so that a build needs no `protoc`.
//! Only [`super`] sees these types. Tags are never reused: a field that goes away
//! leaves a gap. Types of columns are in [`super::types`].

use std::collections::BTreeMap;

use prost::{Enumeration, Message, Oneof};

use super::types::{Field, Type};

#[derive(Clone, PartialEq, Message)]
pub struct Record {
    #[prost(uint32, tag = "1")]
    pub format_version: u32,
    #[prost(message, repeated, tag = "2")]
    pub changes: Vec<Change>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Change {
    #[prost(oneof = "ChangeKind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<ChangeKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum ChangeKind {
    #[prost(message, tag = "1")]
    Create(Object),
    #[prost(message, tag = "2")]
    Feed(Feed),
    #[prost(message, tag = "3")]
    Drop(Ids),
    #[prost(string, tag = "4")]
    CreateSchema(String),
    #[prost(string, tag = "5")]
    DropSchema(String),
    #[prost(message, tag = "6")]
    SetParallelism(SetParallelism),
}

#[derive(Clone, PartialEq, Message)]
pub struct SetParallelism {
    #[prost(uint32, tag = "1")]
    pub object: u32,
    /// 0: all workers.
    #[prost(uint32, tag = "2")]
    pub parallelism: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Ids {
    #[prost(uint32, repeated, tag = "1")]
    pub ids: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Object {
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(string, tag = "2")]
    pub schema: String,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub sql: String,
    #[prost(uint32, repeated, tag = "5")]
    pub depends_on: Vec<u32>,
    #[prost(oneof = "ObjectKind", tags = "10, 11, 12, 13")]
    pub kind: Option<ObjectKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum ObjectKind {
    #[prost(message, tag = "10")]
    Source(Source),
    #[prost(message, tag = "11")]
    View(View),
    #[prost(message, tag = "12")]
    MaterializedView(MaterializedView),
    #[prost(message, tag = "13")]
    Sink(Sink),
}

#[derive(Clone, PartialEq, Message)]
pub struct Source {
    #[prost(string, tag = "1")]
    pub connector: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub options: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "3")]
    pub columns: Vec<SourceColumn>,
    #[prost(message, optional, tag = "4")]
    pub watermark: Option<Watermark>,
    #[prost(bool, tag = "5")]
    pub bounded: bool,
    #[prost(enumeration = "OnError", tag = "6")]
    pub on_error: i32,
    #[prost(bool, tag = "7")]
    pub loose_names: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct SourceColumn {
    #[prost(message, optional, tag = "1")]
    pub field: Option<Field>,
    #[prost(oneof = "Origin", tags = "2, 3")]
    pub origin: Option<Origin>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Origin {
    /// The connector's own name of the column.
    #[prost(string, tag = "2")]
    Connector(String),
    /// A generated column's expression.
    #[prost(string, tag = "3")]
    Generated(String),
}

#[derive(Clone, PartialEq, Message)]
pub struct Watermark {
    #[prost(string, tag = "1")]
    pub column: String,
    #[prost(string, tag = "2")]
    pub expression: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumeration)]
#[repr(i32)]
pub enum OnError {
    Unspecified = 0,
    Drop = 1,
    Fail = 2,
}

#[derive(Clone, PartialEq, Message)]
pub struct View {
    #[prost(message, repeated, tag = "1")]
    pub schema: Vec<Field>,
    #[prost(string, tag = "2")]
    pub query: String,
    #[prost(string, repeated, tag = "3")]
    pub search_path: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct MaterializedView {
    #[prost(message, optional, tag = "1")]
    pub job: Option<Job>,
    #[prost(message, repeated, tag = "2")]
    pub stored: Vec<Field>,
    #[prost(uint32, tag = "3")]
    pub visible: u32,
    #[prost(uint32, repeated, tag = "4")]
    pub key: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Sink {
    /// Absent: a declared target.
    #[prost(message, optional, tag = "1")]
    pub job: Option<Job>,
    #[prost(string, tag = "2")]
    pub connector: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub options: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "4")]
    pub schema: Vec<Field>,
    #[prost(uint64, tag = "5")]
    pub incarnation: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Feed {
    #[prost(uint32, tag = "1")]
    pub sink: u32,
    #[prost(uint32, repeated, tag = "2")]
    pub depends_on: Vec<u32>,
    #[prost(message, optional, tag = "3")]
    pub job: Option<Job>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Job {
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(string, tag = "2")]
    pub sql: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub settings: BTreeMap<String, String>,
    #[prost(uint32, tag = "4")]
    pub first_table: u32,
    #[prost(uint32, tag = "5")]
    pub tables: u32,
    #[prost(message, repeated, tag = "6")]
    pub skeleton: Vec<SkeletonOperator>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SkeletonOperator {
    #[prost(uint32, tag = "1")]
    pub operator: u32,
    #[prost(string, tag = "2")]
    pub kind: String,
    #[prost(message, repeated, tag = "3")]
    pub keys: Vec<Type>,
    #[prost(message, repeated, tag = "4")]
    pub values: Vec<Type>,
    #[prost(string, tag = "5")]
    pub distribution: String,
    #[prost(uint32, tag = "6")]
    pub tables: u32,
    #[prost(string, tag = "7")]
    pub detail: String,
    /// What a source reads.
    #[prost(uint32, optional, tag = "8")]
    pub source: Option<u32>,
}

/// A skeleton by itself, as manifests have it.
#[derive(Clone, PartialEq, Message)]
pub struct Skeleton {
    #[prost(uint32, tag = "1")]
    pub format_version: u32,
    #[prost(message, repeated, tag = "2")]
    pub operators: Vec<SkeletonOperator>,
}
