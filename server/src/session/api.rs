//! What the wire asks of a session.
//!
//! `pgwire` speaks the protocol and knows nothing of SQL; a session runs
//! statements and knows nothing of messages. This is the whole surface between
//! them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::scalar::ScalarValue;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tidemill_types::Diagnostic;

/// One statement of a query string.
#[derive(Clone, Debug)]
pub struct StatementText {
    /// The whole query string as the client sent it: positions refer to it.
    pub source: Arc<str>,
    /// The byte range of the statement in `source`, without the semicolon.
    pub range: std::ops::Range<usize>,
}

impl StatementText {
    #[must_use]
    pub fn text(&self) -> &str {
        &self.source[self.range.clone()]
    }
}

/// A statement that has been parsed and bound as far as that goes before its
/// parameters are known.
pub trait PreparedStatement: Send + Sync + std::fmt::Debug {
    /// One type per parameter `$1..$n`.
    fn parameters(&self) -> &[DataType];
    /// The result's columns; `None`: the statement returns no rows.
    fn columns(&self) -> Option<&SchemaRef>;
    /// Its rows are binary where the protocol does not say otherwise: FETCH from a
    /// BINARY cursor.
    fn is_binary(&self) -> bool;
    /// COMMIT, ROLLBACK and the like, which run in a failed transaction too.
    fn ends_transaction(&self) -> bool;
    /// For downcasting by the session that made it.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// What is known of the rows of an SQL cursor.
#[derive(Clone, Debug)]
pub struct CursorShape {
    pub columns: SchemaRef,
    /// It was declared BINARY.
    pub binary: bool,
}

/// What running a statement gives.
pub enum Execution {
    /// Rows as they come; the wire encodes each batch and drops it. The tag is
    /// `SELECT`, `SHOW`, ...; the wire appends the count where PostgreSQL does.
    Rows {
        schema: SchemaRef,
        rows: BoxStream<'static, Result<RecordBatch, Diagnostic>>,
        tag: &'static str,
    },
    /// Done; the whole command tag, `CREATE MATERIALIZED VIEW`.
    Command { tag: String },
}

impl std::fmt::Debug for Execution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Execution::Rows { tag, .. } => f.debug_struct("Rows").field("tag", tag).finish(),
            Execution::Command { tag } => f.debug_struct("Command").field("tag", tag).finish(),
        }
    }
}

/// As ReadyForQuery reports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionStatus {
    Idle,
    InTransaction,
    Failed,
}

/// One client's session. Statements run one at a time. A future that is dropped
/// stops its statement: that is how cancel and statement timeout work, and a
/// dropped row stream stops its query and releases its pinned epoch.
pub trait Session: Send {
    /// Cuts a query string into statements. A string of blanks and comments has none.
    fn split(&self, query: &str) -> Result<Vec<StatementText>, Diagnostic>;

    /// Parses and binds. `declared` are the types that the client declared for
    /// `$1..`; `None` or missing: infer.
    fn prepare<'a>(
        &'a mut self,
        statement: &'a StatementText,
        declared: &'a [Option<DataType>],
    ) -> BoxFuture<'a, Result<Arc<dyn PreparedStatement>, Diagnostic>>;

    /// Runs. In a failed transaction everything but its end is 25P02; an error
    /// inside a transaction fails it.
    fn execute<'a>(
        &'a mut self,
        statement: &'a Arc<dyn PreparedStatement>,
        parameters: Vec<ScalarValue>,
    ) -> BoxFuture<'a, Result<Execution, Diagnostic>>;

    /// An error happened outside `execute` (while streaming, or in the protocol):
    /// fails an open transaction.
    fn fail_transaction(&mut self);

    /// Several statements of one simple-query message, or the statements up to a
    /// Sync, form an implicit transaction: they share one pinned epoch.
    fn begin_implicit(&mut self);
    fn end_implicit(&mut self);

    fn transaction_status(&self) -> TransactionStatus;

    /// An open SQL cursor. Names of cursors and of portals are the same names to
    /// the protocol: it describes and closes both alike.
    fn cursor(&self, name: &str) -> Option<CursorShape>;
    /// Closes an SQL cursor, if there is one of that name.
    fn close_cursor(&mut self, name: &str);

    /// Notices since the last call, to be sent before the statement's completion.
    fn take_notices(&mut self) -> Vec<Diagnostic>;

    /// Settings whose ParameterStatus the client must be told, changed since the
    /// last call (at first: all of them).
    fn take_parameter_changes(&mut self) -> Vec<(&'static str, String)>;

    /// The session's `statement_timeout`; `None`: no limit.
    fn statement_timeout(&self) -> Option<std::time::Duration>;
}

/// What startup told about a client.
#[derive(Clone, Debug, Default)]
pub struct SessionStart {
    pub user: String,
    pub database: String,
    /// `options=-c k=v` and startup parameters that are settings, in order.
    pub settings: Vec<(String, String)>,
    /// What BackendKeyData says, for `pg_backend_pid()`.
    pub backend_pid: i32,
}

/// Opens sessions.
pub trait SessionFactory: Send + Sync {
    fn open(&self, start: SessionStart) -> Result<Box<dyn Session>, Diagnostic>;
}
