//! A parsed statement, bound as far as it can be before it runs.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use tidemill_planner::bind::BoundQuery;
use tidemill_planner::catalog::CatalogSnapshot;
use tidemill_planner::parse::Statement;

use super::api::{CursorShape, PreparedStatement, StatementText};

/// See the module's text.
#[derive(Debug)]
pub(super) struct Prepared {
    pub text: StatementText,
    pub statement: Statement,
    pub work: Work,
    /// What it was bound against; it is bound anew when the catalog has changed.
    pub snapshot: Arc<CatalogSnapshot>,
    columns: Option<SchemaRef>,
}

/// What is known of a statement's result.
#[derive(Debug)]
pub(super) enum Work {
    Query(Box<BoundQuery>),
    /// The query of a cursor, which gives its rows to FETCH.
    Declare(Box<BoundQuery>),
    /// A cursor's next rows.
    Fetch(CursorShape),
    /// Rows of the server's own making.
    Rows(SchemaRef),
    Command,
}

impl Prepared {
    pub fn new(
        text: StatementText,
        statement: Statement,
        work: Work,
        snapshot: Arc<CatalogSnapshot>,
    ) -> Self {
        let columns = match &work {
            Work::Query(bound) => Some(bound.schema()),
            Work::Rows(schema) => Some(Arc::clone(schema)),
            Work::Fetch(cursor) => Some(Arc::clone(&cursor.columns)),
            Work::Declare(_) | Work::Command => None,
        };
        Prepared { text, statement, work, snapshot, columns }
    }
}

impl PreparedStatement for Prepared {
    fn parameters(&self) -> &[DataType] {
        match &self.work {
            Work::Query(bound) | Work::Declare(bound) => &bound.parameters,
            Work::Rows(_) | Work::Fetch(_) | Work::Command => &[],
        }
    }

    fn columns(&self) -> Option<&SchemaRef> {
        self.columns.as_ref()
    }

    fn is_binary(&self) -> bool {
        matches!(&self.work, Work::Fetch(cursor) if cursor.binary)
    }

    fn ends_transaction(&self) -> bool {
        self.statement.ends_transaction()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
