//! Types, names, errors and batch results of bound queries.

use std::collections::BTreeMap;

use arrow::array::{
    AsArray, Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::TableSource;
use datafusion::prelude::SessionContext;
use tidemill_types::WindowSpec;

use super::*;
use crate::catalog::{CatalogObject, ObjectKind, QualifiedName, ViewObject};
use crate::functions::planning_state;
use crate::parse::parse_query;
use crate::rules::expand_windows;

const HOUR: i64 = 3_600_000_000;

fn schema() -> SchemaRef {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![
        Field::new("i", DataType::Int32, true),
        Field::new("b", DataType::Int64, true),
        Field::new("s", DataType::Utf8View, true),
        Field::new("ts", timestamp, true),
    ]))
}

fn rows() -> RecordBatch {
    let times = [Some(0), Some(HOUR - 1), Some(HOUR), Some(-1), None, Some(5 * HOUR + 7)];
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(Int32Array::from(vec![1, 2, 3, 4, 5, i32::MAX])),
            Arc::new(Int64Array::from(vec![10, 20, i64::MAX, i64::MAX, -1, 0])),
            Arc::new(StringViewArray::from(vec!["a-b-c", "b", "x-y", "", "e", "f"])),
            Arc::new(TimestampMicrosecondArray::from(times.to_vec())),
        ],
    )
    .unwrap()
}

fn snapshot() -> CatalogSnapshot {
    let object = |id, name: &str, kind| {
        let name = QualifiedName::new("public", name);
        let object = CatalogObject {
            id: ObjectId(id),
            name: name.clone(),
            sql: String::new(),
            depends_on: vec![],
            kind,
        };
        (name, Arc::new(object))
    };
    let view = ViewObject {
        schema: Arc::new(Schema::new(vec![Field::new("double", DataType::Int32, true)])),
        query: "SELECT i * 2 FROM t WHERE i < 100".to_owned(),
        search_path: vec![],
    };
    let broken = ViewObject {
        schema: schema(),
        query: "SELECT nope FROM t".to_owned(),
        search_path: vec![],
    };
    CatalogSnapshot {
        schemas: vec!["public".to_owned()],
        objects: BTreeMap::from([
            object(1, "t", ObjectKind::System { schema: schema() }),
            object(2, "u", ObjectKind::System { schema: schema() }),
            object(3, "v", ObjectKind::View(view)),
            object(4, "broken", ObjectKind::View(broken)),
        ]),
    }
}

/// Every relation holds the same rows.
struct Rows;

impl TableSources for Rows {
    fn table_source(&self, _: &Arc<CatalogObject>) -> Result<Arc<dyn TableSource>, PlanError> {
        let table = MemTable::try_new(schema(), vec![vec![rows()]])?;
        Ok(provider_as_source(Arc::new(table)))
    }
}

fn bound(sql: &str) -> Result<BoundQuery, PlanError> {
    let query = parse_query(sql)?;
    let (state, snapshot) = (planning_state("UTC"), snapshot());
    let input = BindInput { snapshot: &snapshot, state: &state, search_path: &[], tables: &Rows };
    bind_query(&query, input, &[])
}

fn run(sql: &str) -> Result<RecordBatch, PlanError> {
    let bound = bound(sql)?;
    let plan = expand_windows(bound.plan)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let context = SessionContext::new_with_state(planning_state("UTC"));
        let frame = context.execute_logical_plan(plan).await?;
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let batches = frame.collect().await?;
        Ok(arrow::compute::concat_batches(&schema, &batches).unwrap())
    })
}

fn shown(sql: &str) -> String {
    let batch = run(sql).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let table = pretty_format_batches(&[batch]).unwrap().to_string();
    let lines: Vec<&str> = table.lines().skip(3).filter(|l| l.starts_with('|')).collect();
    let cells = lines
        .iter()
        .map(|l| l.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(","));
    cells.collect::<Vec<_>>().join("; ")
}

#[test]
fn types_are_postgresqls() {
    use crate::types_sql::pg_type_name;
    for (expr, expected) in [
        ("1", "integer"),
        ("3000000000", "bigint"),
        ("1.5", "numeric"),
        ("'x'", "text"),
        ("NULL", "text"),
        ("true", "boolean"),
        ("i + 1", "integer"),
        ("b + 1", "bigint"),
        ("i * b", "bigint"),
        ("upper(s)", "text"),
        ("s || 'x'", "text"),
        ("CASE WHEN i > 1 THEN 'a' ELSE 'b' END", "text"),
        ("length(s)", "integer"),
        ("mod(b, 123)", "bigint"),
        ("i::smallint", "smallint"),
        ("i::numeric(10, 2)", "numeric(10,2)"),
        ("i::double precision", "double precision"),
        ("i::real", "real"),
        ("ts::date", "date"),
        ("timestamp '2020-01-01 00:00:00'", "timestamp without time zone"),
        ("ts + interval '1 hour'", "timestamp without time zone"),
        ("ts - ts", "interval"),
        ("date_trunc('hour', ts)", "timestamp without time zone"),
        ("hour(ts)", "bigint"),
        ("count(*)", "bigint"),
        ("sum(i)", "bigint"),
        ("sum(1)", "bigint"),
        ("sum(CASE WHEN i > 1 THEN 1 ELSE 0 END)", "bigint"),
        ("sum(b)", "numeric(38,0)"),
        ("sum(i::real)", "real"),
        ("avg(i)", "numeric"),
        ("avg(i::double precision)", "double precision"),
        ("min(s)", "text"),
        ("max(ts)", "timestamp without time zone"),
        ("row_number() OVER ()", "bigint"),
    ] {
        let sql = format!("SELECT {expr} AS x FROM t");
        let bound = bound(&sql).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        let field = bound.schema().field(0).clone();
        let name = pg_type_name(field.data_type());
        let bare = name == "numeric(38,10)" && expected == "numeric";
        assert!(
            name == expected || bare || (expr == "1.5" && name.starts_with("numeric")),
            "{expr}: {name} ({}), not {expected}",
            field.data_type()
        );
    }
}

#[test]
fn columns_are_named_as_in_postgresql() {
    for (sql, expected) in [
        ("SELECT i, t.b, count(*), sum(i) FROM t GROUP BY 1, 2", "i b count sum"),
        ("SELECT 1, 2, i + 1 FROM t", "?column? ?column? ?column?"),
        ("SELECT i, i, 1, 1, b AS i FROM t ORDER BY b", "i i ?column? ?column? i"),
        ("SELECT count(*), count(i) FROM t", "count count"),
        ("SELECT s::int, 1::bigint, CASE WHEN true THEN 1 END FROM t", "s int8 case"),
        (
            "SELECT upper(s) AS Big, \"upper\".x FROM (SELECT upper(s) AS x, s FROM t) \"upper\"",
            "big x",
        ),
        ("SELECT count FROM (SELECT count(*) FROM t) q", "count"),
        ("SELECT * FROM v", "double"),
        ("SELECT *, upper(s), i + 1 FROM t", "i b s ts upper ?column?"),
    ] {
        let names = bound(sql).unwrap_or_else(|e| panic!("{sql}: {e:?}")).names.join(" ");
        assert_eq!(names, expected, "{sql}");
    }
}

#[test]
fn errors_have_codes_positions_and_hints() {
    for (sql, state, position, part) in [
        ("SELECT 1 FROM nope", "42P01", Some(15), "relation \"nope\" does not exist"),
        ("SELECT 1 FROM x.nope", "42P01", Some(15), "x.nope"),
        ("SELECT ii FROM t", "42703", Some(8), "\"ii\""),
        ("SELECT i, zz FROM t WHERE b > 1", "42703", Some(11), "\"zz\""),
        ("SELECT i FROM t, u", "42702", Some(8), "ambiguous"),
        ("SELECT uper(s) FROM t", "42883", Some(8), "uper"),
        ("SELECT sum(s) FROM t", "42883", None, "sum(text)"),
        // The view's own text has no positions: the view's name stands for them.
        ("SELECT nope FROM broken", "42703", Some(18), "nope"),
        ("SELECT * FROM TUMBLE(t, ts, 5)", "42804", Some(29), "interval"),
        ("SELECT * FROM TUMBLE(t, s, INTERVAL '1 hour')", "42804", Some(25), "timestamp"),
        ("SELECT * FROM TUMBLE(t, ts, INTERVAL '1 month')", "0A000", Some(38), "months"),
        ("SELECT * FROM TUMBLE(t, ts, INTERVAL '-1 hour')", "22023", Some(38), "positive"),
        ("SELECT * FROM TUMBLE(nope, ts, INTERVAL '1 hour')", "42P01", Some(22), "nope"),
        ("SELECT * FROM HOP(t, ts, INTERVAL '1 hour')", "42883", Some(15), "HOP"),
        ("SELECT * FROM SESSION(t, ts, INTERVAL '1 hour')", "0A000", Some(15), "session windows"),
        ("SELECT proctime()", "0A000", None, "PROCTIME"),
    ] {
        let d = bound(sql).unwrap_err().diagnostic(sql);
        assert_eq!((d.state.code(), d.position), (state, position), "{sql}: {d:?}");
        assert!(d.message.contains(part), "{sql}: {d:?}");
    }
    let hint = bound("SELECT ii FROM t").unwrap_err().diagnostic("").hint.unwrap();
    assert!(hint.contains("\"i\""), "{hint}");
}

#[test]
fn parameters_get_types() {
    let types = |sql| bound(sql).unwrap_or_else(|e| panic!("{sql}: {e:?}")).parameters;
    assert_eq!(
        types("SELECT i FROM t WHERE b = $1 AND s = $2"),
        [DataType::Int64, DataType::Utf8View]
    );
    assert_eq!(types("SELECT $1"), [DataType::Utf8View]);
    assert_eq!(types("SELECT $1::int"), [DataType::Int32]);
}

#[test]
fn functions_compute() {
    assert_eq!(
        shown("SELECT sum(i), avg(i), sum(b) FROM t WHERE i < 5"),
        "10,2.5000000000,18446744073709551644"
    );
    assert_eq!(shown("SELECT sum(DISTINCT i / 2) FROM t WHERE i < 5"), "3");
    assert_eq!(shown("SELECT sum(i) FROM t WHERE i > 5 AND i < 6"), "");
    assert_eq!(
        shown("SELECT split_index(s, '-', 1), count_char(s, '-') FROM t WHERE i IN (1, 2)"),
        "b,2; ,0"
    );
    assert_eq!(
        shown(
            "SELECT regexp_extract(s, '([a-z])-([a-z])', 2), regexp_extract(s, 'x', 0) FROM t WHERE i IN (1, 3)"
        ),
        "b,; y,x"
    );
    assert_eq!(shown("SELECT mod(b, 7::smallint), mod(-5, 3) FROM t WHERE i = 1"), "3,-2");
    assert_eq!(shown("SELECT hour(ts), to_char(ts, 'HH24:MI') FROM t WHERE i = 2"), "0,00:59");
    assert_eq!(
        shown(
            "SELECT name AS \"Column\", pg_catalog.format_type(tp, tpm) AS \"Type\" FROM (VALUES \
             ('n', '1700'::pg_catalog.oid, 655366), ('l', '1016'::pg_catalog.oid, -1)) s(name, tp, tpm)"
        ),
        "n,numeric(10,2); l,bigint[]"
    );
    assert_eq!(
        shown(
            "SELECT format_type('23'::pg_catalog.oid, -1::pg_catalog.int4), format_type(20, NULL)"
        ),
        "integer,bigint"
    );
    assert_eq!(shown("SELECT pg_catalog.sum(i), pg_catalog.upper('a') FROM t WHERE i < 3"), "3,A");
    assert_eq!(shown("SELECT double FROM v ORDER BY double"), "2; 4; 6; 8; 10");
    assert_eq!(shown("SELECT sum(i) OVER (ORDER BY i) FROM t WHERE i < 4"), "1; 3; 6");
}

#[test]
fn overflow_is_an_error() {
    for sql in [
        "SELECT i + 1 FROM t",
        "SELECT b * 2 FROM t",
        "SELECT -2 - i FROM t",
        "SELECT sum(b)::bigint FROM t WHERE i IN (3, 4)",
    ] {
        let error = run(sql).unwrap_err().diagnostic(sql);
        assert!(["22003", "22P02"].contains(&error.state.code()), "{sql}: {error:?}");
    }
    let zero = run("SELECT i / 0 FROM t").unwrap_err();
    assert_eq!(zero.state().code(), "22012");
}

/// Batch windows are those that a search of all windows finds.
#[test]
fn batch_windows_agree_with_the_specification() {
    for (call, spec) in [
        ("TUMBLE(t, ts, INTERVAL '1 hour')", WindowSpec::tumble(HOUR, 0)),
        (
            "TUMBLE(t, ts, INTERVAL '1 hour', INTERVAL '10 minutes')",
            WindowSpec::tumble(HOUR, HOUR / 6),
        ),
        ("HOP(t, ts, INTERVAL '1 hour', INTERVAL '3 hours')", WindowSpec::hop(3 * HOUR, HOUR, 0)),
        ("HOP(t, ts, INTERVAL '4 hours', INTERVAL '1 hour')", WindowSpec::hop(HOUR, 4 * HOUR, 0)),
        (
            "TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '2' HOUR, INTERVAL '3' HOUR))",
            WindowSpec::hop(3 * HOUR, 2 * HOUR, 0),
        ),
    ] {
        let sql = format!("SELECT ts, window_start, window_end FROM {call} ORDER BY 1, 2");
        let batch = run(&sql).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        let column = |i: usize| {
            let values = batch.column(i).as_primitive::<TimestampMicrosecondType>();
            values.reinterpret_cast::<Int64Type>().values().to_vec()
        };
        let (times, starts, ends) = (column(0), column(1), column(2));
        let got: Vec<_> = (0..times.len()).map(|i| (times[i], starts[i], ends[i])).collect();
        let mut expected = vec![];
        for ts in [-1, 0, HOUR - 1, HOUR, 5 * HOUR + 7] {
            for k in -10..10 {
                let start = k * spec.slide + spec.offset;
                if start <= ts && ts < start + spec.size {
                    expected.push((ts, start, start + spec.size));
                }
            }
        }
        assert_eq!(got, expected, "{sql}");
    }
}
