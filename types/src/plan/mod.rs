//! The dataflow plan: what a job does, as plain data.
//!
//! A job is a graph of **fragments** joined by **exchanges**. Every worker of the
//! job runs one instance of every fragment; an exchange moves rows between the
//! instances by the hash of its keys. Within a fragment, operators form a tree
//! and call each other directly.
//!
//! ```text
//! fragment 0:  Source -> Filter -> AssignSlices -> LocalAggregate ==exchange 0 (hash carrier)==>
//! fragment 1:  ExchangeInput(0) -> GlobalAggregate -> Project -> Materialize
//! ```
//!
//! The plan travels as the protobuf messages of [`wire`]; workers never share it
//! in memory. Expressions are DataFusion physical expressions over the columns
//! of the node's input, by index.
//!
//! Invariants: `nodes` of a fragment are in topological order and the last is
//! its root; every exchange has exactly one producing fragment and one
//! `ExchangeInput`; fragments are ordered producers first.

pub mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

use crate::connector::OnError;
use crate::hidden;
use crate::ids::{ExchangeId, FragmentId, ObjectId, OperatorId, TableId};
use crate::vnode::VNODE_COUNT;
use crate::window::WindowSpec;

/// A whole job.
#[derive(Clone, Debug)]
pub struct FragmentGraph {
    pub fragments: Vec<Fragment>,
}

/// The operators between two exchanges.
#[derive(Clone, Debug)]
pub struct Fragment {
    pub id: FragmentId,
    /// In topological order: a node's inputs stand before it. The last is the root.
    pub nodes: Vec<Node>,
    pub output: Output,
}

/// Where the rows of a fragment's root go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// To the instances of the consuming fragment, by the hash of `keys` (column
    /// indices of the root). No keys: all rows to the owner of the empty key.
    Exchange { id: ExchangeId, keys: Vec<usize> },
    /// Nowhere: the root is a materialize or a sink.
    None,
}

/// One operator with everything that was inferred about its output.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: OperatorId,
    pub operator: Operator,
    /// Positions in the fragment's `nodes`.
    pub inputs: Vec<usize>,
    /// The columns it emits, hidden ones included.
    pub schema: SchemaRef,
    pub properties: Properties,
}

/// What an operator does.
#[derive(Clone, Debug)]
pub enum Operator {
    Source(SourceScan),
    ExchangeInput {
        exchange: ExchangeId,
    },
    /// Keeps rows where `predicate` is true. On an upsert edge a row that fails
    /// becomes a deletion of its key instead of disappearing.
    Filter {
        predicate: Arc<dyn PhysicalExpr>,
    },
    /// One expression per output column.
    Project {
        expressions: Vec<Arc<dyn PhysicalExpr>>,
    },
    AssignSlices(AssignSlices),
    AssignWindows(AssignWindows),
    LocalAggregate(Aggregate),
    GlobalAggregate(Aggregate),
    Materialize(Materialize),
    Sink(Sink),
}

impl Operator {
    /// The name that EXPLAIN, metrics and errors use.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Operator::Source(_) => "Source",
            Operator::ExchangeInput { .. } => "ExchangeInput",
            Operator::Filter { .. } => "Filter",
            Operator::Project { .. } => "Project",
            Operator::AssignSlices(_) => "AssignSlices",
            Operator::AssignWindows(_) => "AssignWindows",
            Operator::LocalAggregate(_) => "LocalAggregate",
            Operator::GlobalAggregate(_) => "GlobalAggregate",
            Operator::Materialize(_) => "Materialize",
            Operator::Sink(_) => "Sink",
        }
    }

    /// How many state tables an instance keeps between epochs. Part of the stateful
    /// skeleton of a job: its tables are numbered in plan order.
    #[must_use]
    pub fn state_tables(&self) -> u32 {
        match self {
            Operator::GlobalAggregate(_) | Operator::Materialize(_) => 1,
            Operator::Sink(sink) => u32::from(sink.log.is_some()),
            Operator::Source(_)
            | Operator::ExchangeInput { .. }
            | Operator::Filter { .. }
            | Operator::Project { .. }
            | Operator::AssignSlices(_)
            | Operator::AssignWindows(_)
            | Operator::LocalAggregate(_) => 0,
        }
    }
}

impl FragmentGraph {
    /// The first state table of each operator that has any, when the job's tables
    /// are numbered from `first` on, and the number after the last.
    #[must_use]
    pub fn number_tables(&self, first: TableId) -> (BTreeMap<OperatorId, TableId>, TableId) {
        let mut next = first.0;
        let mut tables = BTreeMap::new();
        for node in self.fragments.iter().flat_map(|f| &f.nodes) {
            let count = node.operator.state_tables();
            if count > 0 {
                tables.insert(node.id, TableId(next));
                next += count;
            }
        }
        (tables, TableId(next))
    }
}

/// Reads the splits of a source that belong to this instance (split `i` to
/// worker `i mod workers`).
///
/// Output columns: `columns`, then `computed`, then [`hidden::ROW_ID`] if
/// `row_id`, then [`hidden::ROW_WATERMARK`] if `row_watermark`.
#[derive(Clone, Debug)]
pub struct SourceScan {
    /// The catalog object, for sharing split boundaries between jobs.
    pub source: ObjectId,
    /// Its name, for messages.
    pub name: String,
    pub connector: String,
    /// Validated and complete.
    pub options: BTreeMap<String, String>,
    /// What to decode: name, type and nullability under the user's names.
    pub columns: Vec<Field>,
    /// The connector's own name for each of `columns`.
    pub physical_names: Vec<String>,
    /// All columns that the source declares, where decoding depends on their
    /// positions (CSV); `columns` are among them by name.
    pub declared: Vec<Field>,
    /// Generated columns: name and type, and an expression over `columns`.
    pub computed: Vec<(Field, Arc<dyn PhysicalExpr>)>,
    /// An expression over `columns` then `computed`; microseconds. `None`: the
    /// source has no watermark until it ends.
    pub watermark: Option<Arc<dyn PhysicalExpr>>,
    /// Emit [`hidden::ROW_ID`].
    pub row_id: bool,
    /// Emit [`hidden::ROW_WATERMARK`].
    pub row_watermark: bool,
    /// The position of this source's watermark in the job's barriers.
    pub watermark_slot: usize,
    pub on_error: OnError,
    pub bounded: bool,
}

/// Places each row in its slice, refuses rows that every window is closed to,
/// and counts them. Output: the input's columns, then [`hidden::SLICE_END`] and
/// [`hidden::FIRST_WINDOW_END`].
///
/// A row with a NULL time is rejected and counted as `null_time`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AssignSlices {
    pub window: WindowSpec,
    /// The event time, `Timestamp(us)` with or without a zone.
    pub time_column: usize,
    /// The column [`hidden::ROW_WATERMARK`]; `None`: no row is ever late.
    pub watermark_column: Option<usize>,
    /// Microseconds.
    pub allowed_lateness: i64,
}

/// Repeats each row once for every window that admits it. Output: the input's
/// columns, then `window_start` and `window_end` of the time column's type.
/// Lateness and NULL times as in [`AssignSlices`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AssignWindows {
    pub window: WindowSpec,
    pub time_column: usize,
    pub watermark_column: Option<usize>,
    pub allowed_lateness: i64,
}

/// A grouped aggregation; the local and the global half share its description.
///
/// * `LocalAggregate` reads rows and emits **partials**: `[slice_end,
///   first_window_end]` if windowed, the group columns, then the state columns of
///   each call ([`AggregateCall::state_fields`]); see [`Aggregate::partial_schema`].
/// * `GlobalAggregate` reads partials and emits `[window_start, window_end]` if
///   windowed, the group columns, then one column per call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Aggregate {
    /// Local: input columns that are the non-window group keys. Global: the same
    /// keys as positions in the partials.
    pub group: Vec<usize>,
    pub window: Option<AggregateWindow>,
    pub calls: Vec<AggregateCall>,
    pub emit: EmitMode,
}

/// The window of a windowed aggregation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AggregateWindow {
    pub spec: WindowSpec,
    /// Local: input column [`hidden::SLICE_END`]; global: its position in the partials.
    pub slice_end_column: usize,
    pub first_window_end_column: usize,
    /// The type of `window_start` and `window_end`.
    pub time_type: DataType,
    /// Which entry of the barriers' watermarks closes the windows.
    pub watermark_slot: usize,
    /// Microseconds; a window closes when `end + allowed_lateness <= watermark`.
    pub allowed_lateness: i64,
}

/// When results are emitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EmitMode {
    /// At every epoch, the groups that changed, as upserts by group key.
    OnUpdate,
    /// Each result once, when its window has closed: append-only.
    OnWindowClose,
}

/// One aggregate function call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AggregateCall {
    pub function: AggregateFunction,
    /// Local: the input column of the argument; `None` only for `count(*)`.
    /// Unused by the global half, which reads state columns by position.
    pub argument: Option<usize>,
    /// Local: an input column of type boolean; rows where it is not true do not count.
    pub filter: Option<usize>,
    /// The argument's type; `Null` for `count(*)`.
    pub input_type: DataType,
    /// The result's type as `sql.md` says.
    pub output_type: DataType,
    pub output_name: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AggregateFunction {
    Count,
    Sum,
    Min,
    Max,
    Avg,
}

impl AggregateFunction {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            AggregateFunction::Count => "count",
            AggregateFunction::Sum => "sum",
            AggregateFunction::Min => "min",
            AggregateFunction::Max => "max",
            AggregateFunction::Avg => "avg",
        }
    }

    /// The result type for an argument of type `input`; `None`: there is no such
    /// aggregate. The registry of batch and streaming alike.
    #[must_use]
    pub fn output_type(self, input: &DataType) -> Option<DataType> {
        use DataType::{Decimal128, Decimal256, Float32, Float64, Int16, Int32, Int64};
        match self {
            AggregateFunction::Count => Some(Int64),
            AggregateFunction::Sum => match input {
                Int16 | Int32 => Some(Int64),
                Int64 => Some(Decimal128(38, 0)),
                Float32 => Some(Float32),
                Float64 => Some(Float64),
                Decimal128(_, s) => Some(Decimal128(38, *s)),
                Decimal256(_, s) => Some(Decimal256(76, *s)),
                _ => None,
            },
            AggregateFunction::Avg => match input {
                Int16 | Int32 | Int64 => Some(Decimal128(38, 10)),
                Float32 | Float64 => Some(Float64),
                Decimal128(_, s) => Some(Decimal128(38, (*s).max(10))),
                Decimal256(_, s) => Some(Decimal256(76, (*s).max(10))),
                _ => None,
            },
            AggregateFunction::Min | AggregateFunction::Max => match input {
                DataType::Boolean | DataType::FixedSizeBinary(_) | DataType::BinaryView => None,
                t if crate::vnode::is_hashable(t) => Some(t.clone()),
                _ => None,
            },
        }
    }
}

impl AggregateCall {
    /// The columns that hold this call's partial state in an exchange.
    ///
    /// | call | columns |
    /// |---|---|
    /// | count | `Int64` |
    /// | sum of smallint, int | `Int64` sum, `Int64` count of values |
    /// | sum of bigint | `Decimal128(38, 0)` sum, `Int64` count |
    /// | sum of real, double precision | `Float64` sum, `Float64` compensation, `Int64` count |
    /// | sum of numeric(p, s) | `Decimal256(76, s)` sum, `Int64` count |
    /// | avg | as sum |
    /// | min, max | the value, NULL for none |
    #[must_use]
    pub fn state_fields(&self, position: usize) -> Vec<Field> {
        use DataType::{Decimal128, Decimal256, Float32, Float64, Int16, Int32, Int64};
        let field = |part: &str, t: DataType, nullable: bool| {
            Field::new(format!("{}_{position}_{part}", self.function.name()), t, nullable)
        };
        match self.function {
            AggregateFunction::Count => vec![field("count", Int64, false)],
            AggregateFunction::Min | AggregateFunction::Max => {
                vec![field("value", self.input_type.clone(), true)]
            }
            AggregateFunction::Sum | AggregateFunction::Avg => {
                let mut fields = match &self.input_type {
                    Int16 | Int32 => vec![field("sum", Int64, false)],
                    Int64 => vec![field("sum", Decimal128(38, 0), false)],
                    Float32 | Float64 => {
                        vec![field("sum", Float64, false), field("compensation", Float64, false)]
                    }
                    Decimal128(_, s) | Decimal256(_, s) => {
                        vec![field("sum", Decimal256(76, *s), false)]
                    }
                    other => vec![field("sum", other.clone(), false)],
                };
                fields.push(field("count", Int64, false));
                fields
            }
        }
    }
}

impl Aggregate {
    /// The schema of the partials, given the schema of the local half's input.
    #[must_use]
    pub fn partial_schema(&self, input: &Schema) -> SchemaRef {
        let mut fields = Vec::new();
        if self.window.is_some() {
            fields.push(Field::new(hidden::SLICE_END, DataType::Int64, false));
            fields.push(Field::new(hidden::FIRST_WINDOW_END, DataType::Int64, false));
        }
        fields.extend(self.group.iter().map(|i| input.field(*i).clone()));
        for (position, call) in self.calls.iter().enumerate() {
            fields.extend(call.state_fields(position));
        }
        Arc::new(Schema::new(fields))
    }

    /// The description of the global half that reads this local half's partials.
    #[must_use]
    pub fn global(&self) -> Aggregate {
        let keys_from = if self.window.is_some() { 2 } else { 0 };
        Aggregate {
            group: (keys_from..keys_from + self.group.len()).collect(),
            window: self.window.as_ref().map(|w| AggregateWindow {
                slice_end_column: 0,
                first_window_end_column: 1,
                ..w.clone()
            }),
            calls: self
                .calls
                .iter()
                .map(|c| AggregateCall { argument: None, filter: None, ..c.clone() })
                .collect(),
            emit: self.emit,
        }
    }

    /// The schema of the results, given the schema of the local half's input.
    #[must_use]
    pub fn output_schema(&self, input: &Schema) -> SchemaRef {
        let mut fields = Vec::new();
        if let Some(w) = &self.window {
            fields.push(Field::new("window_start", w.time_type.clone(), false));
            fields.push(Field::new("window_end", w.time_type.clone(), false));
        }
        fields.extend(self.group.iter().map(|i| input.field(*i).clone()));
        for call in &self.calls {
            let nullable = call.function != AggregateFunction::Count;
            fields.push(Field::new(&call.output_name, call.output_type.clone(), nullable));
        }
        Arc::new(Schema::new(fields))
    }
}

/// Stores the rows as a view's contents. The input's columns are stored as they
/// are; `key` identifies a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Materialize {
    pub view: ObjectId,
    /// Column indices, in the order of the stored key; with upserts a later row
    /// replaces an earlier one of the same key.
    pub key: Vec<usize>,
    /// No key ever comes twice and nothing is taken back.
    pub append_only: bool,
}

/// Hands the rows to a sink connector at the end of each epoch, or puts them into a
/// log that is delivered after the checkpoint that holds them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sink {
    pub sink: ObjectId,
    pub name: String,
    pub connector: String,
    pub options: BTreeMap<String, String>,
    /// The columns that the user sees, as positions in the input.
    pub columns: Vec<usize>,
    pub key: Vec<usize>,
    /// `None`: rows are handed over as they come.
    pub log: Option<SinkLog>,
}

/// How a sink's rows are logged and cut into parts (files) before they are delivered.
///
/// A row's **lane** is that of its vnode: vnodes are dealt to lanes in contiguous
/// ranges, so lanes stay what they are whatever the number of workers is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SinkLog {
    /// Between 1 and the number of vnodes; fixed for the sink's life.
    pub lanes: u32,
    /// In the names of everything that is delivered: no other sink has this number.
    pub incarnation: u64,
    /// A part has at most so many rows.
    pub rolling_rows: u64,
    /// A part takes no further row once its rows have so many bytes in the log.
    pub rolling_bytes: u64,
    /// Bytes of rows that may wait in memory for a checkpoint, over all workers.
    pub memory_bytes: u64,
    /// Bytes of rows that may wait in the log for their delivery.
    pub max_bytes: u64,
}

impl SinkLog {
    /// The lane of a vnode.
    #[must_use]
    pub fn lane_of(&self, vnode: u16) -> u32 {
        u32::from(vnode) * self.lanes / VNODE_COUNT
    }

    /// The first vnode of a lane, which is below `lanes`.
    #[must_use]
    pub fn first_vnode(&self, lane: u32) -> u16 {
        (lane * VNODE_COUNT).div_ceil(self.lanes) as u16
    }
}

/// What was inferred about an operator's output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Properties {
    pub changelog: ChangelogKind,
    /// Columns that identify a row of the output collection.
    pub stream_key: Vec<usize>,
    pub watermarks: Vec<WatermarkColumn>,
    pub distribution: Distribution,
    /// The position of [`hidden::ROW_WATERMARK`], where the rows still carry it.
    pub row_watermark: Option<usize>,
    pub state: StateKind,
}

/// How a collection is described by its changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangelogKind {
    /// Insertions only.
    AppendOnly,
    /// Insertions and deletions of whole rows.
    Retract,
    /// Rows replace earlier rows of the same stream key; deletions name the key.
    Upsert,
}

/// A column behind whose watermark no row is emitted or taken back any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatermarkColumn {
    pub column: usize,
    /// Which entry of the barriers' watermarks bounds it.
    pub slot: usize,
    /// How far the column stays behind that entry, in microseconds: the column's
    /// own watermark is `entry - lag`.
    pub lag: i64,
}

/// Which worker a row is on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Distribution {
    /// On the worker that reads its split.
    Split,
    /// On the owner of the hash of these columns.
    Hash(Vec<usize>),
    /// On the owner of the empty key.
    Single,
}

/// What an operator remembers between epochs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StateKind {
    None,
    /// Only within an epoch.
    Epoch,
    /// Until the watermark passes.
    Window,
    /// For ever.
    Unbounded,
}
