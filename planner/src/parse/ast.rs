//! What a statement says, before any name in it is looked up.
//!
//! Queries, expressions and data types are sqlparser's; everything around them
//! is ours, because half of it exists in no other dialect. Spans are those of
//! the whole source string, so that every later error can point into it.

use sqlparser::ast::{DataType, Expr, Ident, ObjectName, Query};
use sqlparser::tokenizer::Span;

/// One statement.
#[derive(Clone, PartialEq, Debug)]
pub enum Statement {
    CreateSource(CreateSource),
    /// `CREATE TABLE x (...) WITH ('connector' = ...)`, as Flink declares both
    /// ends: a source or, for a connector that writes, a target of INSERT INTO.
    CreateTableWithConnector(CreateSource),
    CreateView(CreateView),
    CreateMaterializedView(CreateMaterializedView),
    CreateSink(CreateSink),
    /// `INSERT INTO target query`: starts a job that feeds a declared sink target.
    InsertInto {
        target: ObjectName,
        columns: Vec<Ident>,
        query: Box<Query>,
    },
    CreateSchema {
        name: Ident,
        if_not_exists: bool,
    },
    DropSchema {
        names: Vec<Ident>,
        if_exists: bool,
        behavior: DropBehavior,
    },
    Drop(Drop),
    AlterParallelism(AlterParallelism),
    Show(Show),
    /// `DESCRIBE x`.
    Describe {
        name: ObjectName,
    },
    Explain(Explain),
    Set(Set),
    /// `SET [SESSION CHARACTERISTICS AS] TRANSACTION modes`.
    SetTransaction {
        session: bool,
        modes: TransactionModes,
    },
    /// `RESET x`; `None`: `RESET ALL`.
    Reset {
        name: Option<SettingName>,
    },
    Begin {
        modes: TransactionModes,
    },
    Commit,
    Rollback,
    Savepoint {
        name: Ident,
    },
    ReleaseSavepoint {
        name: Ident,
    },
    RollbackTo {
        name: Ident,
    },
    Discard(DiscardTarget),
    /// `DEALLOCATE x`; `None`: all.
    Deallocate {
        name: Option<Ident>,
    },
    DeclareCursor(DeclareCursor),
    Fetch(Fetch),
    /// `CLOSE x`; `None`: all.
    CloseCursor {
        name: Option<Ident>,
    },
    /// `UNLISTEN x | *`: nothing is ever listened to.
    Unlisten,
    Query(Box<Query>),
}

impl Statement {
    /// COMMIT, ROLLBACK and the like, which run in a failed transaction too.
    #[must_use]
    pub fn ends_transaction(&self) -> bool {
        matches!(self, Statement::Commit | Statement::Rollback | Statement::RollbackTo { .. })
    }

    /// The query inside, if the statement has one.
    #[must_use]
    pub fn query(&self) -> Option<&Query> {
        match self {
            Statement::Query(query) | Statement::InsertInto { query, .. } => Some(query),
            Statement::DeclareCursor(declare) => Some(&declare.query),
            Statement::CreateView(view) => Some(&view.query),
            Statement::CreateMaterializedView(view) => Some(&view.query),
            Statement::CreateSink(CreateSink { input: SinkInput::Query(query), .. }) => Some(query),
            Statement::Explain(explain) => explain.statement.query(),
            _ => None,
        }
    }
}

/// `CREATE SOURCE`.
#[derive(Clone, PartialEq, Debug)]
pub struct CreateSource {
    pub name: ObjectName,
    pub if_not_exists: bool,
    /// `None`: no list in parentheses, so the connector's own columns.
    pub columns: Option<Vec<ColumnDef>>,
    pub watermark: Option<WatermarkDef>,
    pub options: Vec<OptionDef>,
    pub format: Option<FormatDef>,
}

impl CreateSource {
    /// An option of this name (lower case).
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&OptionDef> {
        self.options.iter().find(|o| o.name == name)
    }
}

/// A column of a source.
#[derive(Clone, PartialEq, Debug)]
pub struct ColumnDef {
    pub name: Ident,
    /// `None` only for a generated column in Flink's spelling, `c AS expr`.
    pub data_type: Option<TypeDef>,
    pub not_null: bool,
    pub generated: Option<SqlExpr>,
}

/// A data type and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct TypeDef {
    pub data_type: DataType,
    pub span: Span,
}

/// An expression with the user's own text of it.
#[derive(Clone, PartialEq, Debug)]
pub struct SqlExpr {
    pub expr: Expr,
    pub text: String,
    pub span: Span,
}

/// `WATERMARK FOR column AS expression`.
#[derive(Clone, PartialEq, Debug)]
pub struct WatermarkDef {
    pub column: Ident,
    pub expression: SqlExpr,
}

/// `name = value` of a WITH or ENCODE list.
#[derive(Clone, PartialEq, Debug)]
pub struct OptionDef {
    /// Lower case, dots kept.
    pub name: String,
    /// Strings without quotes, everything else as written.
    pub value: String,
    pub name_span: Span,
    pub value_span: Span,
}

/// `FORMAT x ENCODE y (...)`; both names in upper case.
#[derive(Clone, PartialEq, Debug)]
pub struct FormatDef {
    pub format: String,
    pub encode: String,
    pub options: Vec<OptionDef>,
    pub span: Span,
}

/// `CREATE VIEW`.
#[derive(Clone, PartialEq, Debug)]
pub struct CreateView {
    pub name: ObjectName,
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub columns: Vec<Ident>,
    pub query: Box<Query>,
    /// The query as the user wrote it.
    pub query_text: String,
}

/// When a view's results are sent on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Emit {
    OnUpdate,
    OnWindowClose,
}

/// `CREATE MATERIALIZED VIEW`.
#[derive(Clone, PartialEq, Debug)]
pub struct CreateMaterializedView {
    pub name: ObjectName,
    pub if_not_exists: bool,
    pub columns: Vec<Ident>,
    pub options: Vec<OptionDef>,
    pub query: Box<Query>,
    /// The query as the user wrote it, without EMIT.
    pub query_text: String,
    /// `None`: nothing was said, which means [`Emit::OnUpdate`].
    pub emit: Option<Emit>,
}

/// What a sink writes.
#[derive(Clone, PartialEq, Debug)]
pub enum SinkInput {
    /// `FROM relation`.
    Relation(ObjectName),
    /// `AS query`.
    Query(Box<Query>),
}

/// `CREATE SINK`.
#[derive(Clone, PartialEq, Debug)]
pub struct CreateSink {
    pub name: ObjectName,
    pub if_not_exists: bool,
    pub input: SinkInput,
    pub emit: Option<Emit>,
    pub options: Vec<OptionDef>,
    pub format: Option<FormatDef>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DropBehavior {
    #[default]
    Restrict,
    Cascade,
}

/// What DROP and SHOW CREATE name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelationKind {
    Source,
    /// Flink's word for a source or a sink target.
    Table,
    View,
    MaterializedView,
    Sink,
}

impl RelationKind {
    /// `materialized view`, for messages.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            RelationKind::Source => "source",
            RelationKind::Table => "table",
            RelationKind::View => "view",
            RelationKind::MaterializedView => "materialized view",
            RelationKind::Sink => "sink",
        }
    }
}

/// `DROP kind [IF EXISTS] a, b [CASCADE | RESTRICT]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Drop {
    pub kind: RelationKind,
    pub names: Vec<ObjectName>,
    pub if_exists: bool,
    pub behavior: DropBehavior,
}

/// `ALTER kind [IF EXISTS] name SET PARALLELISM = n`.
#[derive(Clone, PartialEq, Debug)]
pub struct AlterParallelism {
    pub kind: RelationKind,
    pub name: ObjectName,
    pub if_exists: bool,
    /// Workers; `None`: DEFAULT, all there are.
    pub parallelism: Option<u32>,
}

/// `SHOW`.
#[derive(Clone, PartialEq, Debug)]
pub enum Show {
    Sources,
    Tables,
    Views,
    MaterializedViews,
    Sinks,
    Schemas,
    Jobs,
    Connectors,
    /// `SHOW OPTIONS FOR CONNECTOR c`.
    Options {
        connector: Ident,
    },
    /// `SHOW CREATE [kind] x`.
    Create {
        kind: Option<RelationKind>,
        name: ObjectName,
    },
    /// `SHOW COLUMNS FROM x`: the same as DESCRIBE.
    Columns {
        name: ObjectName,
    },
    Setting(SettingName),
    All,
}

/// A setting's name, lower case, dots kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingName {
    pub name: String,
    pub span: Span,
}

/// `EXPLAIN [ANALYZE] [VERBOSE] statement`.
#[derive(Clone, PartialEq, Debug)]
pub struct Explain {
    pub analyze: bool,
    pub verbose: bool,
    pub statement: Box<Statement>,
}

/// `SET [SESSION | LOCAL] name = value`.
#[derive(Clone, PartialEq, Debug)]
pub struct Set {
    pub local: bool,
    pub name: SettingName,
    pub value: SetValue,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SetValue {
    Default,
    /// At least one; strings without quotes, bare words in lower case.
    Values(Vec<String>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IsolationLevel {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

/// What BEGIN says of the transaction; `None`: nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TransactionModes {
    pub isolation: Option<IsolationLevel>,
    pub read_only: Option<bool>,
    pub deferrable: Option<bool>,
}

/// `DECLARE`: a cursor that is read forward only, within its transaction.
#[derive(Clone, PartialEq, Debug)]
pub struct DeclareCursor {
    pub name: Ident,
    /// FETCH gives binary values where the protocol does not say otherwise.
    pub binary: bool,
    pub query: Box<Query>,
}

/// `FETCH` or `MOVE`.
#[derive(Clone, PartialEq, Debug)]
pub struct Fetch {
    pub name: Ident,
    pub direction: Direction,
    /// MOVE: the rows are counted and not given.
    pub moves: bool,
}

/// Which rows FETCH gives, from where the cursor stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    Forward(RowCount),
    Backward(RowCount),
    /// The row of this number, counted from 1, or from the end if negative.
    Absolute(i64),
    Relative(i64),
}

/// Negative numbers turn the direction round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowCount {
    Rows(i64),
    All,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiscardTarget {
    All,
    Plans,
    Sequences,
    Temp,
}
