//! Sessions: statements from text to rows or to a change of the catalog.
//!
//! ```text
//! split -> prepare (parse, bind) -> execute --+-- query.rs        SELECT
//!                                             +-- create.rs       sources, views, schemas
//!                                             +-- job.rs          materialized views, sinks
//!                                             +-- alter.rs        ALTER
//!                                             +-- remove.rs       DROP
//!                                             +-- cursor.rs      DECLARE, FETCH, MOVE, CLOSE
//!                                             +-- show.rs         SHOW, DESCRIBE
//!                                             +-- explain.rs      EXPLAIN
//!                                             +-- control.rs      SET, BEGIN, COMMIT, ...
//! ```
//!
//! [`api`] is all that the wire sees of this. A session runs one statement at a
//! time; sessions share the catalog, the engine and the query pool through
//! [`Shared`].

mod alter;
pub mod api;
mod control;
mod create;
mod cursor;
mod explain;
mod functions;
pub mod job;
mod names;
mod prepared;
mod query;
mod remove;
pub mod settings;
mod show;
mod transaction;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::scalar::ScalarValue;
use futures::future::{BoxFuture, FutureExt};
use tidemill_connectors::Connectors;
use tidemill_planner::PlanError;
use tidemill_planner::catalog::CatalogSnapshot;
use tidemill_planner::functions::{session_config, session_state};
use tidemill_planner::parse::{Statement, parse_statement, split_statements};
use tidemill_runtime::Engine;
use tidemill_storage::ViewStore;
use tidemill_types::Diagnostic;

use crate::catalog::Catalog;
use crate::durable::ledger::Ledger;
use crate::serve::QueryRuntime;
use crate::serve::sleep::pg_sleep;
use api::{
    CursorShape, Execution, PreparedStatement, Session, SessionFactory, SessionStart,
    StatementText, TransactionStatus,
};
use functions::SessionValues;
use prepared::{Prepared, Work};
use settings::Settings;
use transaction::{Transaction, failed_transaction};

/// What all sessions of a server work with.
#[derive(Debug)]
pub struct Shared {
    pub catalog: Catalog,
    /// What is known of jobs' checkpoints.
    pub ledger: Ledger,
    pub engine: Engine,
    pub views: Arc<ViewStore>,
    pub connectors: Connectors,
    pub queries: QueryRuntime,
    /// What sessions' DataFusion states are copied from.
    state: SessionState,
}

impl Shared {
    /// A catalog over a running engine.
    #[must_use]
    pub fn new(
        catalog: Catalog,
        ledger: Ledger,
        engine: Engine,
        views: Arc<ViewStore>,
        connectors: Connectors,
        queries: QueryRuntime,
    ) -> Self {
        let config = session_config("UTC").with_target_partitions(queries.limits().threads);
        let mut state = session_state(config, queries.environment());
        state.register_udf(pg_sleep()).expect("a session state accepts scalar functions");
        Shared { catalog, ledger, engine, views, connectors, queries, state }
    }

    /// Functions and settings without a session: for jobs.
    #[must_use]
    pub fn job_state(&self) -> &SessionState {
        &self.state
    }
}

/// Opens sessions over one [`Shared`].
#[derive(Clone, Debug)]
pub struct Sessions {
    shared: Arc<Shared>,
}

impl Sessions {
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Sessions { shared }
    }
}

impl SessionFactory for Sessions {
    fn open(&self, start: SessionStart) -> Result<Box<dyn Session>, Diagnostic> {
        let mut settings = Settings::new(&start.user);
        let mut notices = Vec::new();
        for (name, value) in &start.settings {
            notices.extend(settings.set_at_startup(name, value)?);
        }
        let values = SessionValues {
            user: start.user.clone(),
            database: start.database.clone(),
            schema: None,
            backend_pid: start.backend_pid,
        };
        let mut session = SqlSession {
            state: self.shared.state.clone(),
            shared: Arc::clone(&self.shared),
            settings,
            transaction: Transaction::default(),
            notices,
            values,
        };
        functions::register(&mut session.state, &session.values);
        Ok(Box::new(session))
    }
}

/// One client's session.
#[derive(Debug)]
pub(crate) struct SqlSession {
    shared: Arc<Shared>,
    /// The shared state with this session's functions.
    state: SessionState,
    settings: Settings,
    transaction: Transaction,
    notices: Vec<Diagnostic>,
    /// What this session's functions answer.
    values: SessionValues,
}

impl SqlSession {
    /// Brings the session's functions up to date with its settings.
    fn refresh_functions(&mut self, snapshot: &CatalogSnapshot) {
        let path = self.settings.search_path();
        let schema = path.into_iter().find(|s| snapshot.schemas.contains(s));
        if schema != self.values.schema {
            self.values.schema = schema;
            functions::register(&mut self.state, &self.values);
        }
    }

    fn notice(&mut self, notice: Diagnostic) {
        self.notices.push(notice);
    }

    fn prepare_now(
        &mut self,
        text: &StatementText,
        declared: &[Option<DataType>],
    ) -> Result<Prepared, Diagnostic> {
        let shown = |e: PlanError| e.diagnostic(&text.source);
        let statement = parse_statement(&text.source, text.range.clone()).map_err(shown)?;
        if self.transaction.status() == TransactionStatus::Failed && !statement.ends_transaction() {
            return Err(failed_transaction());
        }
        let snapshot = self.shared.catalog.snapshot();
        let work = match &statement {
            Statement::Query(query) => {
                self.refresh_functions(&snapshot);
                Work::Query(Box::new(self.bind(query, &snapshot, declared).map_err(shown)?))
            }
            Statement::DeclareCursor(declare) => {
                self.refresh_functions(&snapshot);
                let bound = self.bind(&declare.query, &snapshot, declared).map_err(shown)?;
                Work::Declare(Box::new(bound))
            }
            Statement::Fetch(fetch) if !fetch.moves => {
                Work::Fetch(self.named_cursor(&fetch.name, text)?.shape.clone())
            }
            Statement::Show(show) => Work::Rows(show::columns(show).map_err(shown)?),
            Statement::Describe { .. } => Work::Rows(show::describe_columns()),
            Statement::Explain(_) => Work::Rows(explain::columns()),
            _ => Work::Command,
        };
        Ok(Prepared::new(text.clone(), statement, work, snapshot))
    }

    async fn run(
        &mut self,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
    ) -> Result<Execution, Diagnostic> {
        if self.transaction.status() == TransactionStatus::Failed && !prepared.ends_transaction() {
            return Err(failed_transaction());
        }
        let command = |tag: &str| Ok(Execution::Command { tag: tag.to_owned() });
        let text = &prepared.text;
        match &prepared.statement {
            Statement::Query(query) => self.select(prepared, query, parameters).await,
            Statement::DeclareCursor(declare) => {
                self.declare_cursor(prepared, declare, parameters).await
            }
            Statement::Fetch(fetch) => self.fetch(fetch, text).await,
            Statement::CloseCursor { name } => self.close_cursor(name.as_ref(), text),
            Statement::CreateSource(s) => self.create_source(s, text).await,
            Statement::CreateTableWithConnector(s) => self.create_table(s, text).await,
            Statement::CreateView(s) => self.create_view(s, text).await,
            Statement::CreateMaterializedView(s) => self.create_materialized_view(s, text).await,
            Statement::CreateSink(s) => self.create_sink(s, text).await,
            Statement::InsertInto { target, columns, query } => {
                self.insert_into(target, columns, query, text).await
            }
            Statement::CreateSchema { name, if_not_exists } => {
                self.create_schema(name, *if_not_exists).await
            }
            Statement::DropSchema { names, if_exists, behavior } => {
                self.drop_schemas(names, *if_exists, *behavior, text).await
            }
            Statement::AlterParallelism(alter) => self.alter_parallelism(alter, text).await,
            Statement::Drop(drop) => self.drop_relations(drop, text).await,
            Statement::Show(show) => self.show(show, text),
            Statement::Describe { name } => self.describe(name, text),
            Statement::Explain(explain) => self.explain(explain, text).await,
            Statement::Set(set) => self.set(set, text),
            Statement::SetTransaction { session, modes } => self.set_transaction(*session, *modes),
            Statement::Reset { name } => self.reset(name.as_ref(), text),
            Statement::Begin { modes } => self.begin(*modes),
            Statement::Commit => self.end_transaction(true),
            Statement::Rollback => self.end_transaction(false),
            Statement::Savepoint { name } => self.savepoint(name),
            Statement::ReleaseSavepoint { name } => self.release_savepoint(name),
            Statement::RollbackTo { name } => self.rollback_to(name),
            Statement::Discard(target) => self.discard(*target),
            // Prepared statements of the protocol are the wire's.
            Statement::Deallocate { name: None } => command("DEALLOCATE ALL"),
            Statement::Deallocate { name: Some(_) } => command("DEALLOCATE"),
            Statement::Unlisten => command("UNLISTEN"),
        }
    }
}

impl Session for SqlSession {
    fn split(&self, query: &str) -> Result<Vec<StatementText>, Diagnostic> {
        let ranges = split_statements(query).map_err(|e| e.diagnostic(query))?;
        let source: Arc<str> = query.into();
        let statement = |range| StatementText { source: Arc::clone(&source), range };
        Ok(ranges.into_iter().map(statement).collect())
    }

    fn prepare<'a>(
        &'a mut self,
        statement: &'a StatementText,
        declared: &'a [Option<DataType>],
    ) -> BoxFuture<'a, Result<Arc<dyn PreparedStatement>, Diagnostic>> {
        async move {
            match self.prepare_now(statement, declared) {
                Ok(prepared) => Ok(Arc::new(prepared) as Arc<dyn PreparedStatement>),
                Err(diagnostic) => {
                    self.transaction.fail();
                    Err(diagnostic)
                }
            }
        }
        .boxed()
    }

    fn execute<'a>(
        &'a mut self,
        statement: &'a Arc<dyn PreparedStatement>,
        parameters: Vec<ScalarValue>,
    ) -> BoxFuture<'a, Result<Execution, Diagnostic>> {
        async move {
            let Some(prepared) = statement.as_any().downcast_ref::<Prepared>() else {
                return Err(Diagnostic::internal("the statement belongs to another session"));
            };
            let result = self.run(prepared, parameters).await;
            if result.is_err() {
                self.transaction.fail();
            }
            result
        }
        .boxed()
    }

    fn fail_transaction(&mut self) {
        self.transaction.fail();
    }

    fn begin_implicit(&mut self) {
        self.transaction.begin_implicit();
    }

    fn end_implicit(&mut self) {
        self.transaction.end_implicit();
    }

    fn transaction_status(&self) -> TransactionStatus {
        self.transaction.status()
    }

    fn cursor(&self, name: &str) -> Option<CursorShape> {
        self.transaction.cursor(name).map(|cursor| cursor.shape.clone())
    }

    fn close_cursor(&mut self, name: &str) {
        self.transaction.close_cursor(name);
    }

    fn take_notices(&mut self) -> Vec<Diagnostic> {
        let notices = std::mem::take(&mut self.notices);
        let warning =
            |d: &Diagnostic| d.state.code().starts_with("01") || d.state.code().starts_with("25");
        notices.into_iter().filter(|d| self.settings.sends(warning(d))).collect()
    }

    fn take_parameter_changes(&mut self) -> Vec<(&'static str, String)> {
        self.settings.take_reported()
    }

    fn statement_timeout(&self) -> Option<std::time::Duration> {
        self.settings.statement_timeout()
    }
}
