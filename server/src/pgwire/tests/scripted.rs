//! A session whose statements say what shall happen, for tests of the wire.
//!
//! `rows N` gives N rows, `endless` rows without end, `sleep` nothing, `fail` an
//! error, `panic` a panic, `notice` a notice, `param` its parameter `$1`,
//! `begin`, `commit` and `set timeout MS` what they say; `cursor NAME [binary]` opens
//! a cursor, and `rows N binary` gives binary values.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::scalar::ScalarValue;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use tidemill_types::{Diagnostic, SqlState};

use crate::session::api::{
    CursorShape, Execution, PreparedStatement, Session, SessionFactory, SessionStart,
    StatementText, TransactionStatus,
};

/// Rows of a batch.
pub const BATCH: usize = 1000;

/// What the sessions of a server did.
#[derive(Debug, Default)]
pub struct Journal {
    /// Batches that were taken from streams.
    pub batches: AtomicUsize,
    /// Statements and streams that run.
    pub running: AtomicUsize,
    /// Implicit transactions that were begun and ended.
    pub begun: AtomicUsize,
    pub ended: AtomicUsize,
}

/// Counts what runs while it lives.
struct Runs(Arc<Journal>);

impl Runs {
    fn start(journal: &Arc<Journal>) -> Self {
        journal.running.fetch_add(1, Ordering::SeqCst);
        Runs(journal.clone())
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Debug, Default)]
pub struct Factory(pub Arc<Journal>);

impl SessionFactory for Factory {
    fn open(&self, start: SessionStart) -> Result<Box<dyn Session>, Diagnostic> {
        if start.user == "nobody" {
            let message = "role \"nobody\" does not exist";
            return Err(Diagnostic::new(SqlState::INVALID_AUTHORIZATION, message));
        }
        Ok(Box::new(Scripted {
            journal: self.0.clone(),
            start,
            status: TransactionStatus::Idle,
            notices: Vec::new(),
            told: false,
            timeout: None,
            cursors: HashMap::new(),
        }))
    }
}

struct Scripted {
    journal: Arc<Journal>,
    start: SessionStart,
    status: TransactionStatus,
    notices: Vec<Diagnostic>,
    told: bool,
    timeout: Option<Duration>,
    /// Names, and whether they are binary.
    cursors: HashMap<String, bool>,
}

#[derive(Debug)]
struct Script {
    text: String,
    parameters: Vec<DataType>,
    columns: Option<SchemaRef>,
}

impl PreparedStatement for Script {
    fn parameters(&self) -> &[DataType] {
        &self.parameters
    }

    fn columns(&self) -> Option<&SchemaRef> {
        self.columns.as_ref()
    }

    fn is_binary(&self) -> bool {
        self.text.ends_with("binary")
    }

    fn ends_transaction(&self) -> bool {
        self.text == "commit"
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn row_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("t", DataType::Utf8View, true),
    ]))
}

fn batch(start: usize, rows: usize) -> RecordBatch {
    let numbers = Int64Array::from_iter_values((start..start + rows).map(|n| n as i64));
    let texts = (start..start + rows).map(|n| (n % 10 != 0).then(|| format!("row {n}")));
    let texts = StringViewArray::from_iter(texts);
    RecordBatch::try_new(row_schema(), vec![Arc::new(numbers), Arc::new(texts)]).unwrap()
}

impl Scripted {
    fn rows(&self, total: usize) -> BoxStream<'static, Result<RecordBatch, Diagnostic>> {
        let (journal, runs) = (self.journal.clone(), Runs::start(&self.journal));
        let batches = (0..total).step_by(BATCH).map(move |start| {
            let _alive = &runs;
            journal.batches.fetch_add(1, Ordering::SeqCst);
            Ok(batch(start, BATCH.min(total - start)))
        });
        stream::iter(batches).boxed()
    }

    async fn run(&mut self, text: &str, values: Vec<ScalarValue>) -> Result<Execution, Diagnostic> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let rows = |rows| Ok(Execution::Rows { schema: row_schema(), rows, tag: "SELECT" });
        match words[..] {
            ["rows", count] | ["rows", count, "binary"] => rows(self.rows(count.parse().unwrap())),
            ["endless"] => rows(self.rows(usize::MAX / 2)),
            ["rows_then_fail"] => {
                let failure = Diagnostic::new(SqlState::DIVISION_BY_ZERO, "division by zero");
                rows(self.rows(3).chain(stream::iter([Err(failure)])).boxed())
            }
            ["rows_then_wait"] => {
                let runs = Runs::start(&self.journal);
                let wait = stream::once(async move {
                    let _runs = runs;
                    std::future::pending().await
                });
                rows(self.rows(3).chain(wait).boxed())
            }
            ["sleep"] => {
                let _runs = Runs::start(&self.journal);
                std::future::pending().await
            }
            ["panic"] => panic!("as the script says"),
            ["fail"] => Err(Diagnostic::new(SqlState::UNDEFINED_COLUMN, "no \0 column x")
                .with_detail("a detail")
                .with_hint("a hint")
                .at(8)),
            ["notice"] => {
                self.notices.push(Diagnostic::new(SqlState::WARNING, "beware"));
                self.notices.push(Diagnostic::new(SqlState::SUCCESS, "by the way"));
                Ok(Execution::Command { tag: "NOTICE".into() })
            }
            ["param"] => {
                let schema = Arc::new(Schema::new(vec![Field::new("p", DataType::Int64, true)]));
                let array = values[0].to_array_of_size(1).unwrap();
                let batch = RecordBatch::try_new(schema.clone(), vec![array]).unwrap();
                Ok(Execution::Rows {
                    schema,
                    rows: stream::iter([Ok(batch)]).boxed(),
                    tag: "SELECT",
                })
            }
            ["set", "timeout", milliseconds] => {
                self.timeout = Some(Duration::from_millis(milliseconds.parse().unwrap()));
                Ok(Execution::Command { tag: "SET".into() })
            }
            ["cursor", name] | ["cursor", name, "binary"] => {
                self.cursors.insert(name.to_owned(), words.len() == 3);
                Ok(Execution::Command { tag: "DECLARE CURSOR".into() })
            }
            ["begin"] => {
                self.status = TransactionStatus::InTransaction;
                Ok(Execution::Command { tag: "BEGIN".into() })
            }
            ["commit"] => {
                self.status = TransactionStatus::Idle;
                Ok(Execution::Command { tag: "COMMIT".into() })
            }
            _ => Ok(Execution::Command { tag: text.to_uppercase() }),
        }
    }
}

impl Session for Scripted {
    fn split(&self, query: &str) -> Result<Vec<StatementText>, Diagnostic> {
        let source: Arc<str> = query.into();
        let mut start = 0;
        let mut statements = Vec::new();
        for part in query.split(';') {
            let range = start..start + part.len();
            start = range.end + 1;
            if !part.trim().is_empty() {
                statements.push(StatementText { source: source.clone(), range });
            }
        }
        Ok(statements)
    }

    fn prepare<'a>(
        &'a mut self,
        statement: &'a StatementText,
        declared: &'a [Option<DataType>],
    ) -> BoxFuture<'a, Result<Arc<dyn PreparedStatement>, Diagnostic>> {
        let text = statement.text().trim().to_owned();
        if text == "selec" {
            let error = Diagnostic::new(SqlState::SYNTAX_ERROR, "syntax error").at(1);
            return async { Err(error) }.boxed();
        }
        let declared = declared.first().cloned().flatten();
        let parameter = (text == "param").then(|| declared.unwrap_or(DataType::Int64));
        let columns = match text.split_whitespace().next() {
            Some("rows" | "endless" | "rows_then_fail" | "rows_then_wait") => Some(row_schema()),
            Some("param") => {
                Some(Arc::new(Schema::new(vec![Field::new("p", DataType::Int64, true)])))
            }
            _ => None,
        };
        let script = Script { text, parameters: parameter.into_iter().collect(), columns };
        async { Ok(Arc::new(script) as Arc<dyn PreparedStatement>) }.boxed()
    }

    fn execute<'a>(
        &'a mut self,
        statement: &'a Arc<dyn PreparedStatement>,
        parameters: Vec<ScalarValue>,
    ) -> BoxFuture<'a, Result<Execution, Diagnostic>> {
        let script: &Script = statement.as_any().downcast_ref().unwrap();
        if self.status == TransactionStatus::Failed && !script.ends_transaction() {
            let message = "current transaction is aborted";
            let error = Diagnostic::new(SqlState::IN_FAILED_SQL_TRANSACTION, message);
            return async { Err(error) }.boxed();
        }
        self.run(&script.text, parameters).boxed()
    }

    fn fail_transaction(&mut self) {
        if self.status == TransactionStatus::InTransaction {
            self.status = TransactionStatus::Failed;
        }
    }

    fn begin_implicit(&mut self) {
        self.journal.begun.fetch_add(1, Ordering::SeqCst);
    }

    fn end_implicit(&mut self) {
        self.journal.ended.fetch_add(1, Ordering::SeqCst);
    }

    fn transaction_status(&self) -> TransactionStatus {
        self.status
    }

    fn cursor(&self, name: &str) -> Option<CursorShape> {
        let binary = self.cursors.get(name)?;
        Some(CursorShape { columns: row_schema(), binary: *binary })
    }

    fn close_cursor(&mut self, name: &str) {
        self.cursors.remove(name);
    }

    fn take_notices(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.notices)
    }

    fn take_parameter_changes(&mut self) -> Vec<(&'static str, String)> {
        if std::mem::replace(&mut self.told, true) {
            return Vec::new();
        }
        let mut settings = vec![
            ("server_version", "15.18".to_owned()),
            ("client_encoding", "UTF8".to_owned()),
            ("TimeZone", "UTC".to_owned()),
        ];
        let named = self.start.settings.iter().find(|(name, _)| name == "application_name");
        settings.extend(named.map(|(_, value)| ("application_name", value.clone())));
        settings
    }

    fn statement_timeout(&self) -> Option<Duration> {
        self.timeout
    }
}
