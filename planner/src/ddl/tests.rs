//! Declarations against a small catalog and two made-up connectors.
//!
//! In an expected error, `¦` in the statement stands where the caret is to be.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use tidemill_types::{
    ColumnFact, ConnectorFacts, ConnectorKind, Diagnostic, JobId, ObjectId, OnError, OptionFact,
    OptionKind, Options, SourceShape, SqlState, WatermarkFact,
};

use super::*;
use crate::catalog::{
    CatalogObject, CatalogSnapshot, ColumnOrigin, MaterializedViewObject, ObjectKind,
    QualifiedName, SinkObject, SourceObject, ViewObject,
};
use crate::parse::{Statement, parse_statement, split_statements};
use crate::types_sql::{pg_field_type_name, timestamp};

/// `clock` is a source of (at timestamp, n bigint); `hole` is a sink.
#[derive(Debug)]
struct Facts;

const OPTIONS: &[OptionFact] = &[OptionFact {
    name: "rows",
    kind: OptionKind::Integer { min: 0, max: 100 },
    required: false,
    default: Some("0"),
    doc: "How many",
}];

impl ConnectorFacts for Facts {
    fn names(&self, kind: ConnectorKind) -> Vec<&'static str> {
        match kind {
            ConnectorKind::Source => vec!["clock"],
            ConnectorKind::Sink => vec!["hole"],
        }
    }

    fn options(&self, kind: ConnectorKind, connector: &str) -> Option<&'static [OptionFact]> {
        match (kind, connector) {
            (ConnectorKind::Source, "clock") => Some(OPTIONS),
            (ConnectorKind::Sink, "hole") => Some(&[]),
            _ => None,
        }
    }

    fn source_shape(
        &self,
        connector: &str,
        options: &Options,
        declared: &[ColumnFact],
    ) -> Result<SourceShape, Diagnostic> {
        if connector != "clock" {
            let message = format!("there is no source connector \"{connector}\"");
            return Err(Diagnostic::new(SqlState::UNDEFINED_OBJECT, message));
        }
        if let Some(name) = options.keys().find(|name| *name != "rows") {
            let message = format!("connector \"clock\" has no option \"{name}\"");
            return Err(Diagnostic::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let own = [("at", timestamp(false)), ("n", DataType::Int64)];
        let own = own.map(|(name, data_type)| ColumnFact {
            name: name.to_owned(),
            data_type,
            nullable: false,
        });
        let columns = if declared.is_empty() { own.to_vec() } else { declared.to_vec() };
        if let Some(column) = columns.iter().find(|c| !matches!(c.name.as_str(), "at" | "n")) {
            let message = format!("connector \"clock\" has no column \"{}\"", column.name);
            return Err(Diagnostic::new(SqlState::UNDEFINED_COLUMN, message));
        }
        let rows = options.get("rows").cloned().unwrap_or_else(|| "0".to_owned());
        Ok(SourceShape {
            physical_names: columns.iter().map(|c| c.name.to_uppercase()).collect(),
            columns,
            loose_names: false,
            bounded: rows != "0",
            default_watermark: Some(WatermarkFact { column: "at".to_owned(), delay: 1_500_000 }),
            options: Options::from([("rows".to_owned(), rows)]),
        })
    }

    fn sink_options(&self, _: &str, options: &Options) -> Result<Options, Diagnostic> {
        Ok(options.clone())
    }
}

fn object(id: u32, name: &str, depends_on: &[u32], kind: ObjectKind) -> Arc<CatalogObject> {
    Arc::new(CatalogObject {
        id: ObjectId(id),
        name: QualifiedName::new("public", name),
        sql: String::new(),
        depends_on: depends_on.iter().map(|id| ObjectId(*id)).collect(),
        kind,
    })
}

/// bid <- v <- mv <- top; bid <- k.
fn catalog() -> CatalogSnapshot {
    let schema = Arc::new(Schema::empty());
    let source = SourceObject {
        connector: "clock".to_owned(),
        options: Options::new(),
        columns: vec![],
        watermark: None,
        bounded: false,
        on_error: OnError::Drop,
        loose_names: false,
    };
    let mv = || {
        ObjectKind::MaterializedView(MaterializedViewObject {
            job: JobId(1),
            stored: Arc::clone(&schema),
            visible: 0,
            key: vec![],
        })
    };
    let sink = SinkObject {
        job: Some(JobId(2)),
        connector: "hole".to_owned(),
        options: Options::new(),
        incarnation: 1,
        schema: Arc::clone(&schema),
    };
    let view =
        ViewObject { schema: Arc::clone(&schema), query: String::new(), search_path: vec![] };
    let objects = [
        object(1, "bid", &[], ObjectKind::Source(source)),
        object(2, "v", &[1], ObjectKind::View(view)),
        object(3, "mv", &[2], mv()),
        object(4, "top", &[3], mv()),
        object(5, "k", &[1], ObjectKind::Sink(sink)),
    ];
    CatalogSnapshot {
        schemas: ["app", "public", "tm_catalog"].map(str::to_owned).to_vec(),
        objects: objects.into_iter().map(|o| (o.name.clone(), o)).collect(),
    }
}

fn statement(sql: &str) -> Statement {
    parse_statement(sql, split_statements(sql).unwrap().remove(0)).unwrap()
}

fn search_path() -> Vec<String> {
    vec!["nowhere".to_owned(), "public".to_owned()]
}

fn source(sql: &str) -> Result<Option<AnalyzedSource>, crate::PlanError> {
    match statement(sql) {
        Statement::CreateSource(create) => {
            analyze_create_source(&create, &search_path(), &catalog(), &Facts)
        }
        other => panic!("{other:?}"),
    }
}

fn error(marked: &str, expected: &str) {
    let sql = marked.replace('¦', "");
    let caret = marked.chars().position(|c| c == '¦').map(|at| at as u32 + 1);
    let result = match statement(&sql) {
        Statement::CreateSource(create) => {
            analyze_create_source(&create, &search_path(), &catalog(), &Facts).map(drop)
        }
        Statement::CreateTableWithConnector(create) => {
            analyze_create_table(&create, &search_path(), &catalog(), &Facts).map(drop)
        }
        Statement::Drop(statement) => {
            analyze_drop(&statement, &search_path(), &catalog()).map(drop)
        }
        Statement::DropSchema { names, if_exists, behavior } => {
            analyze_drop_schema(&names, if_exists, behavior, &catalog()).map(drop)
        }
        other => panic!("{other:?}"),
    };
    let diagnostic = result.expect_err(marked).diagnostic(&sql);
    let mut shown = format!("{} {}", diagnostic.state, diagnostic.message);
    if let Some(detail) = diagnostic.detail {
        shown = format!("{shown} | {detail}");
    }
    assert_eq!(shown, expected, "{marked}");
    assert_eq!(diagnostic.position, caret, "caret of {marked}");
}

#[test]
fn a_source_takes_the_users_order() {
    let analyzed = source(
        "CREATE SOURCE app.s (
            day date AS (CAST(at AS date)), N bigint NOT NULL, twice AS n * 2, at timestamp(3),
            WATERMARK FOR at AS at - INTERVAL '5' SECOND
         ) WITH (connector = 'clock', rows = 7, on_error = 'fail')",
    )
    .unwrap()
    .unwrap();
    assert_eq!(analyzed.name.to_string(), "app.s");
    let source = analyzed.source;
    let columns: Vec<String> = source
        .columns
        .iter()
        .map(|c| {
            let origin = match &c.origin {
                ColumnOrigin::Connector { physical_name } => physical_name.clone(),
                ColumnOrigin::Generated { expression } => format!("= {expression}"),
            };
            format!(
                "{} {} {} {origin}",
                c.field.name(),
                pg_field_type_name(&c.field),
                c.field.is_nullable()
            )
        })
        .collect();
    assert_eq!(
        columns,
        [
            "day date true = (CAST(at AS date))",
            "n bigint false N",
            "twice bigint false = n * 2",
            "at timestamp without time zone true AT",
        ]
    );
    assert_eq!(source.watermark.unwrap().expression, "at - INTERVAL '5' SECOND");
    assert_eq!((source.on_error, source.bounded), (OnError::Fail, true));
    assert_eq!(source.options, Options::from([("rows".to_owned(), "7".to_owned())]));
}

#[test]
fn without_columns_the_connectors_own_are_taken() {
    let analyzed = source("CREATE SOURCE s WITH (connector = 'clock')").unwrap().unwrap();
    let names: Vec<&str> =
        analyzed.source.columns.iter().map(|c| c.field.name().as_str()).collect();
    assert_eq!(names, ["at", "n"]);
    let watermark = analyzed.source.watermark.unwrap();
    assert_eq!(watermark.column, "at");
    assert_eq!(watermark.expression, "\"at\" - INTERVAL '1500000 microseconds'");
    let analyzed = source("CREATE SOURCE s (n bigint) WITH (connector = clock)").unwrap().unwrap();
    assert!(analyzed.source.watermark.is_none(), "its column is not declared");
    assert!(
        source("CREATE SOURCE IF NOT EXISTS bid WITH (connector = 'clock')").unwrap().is_none()
    );
}

#[test]
fn what_is_wrong_with_a_source_is_pointed_at() {
    error("CREATE SOURCE ¦bid WITH (connector = 'clock')", "42P07 relation \"bid\" already exists");
    error("CREATE SOURCE ¦no.s WITH (connector = 'clock')", "3F000 schema \"no\" does not exist");
    error(
        "CREATE SOURCE ¦tm_catalog.s WITH (connector = 'clock')",
        "42501 permission denied for schema tm_catalog | The schema holds the system's own relations.",
    );
    error(
        "CREATE SOURCE ¦_tm_s WITH (connector = 'clock')",
        "42P17 relation name \"_tm_s\" is reserved",
    );
    error(
        "CREATE SOURCE s (¦_tm_a int) WITH (connector = 'clock')",
        "42P17 column name \"_tm_a\" is reserved",
    );
    error(
        "CREATE SOURCE s (n bigint, ¦N bigint) WITH (connector = 'clock')",
        "42701 column \"n\" specified more than once",
    );
    error(
        "CREATE SOURCE s (n ¦frob) WITH (connector = 'clock')",
        "42704 type \"frob\" does not exist",
    );
    error(
        "CREATE SOURCE s (¦x int) WITH (connector = 'clock')",
        "42703 connector \"clock\" has no column \"x\"",
    );
    error("CREATE SOURCE ¦s WITH (rows = 1)", "22023 the option connector is missing");
    error(
        "CREATE SOURCE s WITH (connector = ¦'clok')",
        "42704 there is no source connector \"clok\"",
    );
    error(
        "CREATE SOURCE s WITH (connector = 'clock', ¦rws = 1)",
        "22023 connector \"clock\" has no option \"rws\"",
    );
    error(
        "CREATE SOURCE s WITH (connector = 'clock', on_error = ¦'keep')",
        "0A000 on_error = 'keep' is not supported",
    );
    error(
        "CREATE SOURCE s WITH (connector = 'clock') ¦FORMAT PLAIN ENCODE JSON",
        "0A000 connector \"clock\" takes no FORMAT",
    );
    error(
        "CREATE SOURCE s (n bigint, WATERMARK FOR ¦at AS at) WITH (connector = 'clock')",
        "42703 column \"at\" does not exist",
    );
    error(
        "CREATE SOURCE s (n bigint, WATERMARK FOR ¦n AS n) WITH (connector = 'clock')",
        "42804 the watermark's column \"n\" has type bigint, it must be a timestamp",
    );
    error(
        "CREATE SOURCE s (at timestamp, n bigint, WATERMARK FOR at AS ¦n) WITH (connector = 'clock')",
        "42804 the watermark has type bigint, its column \"at\" has type timestamp without time zone",
    );
}

#[test]
fn flink_tables_are_sources_or_targets() {
    let table = |sql: &str| match statement(sql) {
        Statement::CreateTableWithConnector(create) => {
            analyze_create_table(&create, &search_path(), &catalog(), &Facts).unwrap().unwrap()
        }
        other => panic!("{other:?}"),
    };
    assert!(matches!(
        table("CREATE TABLE s WITH ('connector' = 'clock')"),
        AnalyzedTable::Source(_)
    ));
    let AnalyzedTable::Sink(sink) =
        table("CREATE TABLE s (a BIGINT, b TIMESTAMP(3) NOT NULL) WITH ('connector' = 'hole')")
    else {
        panic!("a source")
    };
    assert_eq!(sink.connector, "hole");
    assert_eq!(sink.schema.field(1).data_type(), &timestamp(false));
    error(
        "CREATE TABLE s (b TIMESTAMP, WATERMARK FOR ¦b AS b) WITH ('connector' = 'hole')",
        "0A000 WATERMARK is not supported on a sink target",
    );
}

fn dropped(sql: &str) -> (Vec<ObjectId>, Vec<String>) {
    let plan = match statement(sql) {
        Statement::Drop(statement) => analyze_drop(&statement, &search_path(), &catalog()),
        Statement::DropSchema { names, if_exists, behavior } => {
            analyze_drop_schema(&names, if_exists, behavior, &catalog())
        }
        other => panic!("{other:?}"),
    };
    let plan = plan.unwrap();
    (plan.objects, plan.notices)
}

#[test]
fn readers_go_before_what_they_read() {
    let ids = |ids: &[u32]| ids.iter().map(|id| ObjectId(*id)).collect::<Vec<_>>();
    assert_eq!(dropped("DROP SINK k"), (ids(&[5]), vec![]));
    assert_eq!(
        dropped("DROP MATERIALIZED VIEW mv CASCADE"),
        (ids(&[4, 3]), vec!["drop cascades to materialized view top".to_owned()])
    );
    assert_eq!(dropped("DROP MATERIALIZED VIEW mv, top"), (ids(&[4, 3]), vec![]));
    assert_eq!(
        dropped("DROP SOURCE bid CASCADE"),
        (ids(&[5, 4, 3, 2, 1]), vec!["drop cascades to 4 other objects".to_owned()])
    );
    assert_eq!(
        dropped("DROP VIEW IF EXISTS nix"),
        (vec![], vec!["view \"nix\" does not exist, skipping".to_owned()])
    );
    assert_eq!(dropped("DROP TABLE k"), (ids(&[5]), vec![]));
    assert_eq!(dropped("DROP SCHEMA app"), (vec![], vec![]));
}

#[test]
fn drops_that_cannot_be() {
    error("DROP VIEW ¦nix", "42P01 view \"nix\" does not exist");
    error("DROP VIEW IF EXISTS ¦bid", "42809 \"bid\" is not a view");
    error(
        "DROP SOURCE bid",
        "2BP01 cannot drop source bid because other objects depend on it | sink k depends on source bid\n\
         view v depends on source bid\n\
         materialized view mv depends on view v\n\
         materialized view top depends on materialized view mv",
    );
    error("DROP SCHEMA ¦nix", "3F000 schema \"nix\" does not exist");
    error("DROP SCHEMA ¦tm_catalog", "42501 permission denied for schema tm_catalog");
    error("DROP SCHEMA ¦public CASCADE", "0A000 schema public cannot be dropped");
}
