//! The simple protocol: a Query message with any number of statements.
//!
//! The statements run one after another in one implicit transaction; the first
//! error ends the message. Results are text, but for those of a BINARY cursor.

use std::time::Instant as Clock;

use pgwire::messages::response::{CommandComplete, EmptyQueryResponse};
use tidemill_types::{Diagnostic, SqlState};

use super::connection::{Connection, End, Stop};
use super::interrupt::guard;
use super::stream::{Running, Streamed};
use super::types;
use crate::session::api::{Execution, StatementText};

impl Connection<'_> {
    /// Runs a Query message; `Err` ends the connection.
    pub(super) async fn query(&mut self, query: String) -> Result<(), End> {
        // The implicit transaction of unsynchronized messages ends here, as it
        // does in PostgreSQL; so does the unnamed statement.
        self.end_batch();
        self.statements.remove("");
        self.portals.remove("");
        self.signals.forget_cancel();
        match self.statements_of(&query).await {
            Ok(()) => {}
            Err(Stop::Statement(diagnostic)) => self.fail(&diagnostic),
            Err(Stop::Connection(end)) => return Err(end),
        }
        self.ready();
        Ok(())
    }

    async fn statements_of(&mut self, query: &str) -> Result<(), Stop> {
        let statements = self.session.split(query)?;
        if statements.is_empty() {
            self.output.put(&EmptyQueryResponse::new());
            return Ok(());
        }
        self.session.begin_implicit();
        let mut done = Ok(());
        for statement in &statements {
            let started = Clock::now();
            done = self.statement(statement).await;
            self.observe(started, &done);
            if done.is_err() {
                break;
            }
        }
        self.session.end_implicit();
        done
    }

    async fn statement(&mut self, statement: &StatementText) -> Result<(), Stop> {
        let deadline = self.deadline();
        let preparing = self.session.prepare(statement, &[]);
        let prepared = guard(self.reader, &mut self.signals, deadline, preparing).await??;
        if !prepared.parameters().is_empty() {
            return Err(Diagnostic::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1")
                .with_hint("Parameters need the extended query protocol.")
                .into());
        }
        let executing = self.session.execute(&prepared, Vec::new());
        match guard(self.reader, &mut self.signals, deadline, executing).await?? {
            Execution::Command { tag } => {
                self.report_notices();
                self.output.put(&CommandComplete::new(tag));
            }
            Execution::Rows { schema, rows, tag } => {
                let formats = types::default_formats(schema.fields().len(), prepared.is_binary());
                self.output.put(&types::row_description(&schema, &formats)?);
                let mut running = Running::new(&schema, &formats, &self.style, rows, tag)?;
                let streamed = self.stream(&mut running, u64::MAX, deadline).await?;
                if let Streamed::All { rows } = streamed {
                    self.report_notices();
                    self.output.put(&CommandComplete::new(running.tag(rows)));
                }
            }
        }
        if prepared.ends_transaction() {
            self.portals.clear();
        }
        Ok(())
    }
}
