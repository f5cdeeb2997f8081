//! Goldens: what EXPLAIN shows of a job, and what is refused.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, TimeUnit};
use tidemill_types::plan::wire;
use tidemill_types::{OnError, SqlState};

use super::*;
use crate::catalog::{
    CatalogObject, ColumnOrigin, ObjectKind, QualifiedName, SourceColumn, SourceObject,
    SourceWatermark, ViewObject,
};
use crate::explain::explain;
use crate::functions::planning_state;
use crate::parse::parse_query;

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

fn source(id: u32, name: &str, watermark: Option<&str>) -> Arc<CatalogObject> {
    let column = |name: &str, data_type: DataType| SourceColumn {
        field: Field::new(name, data_type, true),
        origin: ColumnOrigin::Connector { physical_name: name.to_uppercase() },
    };
    let columns = vec![
        column("auction", DataType::Int64),
        column("bidder", DataType::Int64),
        column("price", DataType::Int32),
        column("channel", DataType::Utf8View),
        column("date_time", timestamp()),
        column("seen", timestamp()),
        SourceColumn {
            field: Field::new("cents", DataType::Int64, true),
            origin: ColumnOrigin::Generated { expression: "price::bigint * 100".to_owned() },
        },
    ];
    let watermark = watermark.map(|expression| SourceWatermark {
        column: "date_time".to_owned(),
        expression: expression.to_owned(),
    });
    Arc::new(CatalogObject {
        id: ObjectId(id),
        name: QualifiedName::new("public", name),
        sql: String::new(),
        depends_on: vec![],
        kind: ObjectKind::Source(SourceObject {
            connector: "nexmark".to_owned(),
            options: BTreeMap::new(),
            columns,
            watermark,
            bounded: false,
            on_error: OnError::Drop,
        }),
    })
}

fn catalog() -> CatalogSnapshot {
    let view = Arc::new(CatalogObject {
        id: ObjectId(3),
        name: QualifiedName::new("public", "dear"),
        sql: String::new(),
        depends_on: vec![ObjectId(1)],
        kind: ObjectKind::View(ViewObject {
            schema: Arc::new(arrow::datatypes::Schema::new(vec![
                Field::new("who", DataType::Int64, true),
                Field::new("at", timestamp(), true),
            ])),
            query: "SELECT bidder, date_time FROM bid WHERE price > 1000".to_owned(),
        }),
    });
    let objects = [
        source(1, "bid", Some("date_time - INTERVAL '4 seconds'")),
        source(2, "plain", None),
        view,
    ];
    CatalogSnapshot {
        schemas: vec!["public".to_owned(), "tm_catalog".to_owned()],
        objects: objects.into_iter().map(|o| (o.name.clone(), o)).collect(),
    }
}

fn plan(sql: &str, emit: EmitMode, target: JobTarget<'_>) -> Result<PlannedJob, PlanError> {
    let query = parse_query(sql)?;
    let state = planning_state("UTC");
    let catalog = catalog();
    let job = plan_job(JobInput {
        query: &query,
        column_names: &[],
        emit,
        target,
        snapshot: &catalog,
        search_path: &[],
        state: &state,
        allowed_lateness: 0,
    })?;
    // Every plan must survive the wire.
    let bytes = wire::encode(&job.graph).unwrap();
    let again = wire::decode(&bytes, &state.task_ctx()).unwrap();
    assert_eq!(explain(&job.graph), explain(&again));
    Ok(job)
}

const VIEW: JobTarget<'_> = JobTarget::MaterializedView { id: ObjectId(9) };

#[track_caller]
fn golden(sql: &str, emit: EmitMode, expected: &str) -> PlannedJob {
    let job = plan(sql, emit, VIEW).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let got = explain(&job.graph);
    let expected = expected.trim_start_matches('\n');
    assert_eq!(got, expected, "{sql}\n{got}");
    job
}

#[test]
fn show() {
    for sql in [
        "SELECT auction, price FROM bid WHERE mod(auction, 123) = 0",
        "SELECT channel, window_end, count(*), sum(price) FROM TUMBLE(bid, date_time, INTERVAL '1 day') WHERE price > 3 GROUP BY channel, window_start, window_end HAVING count(*) > 2 AND window_end > timestamp '2020-01-01 00:00:00'",
        "SELECT count(*) AS n, avg(price * 2) FILTER (WHERE price > 7) a FROM HOP(bid, date_time, INTERVAL '1' HOUR, INTERVAL '3' HOUR) GROUP BY auction, window_end",
        "SELECT upper(channel) u, min(cents) + 1 AS m FROM bid GROUP BY upper(channel)",
        "SELECT count(*) FROM dear",
        "SELECT *, price + 1 FROM TUMBLE(bid, date_time, INTERVAL '1 day')",
        "SELECT DISTINCT window_start, bidder FROM TUMBLE(plain, date_time, INTERVAL '1 day')",
        "SELECT max(price), window_start FROM TUMBLE(bid, seen, INTERVAL '1 day') GROUP BY window_start",
    ] {
        match plan(sql, EmitMode::OnUpdate, VIEW) {
            Ok(job) => eprintln!("{sql}\n{}{:?}\n", explain(&job.graph), job.notices),
            Err(e) => eprintln!("{sql}\n{:?}\n", e.diagnostic(sql)),
        }
    }
}
