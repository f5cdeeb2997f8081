//! How sqllogictest speaks to the server: the simple query protocol.
//!
//! Besides SQL, a statement may be one of two controls, which the driver carries
//! out itself so that the server needs nothing that only tests use:
//!
//! * `await job NAME` waits until `tm_catalog.jobs` says that the job has
//!   finished, and fails when the job did or after a minute;
//! * `columns of QUERY` answers one row per result column, name and type, as the
//!   extended protocol's Describe gives them.
//!
//! `{data}` in a statement stands for the directory of the input files.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::disturb::{Disturbance, Disturber};
use crate::server::{StartError, data_directory};

/// How long `await job` waits.
const JOB_PATIENCE: Duration = Duration::from_secs(60);
/// How often it looks.
const JOB_POLL: Duration = Duration::from_millis(50);

/// One connection, inside its file's schema.
#[derive(Debug)]
pub struct Driver {
    client: Client,
    schema: String,
    disturber: Option<Disturber>,
    /// SET statements of the file, to be repeated on a new connection.
    settings: Vec<String>,
    /// Between BEGIN and its end: nothing is disturbed there, because a transaction
    /// does not outlive its server.
    in_transaction: bool,
}

/// What a statement can fail with.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Rendered so that a pattern can ask for each part:
    /// `42601: syntax error at or near "FORM" [at 10] [hint: ...]`.
    #[error("{}", render(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("job {0}: {1}")]
    Job(String, String),
    #[error("after it was killed: {0}")]
    Restart(#[from] StartError),
}

fn render(error: &tokio_postgres::Error) -> String {
    let Some(db) = error.as_db_error() else { return format!("connection: {error}") };
    let mut text = format!("{}: {}", db.code().code(), db.message());
    if let Some(detail) = db.detail() {
        text += &format!(" [detail: {detail}]");
    }
    if let Some(tokio_postgres::error::ErrorPosition::Original(position)) = db.position() {
        text += &format!(" [at {position}]");
    }
    if let Some(hint) = db.hint() {
        text += &format!(" [hint: {hint}]");
    }
    text
}

impl Driver {
    /// Connects and enters `schema`, which exists already.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn connect(
        address: std::net::SocketAddr,
        schema: &str,
    ) -> Result<Driver, DriverError> {
        let (client, connection) = tokio_postgres::Config::new()
            .host(address.ip().to_string())
            .port(address.port())
            .user("tidemill")
            .dbname("tidemill")
            .application_name(schema)
            .connect(NoTls)
            .await?;
        tokio::spawn(connection);
        client.batch_execute(&format!("SET search_path TO {schema}")).await?;
        Ok(Driver {
            client,
            schema: schema.to_owned(),
            disturber: None,
            settings: Vec::new(),
            in_transaction: false,
        })
    }

    /// As [`Driver::connect`], to a server that is disturbed between statements.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn connect_disturbed(
        disturber: Disturber,
        schema: &str,
    ) -> Result<Driver, DriverError> {
        let address = disturber.server.lock().await.address();
        let mut driver = Driver::connect(address, schema).await?;
        driver.disturber = Some(disturber);
        Ok(driver)
    }

    /// The names of the schema's jobs in `state`, with their kinds.
    async fn jobs(&self, state: &str) -> Result<Vec<(String, String)>, DriverError> {
        let query = format!(
            "SELECT name, kind FROM tm_catalog.jobs WHERE state = '{state}' \
             AND name LIKE '{}.%' ORDER BY name",
            self.schema
        );
        let messages = self.client.simple_query(&query).await?;
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => Some((row.get(0)?.to_owned(), row.get(1)?.to_owned())),
            _ => None,
        };
        Ok(messages.iter().filter_map(row).collect())
    }

    async fn disturb(&mut self) -> Result<(), DriverError> {
        let Some(disturber) = self.disturber.clone() else { return Ok(()) };
        if self.in_transaction {
            return Ok(());
        }
        match disturber.next().await {
            Disturbance::None => Ok(()),
            Disturbance::Kill { threads } => {
                let finished = self.jobs("finished").await?;
                disturber.kill(threads).await?;
                let settings = std::mem::take(&mut self.settings);
                let schema = self.schema.clone();
                *self = Driver::connect_disturbed(disturber, &schema).await?;
                for setting in &settings {
                    self.client.batch_execute(setting).await?;
                }
                self.settings = settings;
                // What had ended may have to end again, from its last checkpoint on.
                for (name, _) in finished {
                    let name = name.trim_start_matches(&schema).trim_start_matches('.').to_owned();
                    self.await_job(&name).await?;
                }
                Ok(())
            }
            Disturbance::Rescale { choice, parallelism } => {
                let running = self.jobs("running").await?;
                let Some((name, kind)) = running.get(choice % running.len().max(1)) else {
                    return Ok(());
                };
                let sql = format!("ALTER {kind} {name} SET PARALLELISM = {parallelism}");
                Ok(self.client.batch_execute(&sql).await?)
            }
        }
    }

    /// Makes a schema for a file's objects.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create_schema(&self, schema: &str) -> Result<(), DriverError> {
        Ok(self.client.batch_execute(&format!("CREATE SCHEMA {schema}")).await?)
    }

    async fn await_job(&self, name: &str) -> Result<(), DriverError> {
        // Jobs of every schema are listed, with their schema where it is not `public`.
        let query = format!(
            "SELECT state, error FROM tm_catalog.jobs WHERE name = '{}.{name}'",
            self.schema
        );
        let deadline = Instant::now() + JOB_PATIENCE;
        loop {
            let messages = self.client.simple_query(&query).await?;
            let state = messages.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    Some((row.get(0).unwrap_or_default(), row.get(1).unwrap_or_default()))
                }
                _ => None,
            });
            let problem = match state {
                Some(("finished", _)) => return Ok(()),
                Some(("failed", why)) => format!("failed: {why}"),
                Some((state, _)) if Instant::now() > deadline => format!("still {state}"),
                None => "there is no such job".to_owned(),
                Some(_) => {
                    tokio::time::sleep(JOB_POLL).await;
                    continue;
                }
            };
            return Err(DriverError::Job(name.to_owned(), problem));
        }
    }

    async fn columns_of(&self, query: &str) -> Result<Vec<Vec<String>>, DriverError> {
        let statement = self.client.prepare(query).await?;
        let describe = |c: &tokio_postgres::Column| {
            vec![c.name().to_owned(), c.type_().name().replace(' ', "_")]
        };
        Ok(statement.columns().iter().map(describe).collect())
    }

    async fn query(&self, sql: &str) -> Result<DBOutput<DefaultColumnType>, DriverError> {
        let messages = self.client.simple_query(sql).await?;
        let mut width = None;
        let mut rows = Vec::new();
        let mut count = 0;
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(columns) => width = Some(columns.len()),
                SimpleQueryMessage::Row(row) => {
                    rows.push((0..row.len()).map(|i| cell(row.get(i))).collect());
                }
                SimpleQueryMessage::CommandComplete(n) => count = n,
                _ => {}
            }
        }
        Ok(match width {
            Some(width) => DBOutput::Rows { types: vec![DefaultColumnType::Any; width], rows },
            None => DBOutput::StatementComplete(count),
        })
    }
}

/// A value as the files write it.
fn cell(value: Option<&str>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some("") => "(empty)".to_owned(),
        Some(text) => text.to_owned(),
    }
}

#[async_trait]
impl AsyncDB for Driver {
    type Error = DriverError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Self::ColumnType>, Self::Error> {
        let sql = sql.replace("{data}", &data_directory().to_string_lossy());
        self.disturb().await?;
        let first = sql.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        match first.as_str() {
            "BEGIN" | "START" => self.in_transaction = true,
            "COMMIT" | "END" | "ROLLBACK" | "ABORT" => self.in_transaction = false,
            "SET" | "RESET" => self.settings.push(sql.clone()),
            _ => {}
        }
        if let Some(name) = sql.strip_prefix("await job ") {
            self.await_job(name.trim()).await?;
            return Ok(DBOutput::StatementComplete(0));
        }
        if let Some(query) = sql.strip_prefix("columns of ") {
            let rows = self.columns_of(query).await?;
            return Ok(DBOutput::Rows { types: vec![DefaultColumnType::Text; 2], rows });
        }
        self.query(&sql).await
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "tidemill"
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &Self::Error) -> Option<String> {
        match error {
            DriverError::Postgres(e) => e.code().map(|c| c.code().to_owned()),
            DriverError::Job(..) | DriverError::Restart(_) => None,
        }
    }
}
