//! The extended protocol: named statements and portals.
//!
//! A statement is prepared by Parse and lives until it is closed; a portal is a
//! statement with its parameters, made by Bind, and lives until it is closed or
//! its transaction ends. A portal that was stopped by a row limit keeps its
//! stream and the rest of its batch.
//!
//! The cursors of SQL are the session's, but their names are those of portals too:
//! a client may Describe and Close them here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant as Clock;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::scalar::ScalarValue;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete,
    PortalSuspended,
};
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse};
use tidemill_types::{Diagnostic, SqlState};

use super::connection::{Connection, Stop};
use super::interrupt::guard;
use super::message::Frontend;
use super::parameters;
use super::stream::{Running, Streamed};
use super::types::{self, Format};
use crate::session::api::{Execution, PreparedStatement};

/// Prepared statements of one connection.
const STATEMENTS_MAX: usize = 10_000;
/// Open portals of one connection.
const PORTALS_MAX: usize = 1_000;

/// What Parse made.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// `None`: an empty query string.
    plan: Option<Arc<dyn PreparedStatement>>,
    /// The type of each parameter as the client is told it.
    oids: Vec<u32>,
}

/// What Bind made.
#[derive(Debug)]
pub struct Portal {
    plan: Option<Arc<dyn PreparedStatement>>,
    /// Per result column.
    formats: Vec<Format>,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    Bound(Vec<ScalarValue>),
    Running(Box<Running>),
    /// All rows have been sent; executed again, it gives none.
    Exhausted(String),
    /// A command has run; it does not run twice.
    Finished,
}

/// How one Execute ended well.
enum Executed {
    Completed(String),
    Suspended,
    Empty,
}

impl Connection<'_> {
    /// One message between Syncs.
    pub(super) async fn extended(&mut self, message: Frontend) -> Result<(), Stop> {
        match message {
            Frontend::Parse(parse) => self.parse(parse).await,
            Frontend::Bind(bind) => self.bind(bind),
            Frontend::Describe(describe) => self.describe(describe),
            Frontend::Execute(execute) => self.execute(execute).await,
            Frontend::Close(close) => self.close(close),
            // The main loop has taken all others.
            _ => {
                let flushing = self.output.flush();
                guard(self.reader, &mut self.signals, None, flushing).await??;
                Ok(())
            }
        }
    }

    async fn parse(&mut self, parse: Parse) -> Result<(), Stop> {
        let name = parse.name.unwrap_or_default();
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(Diagnostic::new(
                SqlState::DUPLICATE_PREPARED_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            )
            .into());
        }
        limit(&self.statements, &name, STATEMENTS_MAX, "prepared statements")?;
        let prepared = self.prepare(&parse.query, &parse.type_oids).await?;
        self.statements.insert(name, prepared);
        self.output.put(&ParseComplete::new());
        Ok(())
    }

    async fn prepare(&mut self, query: &str, oids: &[u32]) -> Result<Prepared, Stop> {
        let declared: Vec<Option<DataType>> =
            oids.iter().map(|oid| types::parameter_type(*oid)).collect::<Result<_, _>>()?;
        let statements = self.session.split(query)?;
        let statement = match statements.as_slice() {
            [] => return Ok(Prepared { plan: None, oids: Vec::new() }),
            [statement] => statement,
            _ => {
                return Err(Diagnostic::new(
                    SqlState::SYNTAX_ERROR,
                    "cannot insert multiple commands into a prepared statement",
                )
                .into());
            }
        };
        let deadline = self.deadline();
        let preparing = self.session.prepare(statement, &declared);
        let plan = guard(self.reader, &mut self.signals, deadline, preparing).await??;
        let oids = parameter_oids(plan.parameters(), oids)?;
        Ok(Prepared { plan: Some(plan), oids })
    }

    fn bind(&mut self, bind: Bind) -> Result<(), Stop> {
        let name = bind.portal_name.unwrap_or_default();
        let taken = self.portals.contains_key(&name) || self.session.cursor(&name).is_some();
        if !name.is_empty() && taken {
            return Err(Diagnostic::new(
                SqlState::DUPLICATE_CURSOR,
                format!("portal \"{name}\" already exists"),
            )
            .into());
        }
        limit(&self.portals, &name, PORTALS_MAX, "portals")?;
        let prepared = self.prepared(bind.statement_name.as_deref().unwrap_or_default())?;
        let (values, formats) = match &prepared.plan {
            Some(plan) => {
                let values = parameters::decode(
                    plan.parameters(),
                    &prepared.oids,
                    &bind.parameter_format_codes,
                    &bind.parameters,
                    &self.style,
                )?;
                let columns = plan.columns().map_or(0, |schema| schema.fields().len());
                (values, types::formats(&bind.result_column_format_codes, columns)?)
            }
            None => (Vec::new(), Vec::new()),
        };
        let plan = prepared.plan.clone();
        self.portals.insert(name, Portal { plan, formats, progress: Progress::Bound(values) });
        self.output.put(&BindComplete::new());
        Ok(())
    }

    fn describe(&mut self, describe: Describe) -> Result<(), Stop> {
        let name = describe.name.unwrap_or_default();
        let (columns, formats) = if describe.target_type == b'S' {
            let prepared = self.prepared(&name)?.clone();
            self.output.put(&ParameterDescription::new(prepared.oids));
            (columns(prepared.plan.as_ref()), Vec::new())
        } else if let Some(portal) = self.portals.get(&name) {
            (columns(portal.plan.as_ref()), portal.formats.clone())
        } else {
            let cursor = self.session.cursor(&name).ok_or_else(|| no_portal(&name))?;
            let formats = types::default_formats(cursor.columns.fields().len(), cursor.binary);
            (Some(cursor.columns), formats)
        };
        match columns {
            Some(schema) => self.output.put(&types::row_description(&schema, &formats)?),
            None => self.output.put(&NoData::new()),
        }
        Ok(())
    }

    async fn execute(&mut self, execute: Execute) -> Result<(), Stop> {
        let name = execute.name.unwrap_or_default();
        let Some(mut portal) = self.portals.remove(&name) else {
            return Err(match self.session.cursor(&name) {
                Some(_) => not_a_portal(&name).into(),
                None => no_portal(&name).into(),
            });
        };
        // Zero is no limit, and so is less.
        let rows_max = u64::try_from(execute.max_rows).ok().filter(|n| *n > 0);
        let started = Clock::now();
        let executed = self.advance(&mut portal, rows_max.unwrap_or(u64::MAX)).await;
        let (executed, done) = match executed {
            Ok(executed) => (Some(executed), Ok(())),
            Err(stop) => (None, Err(stop)),
        };
        self.observe(started, &done);
        done?;
        self.report_notices();
        match executed {
            Some(Executed::Completed(tag)) => self.output.put(&CommandComplete::new(tag)),
            Some(Executed::Suspended) => self.output.put(&PortalSuspended::new()),
            Some(Executed::Empty) | None => self.output.put(&EmptyQueryResponse::new()),
        }
        if portal.plan.as_ref().is_some_and(|plan| plan.ends_transaction()) {
            self.portals.clear();
        } else {
            self.portals.insert(name, portal);
        }
        Ok(())
    }

    /// Runs a portal, or runs it on.
    async fn advance(&mut self, portal: &mut Portal, rows_max: u64) -> Result<Executed, Stop> {
        let Some(plan) = &portal.plan else { return Ok(Executed::Empty) };
        let deadline = self.deadline();
        let mut running = match std::mem::replace(&mut portal.progress, Progress::Finished) {
            Progress::Running(running) => running,
            Progress::Exhausted(tag) => {
                portal.progress = Progress::Exhausted(tag.clone());
                return Ok(Executed::Completed(tag));
            }
            Progress::Finished => {
                return Err(Diagnostic::new(
                    SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    "the portal cannot be run again",
                )
                .into());
            }
            Progress::Bound(values) => {
                let executing = self.session.execute(plan, values);
                match guard(self.reader, &mut self.signals, deadline, executing).await?? {
                    Execution::Command { tag } => return Ok(Executed::Completed(tag)),
                    Execution::Rows { schema, rows, tag } => {
                        same_columns(plan.columns().map(Arc::as_ref), &schema)?;
                        let formats = &portal.formats;
                        Box::new(Running::new(&schema, formats, &self.style, rows, tag)?)
                    }
                }
            }
        };
        match self.stream(&mut running, rows_max, deadline).await? {
            Streamed::All { rows } => {
                portal.progress = Progress::Exhausted(running.tag(0));
                Ok(Executed::Completed(running.tag(rows)))
            }
            Streamed::Suspended => {
                portal.progress = Progress::Running(running);
                Ok(Executed::Suspended)
            }
        }
    }

    /// Closing what does not exist is no error.
    fn close(&mut self, close: Close) -> Result<(), Stop> {
        let name = close.name.unwrap_or_default();
        if close.target_type == b'S' {
            self.statements.remove(&name);
        } else {
            self.portals.remove(&name);
            self.session.close_cursor(&name);
        }
        self.output.put(&CloseComplete::new());
        Ok(())
    }

    fn prepared(&self, name: &str) -> Result<&Prepared, Diagnostic> {
        self.statements.get(name).ok_or_else(|| {
            let message = match name {
                "" => "unnamed prepared statement does not exist".to_owned(),
                _ => format!("prepared statement \"{name}\" does not exist"),
            };
            Diagnostic::new(SqlState::INVALID_SQL_STATEMENT_NAME, message)
        })
    }
}

fn no_portal(name: &str) -> Diagnostic {
    let message = format!("portal \"{name}\" does not exist");
    Diagnostic::new(SqlState::INVALID_CURSOR_NAME, message)
}

fn not_a_portal(name: &str) -> Diagnostic {
    let message = format!("the cursor \"{name}\" cannot be executed as a portal");
    Diagnostic::unsupported(message).with_hint("Send FETCH as a statement.")
}

fn columns(plan: Option<&Arc<dyn PreparedStatement>>) -> Option<SchemaRef> {
    plan.and_then(|plan| plan.columns().cloned())
}

fn limit<T>(
    entries: &HashMap<String, T>,
    name: &str,
    max: usize,
    what: &str,
) -> Result<(), Diagnostic> {
    if entries.len() < max || entries.contains_key(name) {
        return Ok(());
    }
    let message = format!("too many {what}");
    Err(Diagnostic::new(SqlState::INSUFFICIENT_RESOURCES, message)
        .with_detail(format!("A connection may have {max} of them."))
        .with_hint("Close those that are not needed any more."))
}

/// What the client is told of the parameters: its own declaration where it made
/// one, the inferred type elsewhere.
fn parameter_oids(inferred: &[DataType], declared: &[u32]) -> Result<Vec<u32>, Diagnostic> {
    let oid = |(index, data_type)| match declared.get(index) {
        Some(oid) if types::is_declaration(*oid) => Ok(*oid),
        _ => types::data_type_oid(data_type),
    };
    inferred.iter().enumerate().map(oid).collect()
}

/// The client was told the columns before the statement ran.
fn same_columns(
    described: Option<&arrow::datatypes::Schema>,
    actual: &arrow::datatypes::Schema,
) -> Result<(), Diagnostic> {
    let oids = |schema: &arrow::datatypes::Schema| {
        schema.fields().iter().map(|f| types::field_oid(f)).collect::<Result<Vec<_>, _>>()
    };
    match described {
        Some(described) if oids(described)? == oids(actual)? => Ok(()),
        _ => Err(Diagnostic::unsupported("cached plan must not change result type")),
    }
}
