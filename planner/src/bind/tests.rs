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
    for condition in [
        "SELECT 1 WHERE $1",
        "SELECT 1 FROM t WHERE i > 1 AND $1",
        "SELECT i FROM t WHERE NOT ($1 OR i > 1)",
        "SELECT CASE WHEN $1 THEN 1 END",
        "SELECT count(*) FILTER (WHERE $1) FROM t",
        "SELECT 1 FROM t JOIN u ON $1",
        "SELECT count(*) FROM t HAVING $1",
        "SELECT $1 IS TRUE",
    ] {
        assert_eq!(types(condition), [DataType::Boolean], "{condition}");
    }
}

/// The values of these expressions as PostgreSQL 15 shows them.
#[test]
fn values_are_postgresqls() {
    for (expr, expected) in [
        ("round(2.5), round(-2.5), round(3.5)", "3,-3,4"),
        ("round(2.5::double precision), round(-2.5::float8), round(3.5::float8)", "2.0,-2.0,4.0"),
        ("round(2.5::real), round(5), round(5, 2), round(1.5, 3)", "2.0,5.0,5.00,1.500"),
        (
            "round(15.5, -1), round(7.25, 1::int), round(2.345::numeric(10, 3), 2), round(-1.235, 2)",
            "20,7.3,2.35,-1.24",
        ),
        ("2.5::int, (-2.5)::int, 2.4::bigint, 2.5::numeric(40, 1)::int", "3,-3,2,3"),
        ("2.5::float8::int, 3.5::real::bigint, (-2.5)::float8::smallint", "2,4,-2"),
        (
            "'  2024-01-01  '::date, '2024/1/1'::date, '20240101'::date",
            "2024-01-01,2024-01-01,2024-01-01",
        ),
        ("'2024-03-01 12:00'::timestamp", "2024-03-01T12:00:00"),
        ("'2024-03-01T12:00:00.5Z'::timestamp", "2024-03-01T12:00:00.500"),
        ("TIMESTAMP '2024-03-01 12:00', 'epoch'::date", "2024-03-01T12:00:00,1970-01-01"),
        ("'2024-01-01 12:00:00+02'::timestamptz", "2024-01-01T10:00:00Z"),
        ("'2024-01-01 12:00+02:30'::timestamptz", "2024-01-01T09:30:00Z"),
        ("'12:30'::time", "12:30:00"),
        ("'2024-01-03 12:00:00'::timestamp - '2024-01-01'::timestamp", "2 days 12 hours"),
        ("'2024-01-01'::timestamp - '2024-01-03 12:00:00'::timestamp", "-2 days -12 hours"),
        ("'2024-01-02'::date - '2024-01-01 12:00'::timestamp", "12 hours"),
        ("'2024-01-02'::timestamp - '2024-01-01'", "1 days"),
        ("'2024-01-03'::timestamp - '2024-01-01'::timestamp > interval '47 hours'", "true"),
        ("interval '1 day 1 hour' > interval '36 hours', interval '1 day' = '24:00'", "false,true"),
        ("interval '1 mon' BETWEEN interval '29 days' AND '31 days'", "true"),
        ("interval '30 days' IN (interval '1 day', interval '1 month')", "true"),
        ("extract(epoch from '2024-01-03 12:00'::timestamp - '2024-01-01'::timestamp)", "216000.0"),
        (
            "interval '1 day 02:03:04', interval '5' minute",
            "1 days 2 hours 3 mins 4.000000000 secs,5 mins",
        ),
        (
            "'1-2'::interval, 'P1DT2H'::interval, '1.5 days'::interval",
            "14 mons,1 days 2 hours,1 days 12 hours",
        ),
        (
            "interval '1-2' year to month, interval '2:03' minute to second",
            "14 mons,2 mins 3.000000000 secs",
        ),
        ("'2024-01-01'::timestamp + interval '1 day 02:00'", "2024-01-02T02:00:00"),
        ("'2024-01-01 12:00'::timestamp > '2024-01-01 11:59'", "true"),
        ("1.0::float8 / 4, 'NaN'::float8 / 0", "0.25,NaN"),
        ("NULL::float8 / 0, 1 / NULL::real", ","),
        (
            "pg_typeof(1), pg_typeof(1.5), pg_typeof('x'), pg_typeof(NULL)",
            "integer,numeric,unknown,unknown",
        ),
        (
            "pg_typeof('x'::text), pg_typeof(3000000000), pg_typeof(1::numeric(10, 2))",
            "text,bigint,numeric",
        ),
        ("pg_typeof('2024-01-01'::timestamp)", "timestamp without time zone"),
        ("pg_typeof('2024-01-01'::timestamptz)", "timestamp with time zone"),
        (
            "pg_typeof(true), pg_typeof(1::real), pg_typeof(interval '1 day')",
            "boolean,real,interval",
        ),
        ("pg_typeof(round(5)), pg_typeof(round(5, 2))", "double precision,numeric"),
    ] {
        assert_eq!(shown(&format!("SELECT {expr}")), expected, "{expr}");
    }
}

/// Columns compute as constants do: nothing depends on folding.
#[test]
fn columns_are_cast_as_constants_are() {
    let from =
        "FROM (VALUES (2.5, '2024-01-01 12:00', '1 day 02:00'), (-2.5, NULL, NULL)) v(n, t, d)";
    for (expr, expected) in [
        ("n::int, n::float8::int, round(n), round(n::float8)", "3,2,3,2.0; -3,-2,-3,-2.0"),
        ("t::timestamp, t::date, d::interval", "2024-01-01T12:00:00,2024-01-01,1 days 2 hours; ,,"),
        ("t::timestamp - '2023-12-30'::timestamp", "2 days 12 hours; "),
        ("t::timestamp > '2024-01-01 11:00', d::interval > '25:00'", "true,true; ,"),
        (
            "pg_typeof(n), pg_typeof(t), pg_typeof(d::interval)",
            "numeric,text,interval; numeric,text,interval",
        ),
    ] {
        assert_eq!(shown(&format!("SELECT {expr} {from}")), expected, "{expr}");
    }
    let order = "SELECT d FROM (VALUES ('36 hours'::interval), (interval '1 day 1 hour'), (interval '30 hours')) v(d) ORDER BY d";
    assert_eq!(shown(order), "1 days 1 hours; 30 hours; 36 hours");
}

#[test]
fn bad_values_have_postgresqls_codes() {
    for (expr, state, message) in [
        ("40000::smallint", "22003", "smallint out of range"),
        ("1e10::float8::int", "22003", "integer out of range"),
        ("'NaN'::float8::int", "22003", "integer out of range"),
        ("99999999999999999999::bigint", "22003", "bigint out of range"),
        ("1::float8 / 0", "22012", ""),
        ("1::real / 0", "22012", ""),
        ("'1e300'::float8 / '1e-300'::float8", "22003", ""),
        ("'nope'::date", "22007", "invalid input syntax for type date: \"nope\""),
        ("'2024-02-30'::date", "22008", "date/time field value out of range: \"2024-02-30\""),
        ("'2024-01-01 25:00'::timestamp", "22008", "out of range"),
        ("'25:00'::time", "22008", "out of range"),
        ("'infinity'::timestamp", "0A000", "infinite values of type timestamp"),
        ("'garbage'::interval", "22007", "invalid input syntax for type interval: \"garbage\""),
        ("'02:60'::interval", "22015", "interval field value out of range: \"02:60\""),
        ("round('2024-01-01'::date)", "42883", "round(date)"),
    ] {
        let sql = format!("SELECT {expr}");
        let error = run(&sql).unwrap_err().diagnostic(&sql);
        assert_eq!(error.state.code(), state, "{sql}: {error:?}");
        assert!(error.message.contains(message), "{sql}: {error:?}");
    }
    let literal =
        run("SELECT INTERVAL '1 parsec'").unwrap_err().diagnostic("SELECT INTERVAL '1 parsec'");
    assert_eq!((literal.state.code(), literal.position), ("22007", Some(17)));
}

/// What a condition guards is not evaluated where it does not hold, whatever the
/// optimizer does.
#[test]
fn conditions_guard() {
    let numbers = "(VALUES (4, 2), (1, 0), (9, 3), (5, 1), (3, 0)) v(a, b)";
    for (condition, expected) in [
        ("b <> 0 AND a / b > 2", "5; 9"),
        ("b > 0 AND a / b > 2", "5; 9"),
        ("a / b > 2 AND b > 0", "5; 9"),
        ("b = 0 OR a / b > 2", "1; 3; 5; 9"),
        ("CASE WHEN b <> 0 THEN a / b > 2 ELSE false END", "5; 9"),
        ("NOT (b = 0 OR a / b <= 2)", "5; 9"),
        ("b <> 0 AND 1.0::float8 / b > 0.4", "4; 5"),
    ] {
        let sql = format!("SELECT a FROM {numbers} WHERE {condition} ORDER BY a");
        assert_eq!(shown(&sql), expected, "{sql}");
    }
    let sql =
        format!("SELECT a, b <> 0 AND a / b > 2, b = 0 OR a / b > 2 FROM {numbers} ORDER BY a");
    assert_eq!(shown(&sql), "1,false,true; 3,false,true; 4,false,false; 5,true,true; 9,true,true");
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
