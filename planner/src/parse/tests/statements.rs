//! What statements mean.

use super::*;

fn parse(sql: &str) -> Statement {
    one(sql).unwrap_or_else(|error| panic!("{sql}\n{error:?}"))
}

#[test]
fn strings_and_comments_hold_no_statement_ends() {
    let sql = "; SELECT ';' /* ; /* ; */ */ ; -- ;\n SELECT $a$;$a$, \";\", `;` ;; \nSELECT 3 ";
    let texts: Vec<&str> =
        split_statements(sql).unwrap().into_iter().map(|range| &sql[range]).collect();
    assert_eq!(texts, ["SELECT ';'", "SELECT $a$;$a$, \";\", `;`", "SELECT 3"]);
    assert!(split_statements(" -- nothing\n;; /* */ ").unwrap().is_empty());
    let umlauts = "SELECT 'ä'; SELECT 'ö\n' ;SELECT 1";
    let texts: Vec<&str> =
        split_statements(umlauts).unwrap().into_iter().map(|range| &umlauts[range]).collect();
    assert_eq!(texts, ["SELECT 'ä'", "SELECT 'ö\n'", "SELECT 1"]);
}

#[test]
fn a_source_with_everything() {
    let Statement::CreateSource(source) = parse(
        "CREATE SOURCE IF NOT EXISTS app.flights (
            sched timestamp NOT NULL, Carrier VARCHAR(2) NULL, \"Delay\" numeric(10, 2),
            day date GENERATED ALWAYS AS (CAST(sched AS date)) STORED,
            late boolean AS (\"Delay\" > 15),
            hour_ AS EXTRACT(HOUR FROM sched),
            WATERMARK FOR sched AS sched - INTERVAL '2 hours'
         ) WITH (connector = 'file', 'path' = 'a''b.csv', csv.header = true, \"X\" = -5,
                 wait = INTERVAL '5' SECOND, on_error = drop)
         FORMAT PLAIN ENCODE csv (delimiter = ';')",
    ) else {
        panic!("another statement")
    };
    assert_eq!(source.name.to_string(), "app.flights");
    assert!(source.if_not_exists);
    let columns: Vec<String> = source
        .columns
        .unwrap()
        .iter()
        .map(|c| {
            let data_type = c.data_type.as_ref().map(|t| t.data_type.to_string());
            let generated = c.generated.as_ref().map(|g| g.text.clone());
            format!("{} {data_type:?} {} {generated:?}", fold(&c.name), c.not_null)
        })
        .collect();
    assert_eq!(
        columns,
        [
            "sched Some(\"TIMESTAMP\") true None",
            "carrier Some(\"VARCHAR(2)\") false None",
            "Delay Some(\"NUMERIC(10,2)\") false None",
            "day Some(\"DATE\") false Some(\"(CAST(sched AS date))\")",
            "late Some(\"BOOLEAN\") false Some(\"(\\\"Delay\\\" > 15)\")",
            "hour_ None false Some(\"EXTRACT(HOUR FROM sched)\")",
        ]
    );
    let watermark = source.watermark.unwrap();
    assert_eq!(fold(&watermark.column), "sched");
    assert_eq!(watermark.expression.text, "sched - INTERVAL '2 hours'");
    let options: Vec<String> =
        source.options.iter().map(|o| format!("{}={}", o.name, o.value)).collect();
    assert_eq!(
        options,
        [
            "connector=file",
            "path=a'b.csv",
            "csv.header=true",
            "x=-5",
            "wait=5 second",
            "on_error=drop"
        ]
    );
    let format = source.format.unwrap();
    assert_eq!((format.format.as_str(), format.encode.as_str()), ("PLAIN", "CSV"));
    assert_eq!(format.options[0].value, ";");
}

#[test]
fn emit_and_options_are_no_part_of_the_query() {
    let view = |sql: &str| match parse(sql) {
        Statement::CreateMaterializedView(view) => view,
        other => panic!("{other:?}"),
    };
    let mv = view(
        "CREATE MATERIALIZED VIEW v (x) WITH (parallelism = 2) AS SELECT a FROM t emit on window close",
    );
    assert_eq!(mv.emit, Some(Emit::OnWindowClose));
    assert_eq!(mv.query_text, "SELECT a FROM t");
    assert_eq!(mv.options[0].name, "parallelism");
    assert_eq!(fold(&mv.columns[0]), "x");
    let mv = view("CREATE MATERIALIZED VIEW v AS SELECT emit FROM t emit EMIT ON UPDATE;");
    assert_eq!(
        (mv.emit, mv.query_text.as_str()),
        (Some(Emit::OnUpdate), "SELECT emit FROM t emit")
    );
    let mv = view("CREATE MATERIALIZED VIEW v AS (WITH c AS (SELECT 1) SELECT * FROM c)");
    assert_eq!(mv.emit, None);
    let Statement::CreateSink(sink) = parse(
        "CREATE SINK k AS SELECT a FROM t EMIT ON WINDOW CLOSE WITH (connector = 'blackhole')",
    ) else {
        panic!("another statement")
    };
    assert_eq!(sink.emit, Some(Emit::OnWindowClose));
    assert!(
        matches!(sink.input, SinkInput::Query(query) if query.to_string() == "SELECT a FROM t")
    );
    let Statement::CreateSink(sink) = parse("CREATE SINK k FROM s.mv WITH (connector = blackhole)")
    else {
        panic!("another statement")
    };
    assert!(matches!(sink.input, SinkInput::Relation(name) if name.to_string() == "s.mv"));
}

#[test]
fn drops() {
    assert_eq!(
        parse("DROP MATERIALIZED VIEW IF EXISTS a.b, c CASCADE"),
        Statement::Drop(Drop {
            kind: RelationKind::MaterializedView,
            names: vec![
                vec![Ident::new("a"), Ident::new("b")].into(),
                vec![Ident::new("c")].into()
            ],
            if_exists: true,
            behavior: DropBehavior::Cascade,
        })
    );
    assert!(matches!(
        parse("DROP SCHEMA s RESTRICT"),
        Statement::DropSchema { behavior: DropBehavior::Restrict, if_exists: false, .. }
    ));
}

#[test]
fn shows() {
    let shown = |sql: &str| match parse(sql) {
        Statement::Show(show) => format!("{show:?}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(shown("SHOW SOURCES"), "Sources");
    assert_eq!(shown("show materialized views"), "MaterializedViews");
    assert_eq!(shown("SHOW JOBS"), "Jobs");
    assert_eq!(shown("SHOW ALL"), "All");
    let setting = |sql: &str| match parse(sql) {
        Statement::Show(Show::Setting(setting)) => setting.name,
        other => panic!("{other:?}"),
    };
    assert_eq!(setting("SHOW TIME ZONE"), "timezone");
    assert_eq!(setting("SHOW transaction isolation level"), "transaction_isolation");
    assert_eq!(setting("SHOW Search_Path"), "search_path");
    assert_eq!(setting("SHOW a.b"), "a.b");
    assert!(matches!(
        parse("SHOW OPTIONS FOR CONNECTOR nexmark"),
        Statement::Show(Show::Options { .. })
    ));
    assert!(matches!(
        parse("SHOW CREATE MATERIALIZED VIEW mv"),
        Statement::Show(Show::Create { kind: Some(RelationKind::MaterializedView), .. })
    ));
    assert!(matches!(parse("SHOW CREATE mv"), Statement::Show(Show::Create { kind: None, .. })));
    assert!(matches!(parse("DESCRIBE s.x"), Statement::Describe { .. }));
    assert!(matches!(parse("DESC view"), Statement::Describe { .. }));
}

#[test]
fn settings() {
    let set = |sql: &str| match parse(sql) {
        Statement::Set(Set { local, name, value: SetValue::Values(values) }) => {
            format!("{local} {} {}", name.name, values.join("|"))
        }
        Statement::Set(Set { local, name, value: SetValue::Default }) => {
            format!("{local} {} default", name.name)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(set("SET a = 'B'"), "false a B");
    assert_eq!(set("SET LOCAL a TO On"), "true a on");
    assert_eq!(set("SET SESSION my.x = -1.5"), "false my.x -1.5");
    assert_eq!(set("SET search_path TO a, \"B\", public"), "false search_path a|B|public");
    assert_eq!(set("SET TimeZone = DEFAULT"), "false timezone default");
    assert_eq!(set("SET TIME ZONE 'Europe/Berlin'"), "false timezone Europe/Berlin");
    assert_eq!(set("SET LOCAL TIME ZONE -3"), "true timezone -3");
    assert_eq!(set("SET NAMES 'UTF8'"), "false client_encoding UTF8");
    assert!(matches!(parse("RESET ALL"), Statement::Reset { name: None }));
    assert!(matches!(parse("DISCARD ALL"), Statement::Discard(DiscardTarget::All)));
    assert!(matches!(parse("DEALLOCATE PREPARE x"), Statement::Deallocate { name: Some(_) }));
    assert!(matches!(parse("UNLISTEN *"), Statement::Unlisten));
}

#[test]
fn cursors() {
    let declared = |sql: &str| match parse(sql) {
        Statement::DeclareCursor(d) => format!("{} {} {}", d.name, d.binary, d.query),
        other => panic!("{other:?}"),
    };
    let plain = "DECLARE _psql_cursor NO SCROLL CURSOR FOR\nSELECT 1";
    assert_eq!(declared(plain), "_psql_cursor false SELECT 1");
    let all = "DECLARE \"C\" INSENSITIVE BINARY NO SCROLL CURSOR WITHOUT HOLD FOR (VALUES (1))";
    assert_eq!(declared(all), "\"C\" true (VALUES (1))");
    assert_eq!(declared("DECLARE binary CURSOR FOR SELECT 1"), "binary false SELECT 1");

    let fetched = |sql: &str| match parse(sql) {
        Statement::Fetch(f) => format!("{} {:?} {}", f.name, f.direction, f.moves),
        other => panic!("{other:?}"),
    };
    for (direction, expected) in [
        ("", "Forward(Rows(1))"),
        ("FROM", "Forward(Rows(1))"),
        ("NEXT IN", "Forward(Rows(1))"),
        ("FORWARD", "Forward(Rows(1))"),
        ("FORWARD 1000 FROM", "Forward(Rows(1000))"),
        ("FORWARD ALL IN", "Forward(All)"),
        ("ALL", "Forward(All)"),
        ("5", "Forward(Rows(5))"),
        ("-5 FROM", "Forward(Rows(-5))"),
        ("PRIOR", "Backward(Rows(1))"),
        ("BACKWARD ALL", "Backward(All)"),
        ("FIRST", "Absolute(1)"),
        ("LAST FROM", "Absolute(-1)"),
        ("ABSOLUTE 7", "Absolute(7)"),
        ("RELATIVE -1 IN", "Relative(-1)"),
    ] {
        assert_eq!(fetched(&format!("FETCH {direction} c")), format!("c {expected} false"));
        assert_eq!(fetched(&format!("MOVE {direction} c")), format!("c {expected} true"));
    }
    assert_eq!(fetched("FETCH next"), "next Forward(Rows(1)) false");
    assert_eq!(fetched("FETCH FROM forward"), "forward Forward(Rows(1)) false");

    assert!(matches!(parse("CLOSE ALL"), Statement::CloseCursor { name: None }));
    assert!(matches!(parse("CLOSE c"), Statement::CloseCursor { name: Some(_) }));

    error("DECLARE c CURSOR FOR ¦UPDATE t SET a = 1", "42601 syntax error at or near \"UPDATE\"");
    error("DECLARE c ¦FOR SELECT 1", "42601 syntax error at or near \"FOR\"");
    error(
        "DECLARE c INSENSITIVE ¦ASENSITIVE CURSOR FOR SELECT 1",
        "42P11 cannot specify both INSENSITIVE and ASENSITIVE",
    );
    error("FETCH ¦1.5 FROM c", "42601 syntax error at or near \"1.5\"");
    error("FETCH ABSOLUTE ¦c", "42601 syntax error at or near \"c\"");
    error("FETCH 1 FROM¦", "42601 syntax error at end of input");
    error("CLOSE¦", "42601 syntax error at end of input");
}

#[test]
fn transactions() {
    assert_eq!(
        parse("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY NOT DEFERRABLE"),
        Statement::Begin {
            modes: TransactionModes {
                isolation: Some(IsolationLevel::RepeatableRead),
                read_only: Some(true),
                deferrable: Some(false),
            }
        }
    );
    assert!(matches!(parse("START TRANSACTION"), Statement::Begin { .. }));
    assert!(parse("ROLLBACK TO SAVEPOINT a").ends_transaction());
    assert!(parse("END").ends_transaction());
    assert_eq!(parse("ABORT WORK"), Statement::Rollback);
    assert!(matches!(
        parse("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),
        Statement::SetTransaction { session: true, .. }
    ));
    error("BEGIN ISOLATION LEVEL ¦LOW", "42601 syntax error at or near \"LOW\"");
    error("BEGIN READ ONLY,¦", "42601 syntax error at end of input");
}

#[test]
fn explains() {
    let explain = |sql: &str| match parse(sql) {
        Statement::Explain(explain) => (explain.analyze, explain.verbose),
        other => panic!("{other:?}"),
    };
    assert_eq!(explain("EXPLAIN SELECT 1"), (false, false));
    assert_eq!(explain("EXPLAIN ANALYZE VERBOSE SELECT 1"), (true, true));
    assert_eq!(explain("EXPLAIN (VERBOSE, ANALYZE off) (SELECT 1)"), (false, true));
    assert_eq!(explain("EXPLAIN (SELECT 1)"), (false, false));
    assert_eq!(
        explain("EXPLAIN CREATE MATERIALIZED VIEW v AS SELECT 1 EMIT ON UPDATE"),
        (false, false)
    );
}

#[test]
fn queries_keep_postgresql_spellings() {
    query("SELECT `a`, \"b\" FROM t", "SELECT `a`, \"b\" FROM t");
    query("SELECT a FROM t FETCH FIRST 3 ROWS ONLY", "SELECT a FROM t LIMIT 3");
    query("SELECT a FROM t OFFSET 2 FETCH NEXT ROW ONLY", "SELECT a FROM t LIMIT 1 OFFSET 2");
    query("SELECT 'a'\n  'b'", "SELECT 'ab'");
    query("SELECT $1::int, x -> 'a' ->> 'b', a ~ 'b'", "SELECT $1::INT, x -> 'a' ->> 'b', a ~ 'b'");
    query(
        "SELECT DATE '2020-01-01', INTERVAL '1' DAY",
        "SELECT DATE '2020-01-01', INTERVAL '1' DAY",
    );
    query("VALUES (1, 'a'), (2, 'b')", "VALUES (1, 'a'), (2, 'b')");
    query("SELECT * FROM (SELECT 1) x (a)", "SELECT * FROM (SELECT 1) x (a)");
    query("INSERT INTO k (a) SELECT 1", "SELECT 1");
    query("INSERT INTO k (SELECT 1)", "(SELECT 1)");
}
