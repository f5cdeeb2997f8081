//! Sessions over a real engine, without the wire.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use tidemill_connectors::{ConnectorConfig, Connectors};
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::{Engine, EngineConfig, RestartStrategy};
use tidemill_storage::ViewStore;
use tidemill_types::Diagnostic;

use super::api::{Execution, Session, SessionFactory, SessionStart, TransactionStatus};
use super::job::stored::{plan_again, without_plan};
use super::{Sessions, Shared};
use crate::catalog::record::JobDefinition;
use crate::catalog::{Catalog, job_of};
use crate::durable::ledger::Ledger;
use crate::serve::{QueryLimits, QueryRuntime};

/// A server without sockets.
struct Fixture {
    shared: Arc<Shared>,
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let roots = vec![directory.path().to_path_buf()];
        let connectors = Connectors::new(&ConnectorConfig { file_roots: roots });
        let limits = QueryLimits { threads: 2, memory_bytes: 64 << 20 };
        let queries = QueryRuntime::start(limits).unwrap();
        let views = Arc::new(ViewStore::new());
        let config = EngineConfig {
            workers: 2,
            batch_rows: 100,
            tick: Duration::from_millis(10),
            restart: RestartStrategy::None,
        };
        let functions = tidemill_planner::functions::planning_state("UTC").task_ctx();
        let engine = Engine::start(
            config,
            connectors.clone(),
            functions,
            Arc::clone(&views),
            Arc::new(SystemClock),
            None,
        )
        .unwrap();
        let shared = Shared::new(
            Catalog::in_memory(),
            Ledger::default(),
            engine,
            views,
            connectors,
            queries,
        );
        Fixture { shared: Arc::new(shared), directory }
    }

    fn session(&self) -> Client {
        let start = SessionStart {
            user: "ada".to_owned(),
            database: "tidemill".to_owned(),
            settings: vec![("TimeZone".to_owned(), "Europe/Berlin".to_owned())],
            backend_pid: 42,
        };
        Client(Sessions::new(Arc::clone(&self.shared)).open(start).unwrap())
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path.display().to_string()
    }

    /// Waits until a job says so.
    async fn until(&self, client: &mut Client, name: &str, state: &str) {
        for _ in 0..500 {
            let query = format!("SELECT state FROM tm_catalog.jobs WHERE name = '{name}'");
            if client.rows(&query).await.unwrap() == [[state]] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{name} is not {state}: {:?}", client.rows("SHOW JOBS").await);
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shared.engine.stop();
    }
}

struct Client(Box<dyn Session>);

type Row = Vec<String>;

impl Client {
    async fn execute(
        &mut self,
        sql: &str,
        parameters: Vec<ScalarValue>,
    ) -> Result<Execution, Diagnostic> {
        let statements = self.0.split(sql)?;
        let [statement] = statements.as_slice() else { panic!("one statement: {sql}") };
        let prepared = self.0.prepare(statement, &[]).await?;
        self.0.execute(&prepared, parameters).await
    }

    async fn command(&mut self, sql: &str) -> Result<String, Diagnostic> {
        match self.execute(sql, Vec::new()).await? {
            Execution::Command { tag } => Ok(tag),
            Execution::Rows { .. } => panic!("{sql} gives rows"),
        }
    }

    async fn rows_with(
        &mut self,
        sql: &str,
        parameters: Vec<ScalarValue>,
    ) -> Result<Vec<Row>, Diagnostic> {
        match self.execute(sql, parameters).await? {
            Execution::Command { tag } => panic!("{sql} gives no rows but {tag}"),
            Execution::Rows { schema, mut rows, .. } => {
                let mut all = Vec::new();
                while let Some(batch) = rows.next().await {
                    let batch = batch?;
                    assert_eq!(batch.num_columns(), schema.fields().len());
                    all.extend((0..batch.num_rows()).map(|row| shown(&batch, row)));
                }
                Ok(all)
            }
        }
    }

    async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, Diagnostic> {
        self.rows_with(sql, Vec::new()).await
    }

    async fn state_of(&mut self, sql: &str) -> &'static str {
        match self.execute(sql, Vec::new()).await {
            Err(diagnostic) => diagnostic.state.code(),
            Ok(Execution::Rows { mut rows, .. }) => {
                while let Some(batch) = rows.next().await {
                    if let Err(diagnostic) = batch {
                        return diagnostic.state.code();
                    }
                }
                "00000"
            }
            Ok(Execution::Command { .. }) => "00000",
        }
    }
}

fn shown(batch: &RecordBatch, row: usize) -> Row {
    let value = |c: &arrow::array::ArrayRef| array_value_to_string(c, row).unwrap();
    batch.columns().iter().map(value).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_without_relations() {
    let fixture = Fixture::new();
    let mut c = fixture.session();
    assert_eq!(c.rows("SELECT 1 AS a, 'x' AS b").await.unwrap(), [["1", "x"]]);
    let identity = "SELECT current_user, current_database(), current_schema(), pg_backend_pid()";
    assert_eq!(c.rows(identity).await.unwrap(), [["ada", "tidemill", "public", "42"]]);
    assert!(
        c.rows("SELECT pg_catalog.version()").await.unwrap()[0][0].starts_with("PostgreSQL 15")
    );
    let parameters = vec![ScalarValue::Int64(Some(20))];
    let sum = c.rows_with("SELECT $1::bigint + 1", parameters).await.unwrap();
    assert_eq!(sum, [["21"]]);
    for (sql, state) in [
        ("SELECT 1 / 0", "22012"),
        ("SELECT CAST('abc' AS bigint)", "22P02"),
        ("SELECT * FROM nowhere", "42P01"),
        ("SELEC 1", "42601"),
        ("SELECT nope", "42703"),
        ("SELECT 9223372036854775807 + x FROM (VALUES (1::bigint)) AS t(x)", "22003"),
    ] {
        assert_eq!(c.state_of(sql).await, state, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_over_a_file_is_created_read_and_dropped() {
    let fixture = Fixture::new();
    let mut c = fixture.session();
    let lines: String = (0..1000).map(|i| format!("{},{i}\n", i % 10)).collect();
    let lines = format!("k,v\n{lines}");
    let path = fixture.file("t.csv", &lines);
    let source = format!(
        "CREATE SOURCE t (k bigint, v bigint, twice bigint GENERATED ALWAYS AS (v * 2) STORED) \
         WITH (connector = 'file', path = '{path}') FORMAT PLAIN ENCODE CSV"
    );
    assert_eq!(c.command(&source).await.unwrap(), "CREATE SOURCE");
    let total = c.rows("SELECT count(*), sum(twice), min(v) FROM t WHERE k < 5").await.unwrap();
    assert_eq!(total, [["500", "497000", "0"]]);
    let view =
        "CREATE MATERIALIZED VIEW m AS SELECT k, count(*) AS n, sum(v) AS s FROM t GROUP BY k";
    assert_eq!(c.command(view).await.unwrap(), "CREATE MATERIALIZED VIEW");
    fixture.until(&mut c, "m", "finished").await;
    let got = c.rows("SELECT k, n, s FROM m WHERE k >= 8 ORDER BY k").await.unwrap();
    assert_eq!(got, [["8", "100", "50300"], ["9", "100", "50400"]]);
    assert_eq!(c.rows("SELECT count(*) FROM m").await.unwrap(), [["10"]]);
    let read = "SELECT rows_read, rows_in, rejected_rows FROM tm_catalog.jobs";
    assert_eq!(c.rows(read).await.unwrap(), [["1000", "1000", "0"]]);
    assert_eq!(
        c.rows("SELECT source, \"offset\", ended FROM tm_catalog.splits").await.unwrap(),
        [["t", "1000", "true"]]
    );
    assert_eq!(c.state_of(view).await, "42P07");
    assert_eq!(c.state_of("DROP SOURCE t").await, "2BP01");
    assert_eq!(c.command("DROP SOURCE t CASCADE").await.unwrap(), "DROP SOURCE");
    assert!(c.0.take_notices().iter().any(|n| n.message.contains("drop cascades")));
    assert_eq!(c.state_of("SELECT * FROM m").await, "42P01");
    assert!(c.rows("SELECT id FROM tm_catalog.jobs").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_creation_leaves_nothing() {
    let fixture = Fixture::new();
    let mut c = fixture.session();
    let path = fixture.file("bad.csv", "v\n1\nx\n");
    let source = format!(
        "CREATE SOURCE bad (v bigint) WITH (connector = 'file', path = '{path}', on_error = 'fail') \
         FORMAT PLAIN ENCODE CSV"
    );
    c.command(&source).await.unwrap();
    assert_eq!(c.state_of("SELECT * FROM bad").await, "22P04");
    let view = "CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM bad";
    match c.command(view).await {
        // The failure may come before or after the first visible epoch.
        Err(diagnostic) => {
            assert_eq!(diagnostic.state.code(), "22P04");
            assert_eq!(c.state_of("SELECT * FROM m").await, "42P01");
            assert!(c.rows("SHOW JOBS").await.unwrap().is_empty());
        }
        Ok(_) => {
            fixture.until(&mut c, "m", "failed").await;
            c.command("DROP MATERIALIZED VIEW m").await.unwrap();
        }
    }
    assert_eq!(c.command("DROP SOURCE bad").await.unwrap(), "DROP SOURCE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_follow_postgresql() {
    let fixture = Fixture::new();
    let mut c = fixture.session();
    c.0.take_notices();
    assert_eq!(c.command("COMMIT").await.unwrap(), "COMMIT");
    assert_eq!(c.0.take_notices()[0].message, "there is no transaction in progress");
    assert_eq!(c.command("BEGIN ISOLATION LEVEL SERIALIZABLE").await.unwrap(), "BEGIN");
    assert_eq!(c.rows("SHOW transaction_isolation").await.unwrap(), [["serializable"]]);
    let create = "CREATE SCHEMA s";
    assert_eq!(c.state_of(create).await, "25001");
    assert_eq!(c.0.transaction_status(), TransactionStatus::Failed);
    assert_eq!(c.state_of("SELECT 1").await, "25P02");
    assert_eq!(c.command("COMMIT").await.unwrap(), "ROLLBACK");
    assert_eq!(c.0.transaction_status(), TransactionStatus::Idle);
    assert_eq!(c.command(create).await.unwrap(), "CREATE SCHEMA");
    assert_eq!(c.rows("SHOW transaction_isolation").await.unwrap(), [["repeatable read"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_reads_one_epoch_of_a_changing_view() {
    let fixture = Fixture::new();
    let mut c = fixture.session();
    c.command("CREATE SOURCE bids WITH (connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.rate = 20000)")
        .await
        .unwrap();
    c.command("CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM bids").await.unwrap();
    assert_eq!(c.state_of("SELECT * FROM bids").await, "0A000");
    let count = "SELECT n FROM n";
    let read = "SELECT sum(\"offset\") FROM tm_catalog.splits";
    let mut seen = Vec::new();
    for _ in 0..5 {
        c.command("BEGIN").await.unwrap();
        let first = c.rows(count).await.unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(c.rows(count).await.unwrap(), first, "the same epoch");
        assert_eq!(c.rows(read).await.unwrap(), first, "the input of that epoch");
        c.command("COMMIT").await.unwrap();
        seen.push(first);
    }
    seen.dedup();
    assert!(seen.len() > 1, "the view changes: {seen:?}");
    c.command("DROP MATERIALIZED VIEW n").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_query_survives_a_change_of_the_catalog() {
    let fixture = Fixture::new();
    let mut c = fixture.session();
    c.command("CREATE VIEW v AS SELECT 1::bigint AS a, 'x' AS b").await.unwrap();
    let statement = c.0.split("SELECT a FROM v WHERE a = $1").unwrap().remove(0);
    let prepared = c.0.prepare(&statement, &[]).await.unwrap();
    assert_eq!(prepared.parameters(), [DataType::Int64]);
    c.command("CREATE OR REPLACE VIEW v AS SELECT 1::bigint AS a, 'y' AS b, 2 AS c").await.unwrap();
    let one = vec![ScalarValue::Int64(Some(1))];
    assert!(c.0.execute(&prepared, one.clone()).await.is_ok());
    c.command("DROP VIEW v").await.unwrap();
    let gone = c.0.execute(&prepared, one).await.unwrap_err();
    assert_eq!(gone.state.code(), "42P01");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_show_and_describe() {
    let fixture = Fixture::new();
    let mut c = fixture.session();
    assert_eq!(c.rows("SHOW TimeZone").await.unwrap(), [["UTC"]]);
    assert!(c.0.take_notices()[0].message.contains("Europe/Berlin"));
    c.command("CREATE SCHEMA s").await.unwrap();
    c.command("SET search_path TO s").await.unwrap();
    c.command("CREATE VIEW v AS SELECT 1 AS a").await.unwrap();
    assert_eq!(c.rows("SHOW VIEWS").await.unwrap(), [["s", "v"]]);
    c.command("SET search_path TO public").await.unwrap();
    assert_eq!(c.rows("SELECT a FROM s.v").await.unwrap(), [["1"]]);
    assert_eq!(c.rows("DESCRIBE s.v").await.unwrap()[0][..2], ["a", "integer"]);
    assert_eq!(
        c.rows("SHOW CREATE VIEW s.v").await.unwrap(),
        [["s.v", "CREATE VIEW v AS SELECT 1 AS a"]]
    );
    assert_eq!(c.state_of("SHOW no_such_setting").await, "42704");
    assert!(
        c.rows("SHOW CONNECTORS").await.unwrap().contains(&vec!["nexmark".into(), "source".into()])
    );
    assert!(!c.rows("SHOW OPTIONS FOR CONNECTOR nexmark").await.unwrap().is_empty());
    c.command("SET statement_timeout = '2s'").await.unwrap();
    assert_eq!(c.0.statement_timeout(), Some(Duration::from_secs(2)));
    assert_eq!(c.command("DROP SCHEMA s CASCADE").await.unwrap(), "DROP SCHEMA");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn insert_into_a_declared_target_starts_a_job() {
    let fixture = Fixture::new();
    let mut c = fixture.session();
    let path = fixture.file("t.csv", "v\n1\n2\n3\n");
    c.command(&format!(
        "CREATE SOURCE t (v bigint) WITH (connector = 'file', path = '{path}') FORMAT PLAIN ENCODE CSV"
    ))
    .await
    .unwrap();
    let target = "CREATE TABLE sink (v integer) WITH ('connector' = 'blackhole')";
    assert_eq!(c.command(target).await.unwrap(), "CREATE TABLE");
    let insert = "INSERT INTO sink SELECT v FROM t";
    assert_eq!(c.command(insert).await.unwrap(), "INSERT 0 0");
    fixture.until(&mut c, "sink", "finished").await;
    assert_eq!(c.rows("SELECT rows_out FROM tm_catalog.jobs").await.unwrap(), [["3"]]);
    assert_eq!(c.state_of(insert).await, "55000");
    assert_eq!(c.state_of("DROP SOURCE t").await, "2BP01");
    c.command("DROP SINK sink").await.unwrap();
    assert!(c.rows("SHOW JOBS").await.unwrap().is_empty());
}

/// A stream that is dropped half-way releases its epoch; a session goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_stream_stops_its_query() {
    let fixture = Fixture::new();
    let mut c = fixture.session();
    c.command("CREATE SOURCE bids WITH (connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = 5000000)")
        .await
        .unwrap();
    let Execution::Rows { mut rows, .. } =
        c.execute("SELECT auction, price, channel FROM bids", Vec::new()).await.unwrap()
    else {
        panic!("rows")
    };
    assert!(rows.next().await.unwrap().unwrap().num_rows() > 0);
    drop(rows);
    assert_eq!(c.rows("SELECT 1").await.unwrap(), [["1"]]);
}

const BIDS: &str = "CREATE SOURCE bids WITH \
    (connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = 5000000)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_gives_rows_in_portions() {
    let fixture = Fixture::new();
    let mut c = fixture.session();
    let declare = "DECLARE c CURSOR FOR SELECT x FROM unnest(ARRAY[1, 2, 3, 4, 5, 6, 7]) AS t(x)";
    assert_eq!(c.state_of(declare).await, "25P01");
    c.command("BEGIN").await.unwrap();
    assert_eq!(c.command(declare).await.unwrap(), "DECLARE CURSOR");
    assert_eq!(c.rows("FETCH 0 FROM c").await.unwrap(), Vec::<Row>::new());
    assert_eq!(c.rows("FETCH c").await.unwrap(), [["1"]]);
    assert_eq!(c.rows("FETCH FORWARD 2 FROM c").await.unwrap(), [["2"], ["3"]]);
    assert_eq!(c.command("MOVE 0 IN c").await.unwrap(), "MOVE 1");
    assert_eq!(c.command("MOVE c").await.unwrap(), "MOVE 1");
    assert_eq!(c.rows("FETCH ABSOLUTE 6 FROM c").await.unwrap(), [["6"]]);
    // A result that is not read counts as given.
    drop(c.execute("FETCH 1 FROM c", Vec::new()).await.unwrap());
    assert_eq!(c.rows("FETCH ALL c").await.unwrap(), Vec::<Row>::new());
    assert_eq!(c.command("MOVE FORWARD ALL IN c").await.unwrap(), "MOVE 0");
    assert_eq!(c.command("CLOSE c").await.unwrap(), "CLOSE CURSOR");
    assert_eq!(c.command(declare).await.unwrap(), "DECLARE CURSOR");
    assert_eq!(c.command("MOVE 5 c").await.unwrap(), "MOVE 5");
    assert_eq!(c.rows("FETCH ALL FROM c").await.unwrap(), [["6"], ["7"]]);
    assert_eq!(c.command("CLOSE ALL").await.unwrap(), "CLOSE CURSOR ALL");
    assert_eq!(c.command("COMMIT").await.unwrap(), "COMMIT");
    assert_eq!(c.state_of("FETCH c").await, "34000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_are_refused_and_end_as_in_postgresql() {
    let fixture = Fixture::new();
    let mut c = fixture.session();
    for (sql, state, position) in [
        ("DECLARE c CURSOR FOR SELECT 1", "42P03", 9),
        ("FETCH 1 FROM other", "34000", 14),
        ("CLOSE other", "34000", 7),
        ("FETCH PRIOR FROM c", "55000", 0),
        ("MOVE BACKWARD ALL FROM c", "55000", 0),
        ("FETCH ABSOLUTE 1 FROM c", "55000", 0),
        ("DECLARE d CURSOR FOR SELECT nothing", "42703", 29),
    ] {
        c.command("BEGIN").await.unwrap();
        c.command("DECLARE c CURSOR FOR VALUES (1), (2)").await.unwrap();
        c.command("MOVE c").await.unwrap();
        let refused = c.execute(sql, Vec::new()).await.unwrap_err();
        assert_eq!(refused.state.code(), state, "{sql}");
        assert_eq!(refused.position.unwrap_or(0), position, "{sql}");
        assert_eq!(c.state_of("FETCH c").await, "25P02");
        c.command("ROLLBACK").await.unwrap();
    }
    // What was declared after a savepoint goes with it.
    c.command("BEGIN").await.unwrap();
    c.command("DECLARE before CURSOR FOR VALUES (1), (2)").await.unwrap();
    c.command("SAVEPOINT s").await.unwrap();
    c.command("DECLARE after CURSOR FOR VALUES (1), (2)").await.unwrap();
    c.command("SAVEPOINT t").await.unwrap();
    c.command("RELEASE t").await.unwrap();
    assert_eq!(c.state_of("SELECT 1 / 0").await, "22012");
    c.0.fail_transaction();
    c.command("ROLLBACK TO s").await.unwrap();
    assert_eq!(c.rows("FETCH before").await.unwrap(), [["1"]]);
    assert_eq!(c.state_of("FETCH after").await, "34000");
    c.command("ROLLBACK").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_a_cursor_s_query_comes_with_fetch() {
    let fixture = Fixture::new();
    let mut c = fixture.session();
    c.command("BEGIN").await.unwrap();
    c.command("SAVEPOINT s").await.unwrap();
    c.command("RELEASE s").await.unwrap();
    let query = "DECLARE c CURSOR FOR SELECT 10 / x FROM (VALUES (0)) AS t(x)";
    c.command(query).await.unwrap();
    c.command("SAVEPOINT s").await.unwrap();
    assert_eq!(c.state_of("FETCH c").await, "22012");
    c.0.fail_transaction();
    assert_eq!(c.0.transaction_status(), TransactionStatus::Failed);
    c.command("ROLLBACK TO s").await.unwrap();
    assert_eq!(c.state_of("FETCH c").await, "55000");
    c.command("ROLLBACK").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_takes_parameters_and_is_read_by_one_at_a_time() {
    let fixture = Fixture::new();
    let mut c = fixture.session();
    c.command(BIDS).await.unwrap();
    c.command("BEGIN").await.unwrap();
    let declare = "DECLARE c BINARY CURSOR FOR SELECT price FROM bids WHERE price > $1";
    let statement = c.0.split(declare).unwrap().remove(0);
    let prepared = c.0.prepare(&statement, &[]).await.unwrap();
    assert_eq!(prepared.parameters(), [DataType::Int64]);
    assert!(prepared.columns().is_none());
    c.0.execute(&prepared, vec![ScalarValue::Int64(Some(100))]).await.unwrap();
    let shape = c.0.cursor("c").unwrap();
    assert!(shape.binary && shape.columns.field(0).name() == "price");
    let fetch = c.0.split("FETCH 20000 FROM c").unwrap().remove(0);
    let fetch = c.0.prepare(&fetch, &[]).await.unwrap();
    assert!(fetch.is_binary() && fetch.columns().is_some());
    let Execution::Rows { mut rows, .. } = c.0.execute(&fetch, Vec::new()).await.unwrap() else {
        panic!("rows")
    };
    assert!(rows.next().await.unwrap().unwrap().num_rows() < 20000);
    assert_eq!(c.state_of("SAVEPOINT s").await, "00000");
    assert_eq!(c.state_of("FETCH c").await, "55000");
    drop(rows);
    c.command("ROLLBACK").await.unwrap();
    assert!(c.0.cursor("c").is_none());
}

/// A condition that is never true keeps its join from giving anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_that_gives_nothing_stops_when_dropped() {
    let fixture = Fixture::new();
    let mut c = fixture.session();
    c.command(&BIDS.replace("5000000", "300000")).await.unwrap();
    let joins = [
        "SELECT count(*) FROM bids a, bids b WHERE a.price + b.price < 0",
        "SELECT count(*) FROM bids a JOIN bids b ON a.price % 1 = b.price % 1 AND a.price + b.price < 0",
    ];
    let busy = || fixture.shared.queries.tasks();
    for join in joins {
        let Execution::Rows { mut rows, .. } = c.execute(join, Vec::new()).await.unwrap() else {
            panic!("rows")
        };
        let waited = tokio::time::timeout(Duration::from_millis(300), rows.next()).await;
        assert!(waited.is_err(), "{join} takes longer");
        assert!(busy() > 0);
        drop(rows);
        let dropped = std::time::Instant::now();
        while busy() > 0 {
            assert!(dropped.elapsed() < Duration::from_secs(20), "{join} goes on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sleep_holds_no_thread_and_stops() {
    let fixture = Fixture::new();
    let mut c = fixture.session();
    let started = std::time::Instant::now();
    assert_eq!(c.rows("SELECT pg_sleep(0.2) AS s, 1").await.unwrap(), [["", "1"]]);
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert_eq!(c.rows("SELECT pg_catalog.pg_sleep(NULL) IS NULL").await.unwrap(), [["true"]]);
    let every = "SELECT x FROM (VALUES (1), (2)) AS t(x) WHERE pg_sleep(0.01 * x) = '' ORDER BY x";
    assert_eq!(c.rows(every).await.unwrap(), [["1"], ["2"]]);
    // More of them than threads, and none is in the way of others.
    let mut sleepers = Vec::new();
    for _ in 0..10 {
        let mut other = fixture.session();
        let Execution::Rows { mut rows, .. } =
            other.execute("SELECT pg_sleep('Infinity')", Vec::new()).await.unwrap()
        else {
            panic!("rows")
        };
        let nothing = tokio::time::timeout(Duration::from_millis(5), rows.next()).await;
        assert!(nothing.is_err(), "it sleeps");
        sleepers.push(rows);
    }
    assert_eq!(c.rows("SELECT 1").await.unwrap(), [["1"]]);
    drop(sleepers);
    for (sql, state) in [
        ("SELECT pg_sleep('forever')", "22P02"),
        ("SELECT pg_sleep()", "42883"),
        ("SELECT 1 FROM (VALUES (1), (2)) AS t(x) ORDER BY pg_sleep(x)", "0A000"),
        ("SELECT CASE WHEN x > 1 THEN pg_sleep(x) END FROM (VALUES (1)) AS t(x)", "0A000"),
        ("CREATE MATERIALIZED VIEW m AS SELECT auction, pg_sleep(1) AS s FROM bids", "0A000"),
    ] {
        if sql.starts_with("CREATE") {
            c.command(BIDS).await.unwrap();
        }
        assert_eq!(c.state_of(sql).await, state, "{sql}");
    }
}

/// What a restart does with the catalog's jobs, short of the restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_planned_again_as_they_were() {
    let fixture = Fixture::new();
    let mut c = fixture.session();
    let path = fixture.file("t.csv", "k,v\n1,2\n3,4\n");
    let source = format!(
        "CREATE SOURCE public.t (k bigint, v bigint) \
         WITH (connector = 'file', path = '{path}') FORMAT PLAIN ENCODE CSV"
    );
    for sql in [
        "CREATE SCHEMA a",
        "SET search_path TO a, public",
        source.as_str(),
        "CREATE VIEW odd AS SELECT k, v FROM t WHERE k % 2 = 1",
        "CREATE MATERIALIZED VIEW sums (key, total) AS SELECT k, sum(v) FROM odd GROUP BY k",
        "CREATE MATERIALIZED VIEW rows WITH (parallelism = 1) AS SELECT v, k FROM t",
        "CREATE SINK drain AS SELECT v FROM odd WITH (connector = 'blackhole')",
        "CREATE SINK whole FROM t WITH (connector = 'blackhole')",
        "CREATE TABLE target (v integer) WITH ('connector' = 'blackhole')",
        "INSERT INTO target SELECT v FROM t",
        // From now on the name means something else.
        "CREATE VIEW t AS SELECT 'x' AS k",
        "SET search_path TO public",
    ] {
        c.command(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    let (snapshot, jobs) = (fixture.shared.catalog.snapshot(), fixture.shared.catalog.jobs());
    assert_eq!(jobs.len(), 5);
    for (job, definition) in jobs {
        let mut objects = snapshot.objects.values();
        let object = objects.find(|o| job_of(o) == Some(job)).unwrap();
        let again = plan_again(&fixture.shared, &snapshot, object, &definition).unwrap();
        assert_eq!((again.spec.job, again.spec.first_table), (job, definition.first_table));
        assert_eq!(again.spec.parallelism, if object.name.name == "rows" { 1 } else { 2 });
        let mut other = JobDefinition::clone(&definition);
        other.skeleton.0[0].distribution = "by the moon".to_owned();
        let refused = plan_again(&fixture.shared, &snapshot, object, &other).unwrap_err();
        let detail = refused.detail.unwrap();
        assert!(detail.starts_with("- ") && detail.contains("by the moon"), "{detail}");
        let shown = without_plan(object, &definition);
        assert_eq!((shown.name, shown.kind), (again.spec.name, again.spec.kind));
    }
}
