//! Goldens: what EXPLAIN shows of a job, and what is refused.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, TimeUnit};
use tidemill_types::plan::{SinkLog, wire};
use tidemill_types::{OnError, SqlState, TableId};

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
            loose_names: true,
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
            search_path: vec!["public".to_owned()],
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
    assert_eq!(got, expected.trim_start_matches('\n'), "{sql}\n{got}");
    job
}

fn notices(job: &PlannedJob) -> String {
    job.notices.iter().map(|n| n.message.as_str()).collect::<Vec<_>>().join("; ")
}

#[test]
fn stateless_rows_have_row_ids() {
    let job = golden(
        "SELECT auction, price FROM bid WHERE mod(auction, 123) = 0",
        EmitMode::OnUpdate,
        r"
Fragment 0
  -> Materialize  append only; key: _tm_row_id
       columns: auction bigint, price integer, _tm_row_id bigint
       append only; stream key: _tm_row_id; distribution: by split; state: unbounded
    -> Filter  (auction % 123) = 0
         append only; stream key: _tm_row_id; distribution: by split; state: none
      -> Source  bid (nexmark)
           columns: auction bigint, price integer, _tm_row_id bigint
           append only; stream key: _tm_row_id; distribution: by split; state: none
",
    );
    assert_eq!(notices(&job), "");
}

#[test]
fn a_window_is_made_of_slices() {
    let job = golden(
        "SELECT channel, window_end, count(*), sum(price) FROM TUMBLE(bid, date_time, INTERVAL '1 day') WHERE price > 3 GROUP BY channel, window_start, window_end HAVING count(*) > 2 AND window_end > timestamp '2020-01-01 00:00:00'",
        EmitMode::OnUpdate,
        r"
Fragment 1
  -> Materialize  by key; key: window_end, channel
       columns: channel text, window_end timestamp without time zone, count bigint, sum bigint
       upsert; stream key: window_end, channel; watermarks: window_end; distribution: hash of channel; state: unbounded
    -> Project  channel, window_end, count(*), sum(price)
         columns: channel, window_end, count, sum
         upsert; stream key: window_end, channel; watermarks: window_end; distribution: hash of channel; state: none
      -> Filter  count(*) > 2
           upsert; stream key: window_end, channel; watermarks: window_start - 1 day, window_end; distribution: hash of channel; state: none
        -> Filter  window_end > '2020-01-01T00:00:00'
             upsert; stream key: window_end, channel; watermarks: window_start - 1 day, window_end; distribution: hash of channel; state: none
          -> GlobalAggregate  TUMBLE size 1 day; by: channel; count(*), sum(price); emit on update
               columns: window_start, window_end, channel, count(*), sum(price)
               upsert; stream key: window_end, channel; watermarks: window_start - 1 day, window_end; distribution: hash of channel; state: until the window closes
            -> ExchangeInput  exchange 0 from fragment 0
                 append only; distribution: hash of channel; state: none
Fragment 0 => exchange 0 by hash of channel
  -> LocalAggregate  TUMBLE size 1 day; by: channel; count(*), sum(price)
       columns: _tm_slice_end, _tm_first_window_end, channel, count_0_count, sum_1_sum, sum_1_count
       append only; distribution: by split; state: within an epoch
    -> AssignSlices  TUMBLE size 1 day on date_time
         columns: price, channel, date_time, _tm_row_watermark, _tm_slice_end, _tm_first_window_end
         append only; distribution: by split; state: none
      -> Filter  price > 3
           append only; distribution: by split; state: none
        -> Source  bid (nexmark); watermark = date_time - INTERVAL '4 seconds'
             columns: price integer, channel text, date_time timestamp without time zone, _tm_row_watermark bigint
             append only; distribution: by split; state: none
",
    );
    assert_eq!(notices(&job), "");
}

#[test]
fn keys_that_are_not_selected_are_hidden() {
    let job = golden(
        "SELECT count(*) AS n, avg(price * 2) FILTER (WHERE price > 7) a FROM HOP(bid, date_time, INTERVAL '1' HOUR, INTERVAL '3' HOUR) GROUP BY auction, window_end",
        EmitMode::OnWindowClose,
        r"
Fragment 1
  -> Materialize  append only; key: _tm_window_end, _tm_auction
       columns: n bigint, a numeric, _tm_window_end timestamp without time zone, _tm_auction bigint
       append only; stream key: _tm_window_end, _tm_auction; watermarks: _tm_window_end; distribution: hash of _tm_auction; state: unbounded
    -> Project  count(*), avg(price * 2) FILTER (price > 7), window_end, auction
         columns: n, a, _tm_window_end, _tm_auction
         append only; stream key: _tm_window_end, _tm_auction; watermarks: _tm_window_end; distribution: hash of _tm_auction; state: none
      -> GlobalAggregate  HOP slide 1 hour size 3 hours; by: auction; count(*), avg(price * 2) FILTER (price > 7); emit on window close
           columns: window_start, window_end, auction, count(*), avg(price * 2) FILTER (price > 7)
           append only; stream key: window_end, auction; watermarks: window_start - 3 hours, window_end; distribution: hash of auction; state: until the window closes
        -> ExchangeInput  exchange 0 from fragment 0
             append only; distribution: hash of auction; state: none
Fragment 0 => exchange 0 by hash of auction
  -> LocalAggregate  HOP slide 1 hour size 3 hours; by: auction; count(*), avg(price * 2) FILTER (price > 7)
       columns: _tm_slice_end, _tm_first_window_end, auction, count_0_count, avg_1_sum, avg_1_count
       append only; distribution: by split; state: within an epoch
    -> Project  _tm_slice_end, _tm_first_window_end, auction, price * 2, price > 7
         columns: _tm_slice_end, _tm_first_window_end, auction, price * 2, price > 7
         append only; distribution: by split; state: none
      -> AssignSlices  HOP slide 1 hour size 3 hours on date_time
           columns: auction, price, date_time, _tm_row_watermark, _tm_slice_end, _tm_first_window_end
           append only; distribution: by split; state: none
        -> Source  bid (nexmark); watermark = date_time - INTERVAL '4 seconds'
             columns: auction bigint, price integer, date_time timestamp without time zone, _tm_row_watermark bigint
             append only; distribution: by split; state: none
",
    );
    assert_eq!(notices(&job), "");
}

#[test]
fn expressions_around_an_aggregation() {
    let job = golden(
        "SELECT upper(channel) u, min(cents) + 1 AS m FROM bid GROUP BY upper(channel)",
        EmitMode::OnUpdate,
        r"
Fragment 1
  -> Materialize  by key; key: u
       columns: u text, m bigint
       upsert; stream key: u; distribution: hash of u; state: unbounded
    -> Project  upper(channel), min(cents) + 1
         columns: u, m
         upsert; stream key: u; distribution: hash of u; state: none
      -> GlobalAggregate  by: upper(channel); min(cents); emit on update
           columns: upper(channel), min(cents)
           upsert; stream key: upper(channel); distribution: hash of upper(channel); state: unbounded
        -> ExchangeInput  exchange 0 from fragment 0
             append only; distribution: hash of upper(channel); state: none
Fragment 0 => exchange 0 by hash of upper(channel)
  -> LocalAggregate  by: upper(channel); min(cents)
       columns: upper(channel), min_0_value
       append only; distribution: by split; state: within an epoch
    -> Project  upper(channel), cents
         columns: upper(channel), cents
         append only; distribution: by split; state: none
      -> Project  channel, cents
           columns: channel, cents
           append only; distribution: by split; state: none
        -> Source  bid (nexmark); cents = price::bigint * 100
             columns: price integer, channel text, cents bigint
             append only; distribution: by split; state: none
",
    );
    assert_eq!(
        notices(&job),
        "the state of GlobalAggregate grows for ever: it keeps every group that has ever been seen"
    );
}

#[test]
fn one_row_for_all() {
    let job = golden(
        "SELECT count(*) FROM dear",
        EmitMode::OnUpdate,
        r"
Fragment 1
  -> Materialize  by key; key: none
       columns: count bigint
       upsert; distribution: one worker; state: unbounded
    -> Project  count(*)
         columns: count
         upsert; distribution: one worker; state: none
      -> GlobalAggregate  count(*); emit on update
           columns: count(*)
           upsert; distribution: one worker; state: unbounded
        -> ExchangeInput  exchange 0 from fragment 0
             append only; distribution: one worker; state: none
Fragment 0 => exchange 0 to one worker
  -> LocalAggregate  count(*)
       columns: count_0_count
       append only; distribution: by split; state: within an epoch
    -> Filter  price > 1000
         append only; distribution: by split; state: none
      -> Source  bid (nexmark)
           columns: price integer
           append only; distribution: by split; state: none
",
    );
    assert_eq!(notices(&job), "");
}

#[test]
fn a_row_for_each_window() {
    let job = golden(
        "SELECT price, window_start AS w FROM HOP(bid, date_time, INTERVAL '1 hour', INTERVAL '2 hours')",
        EmitMode::OnUpdate,
        r"
Fragment 0
  -> Materialize  append only; key: _tm_row_id, w
       columns: price integer, w timestamp without time zone, _tm_row_id bigint
       append only; stream key: _tm_row_id, w; watermarks: w - 2 hours; distribution: by split; state: unbounded
    -> Project  price, window_start, _tm_row_id
         columns: price, w, _tm_row_id
         append only; stream key: _tm_row_id, w; watermarks: w - 2 hours; distribution: by split; state: none
      -> AssignWindows  HOP slide 1 hour size 2 hours on date_time
           columns: price, date_time, _tm_row_id, _tm_row_watermark, window_start, window_end
           append only; stream key: _tm_row_id, window_end; watermarks: window_start - 2 hours, window_end; distribution: by split; state: none
        -> Source  bid (nexmark); watermark = date_time - INTERVAL '4 seconds'
             columns: price integer, date_time timestamp without time zone, _tm_row_id bigint, _tm_row_watermark bigint
             append only; stream key: _tm_row_id; distribution: by split; state: none
",
    );
    assert_eq!(notices(&job), "");
}

#[test]
fn distinct_is_an_aggregation() {
    let job = golden(
        "SELECT DISTINCT window_start, bidder FROM TUMBLE(plain, date_time, INTERVAL '1 day')",
        EmitMode::OnUpdate,
        r"
Fragment 1
  -> Materialize  by key; key: window_start, bidder
       columns: window_start timestamp without time zone, bidder bigint
       upsert; stream key: window_start, bidder; distribution: hash of bidder; state: unbounded
    -> Project  window_start, bidder
         columns: window_start, bidder
         upsert; stream key: window_start, bidder; distribution: hash of bidder; state: none
      -> GlobalAggregate  TUMBLE size 1 day; by: bidder; emit on update
           columns: window_start, window_end, bidder
           upsert; stream key: window_start, bidder; distribution: hash of bidder; state: unbounded
        -> ExchangeInput  exchange 0 from fragment 0
             append only; distribution: hash of bidder; state: none
Fragment 0 => exchange 0 by hash of bidder
  -> LocalAggregate  TUMBLE size 1 day; by: bidder
       columns: _tm_slice_end, _tm_first_window_end, bidder
       append only; distribution: by split; state: within an epoch
    -> AssignSlices  TUMBLE size 1 day on date_time; no row is late
         columns: bidder, date_time, _tm_slice_end, _tm_first_window_end
         append only; distribution: by split; state: none
      -> Source  plain (nexmark)
           columns: bidder bigint, date_time timestamp without time zone
           append only; distribution: by split; state: none
",
    );
    assert_eq!(
        notices(&job),
        "the state of GlobalAggregate grows for ever: its windows have no watermark to close them"
    );
}

#[test]
fn what_can_fail_is_filtered_last() {
    let job = golden(
        "SELECT sum(x) FROM (SELECT price AS x, window_end FROM TUMBLE(bid, date_time, INTERVAL '1 day') WHERE window_end > timestamp '2020-01-01 00:00:00' AND 10 / price > 1 AND price <> 0) q GROUP BY window_end",
        EmitMode::OnUpdate,
        r"
Fragment 1
  -> Materialize  by key; key: _tm_window_end
       columns: sum bigint, _tm_window_end timestamp without time zone
       upsert; stream key: _tm_window_end; watermarks: _tm_window_end; distribution: one worker; state: unbounded
    -> Project  sum(price), window_end
         columns: sum, _tm_window_end
         upsert; stream key: _tm_window_end; watermarks: _tm_window_end; distribution: one worker; state: none
      -> Filter  window_end > '2020-01-01T00:00:00'
           upsert; stream key: window_end; watermarks: window_start - 1 day, window_end; distribution: one worker; state: none
        -> GlobalAggregate  TUMBLE size 1 day; sum(price); emit on update
             columns: window_start, window_end, sum(price)
             upsert; stream key: window_end; watermarks: window_start - 1 day, window_end; distribution: one worker; state: until the window closes
          -> ExchangeInput  exchange 0 from fragment 0
               append only; distribution: one worker; state: none
Fragment 0 => exchange 0 to one worker
  -> LocalAggregate  TUMBLE size 1 day; sum(price)
       columns: _tm_slice_end, _tm_first_window_end, sum_0_sum, sum_0_count
       append only; distribution: by split; state: within an epoch
    -> AssignSlices  TUMBLE size 1 day on date_time
         columns: price, date_time, _tm_row_watermark, _tm_slice_end, _tm_first_window_end
         append only; distribution: by split; state: none
      -> Filter  (10 / price) > 1
           append only; distribution: by split; state: none
        -> Filter  price != 0
             append only; distribution: by split; state: none
          -> Source  bid (nexmark); watermark = date_time - INTERVAL '4 seconds'
               columns: price integer, date_time timestamp without time zone, _tm_row_watermark bigint
               append only; distribution: by split; state: none
",
    );
    assert_eq!(notices(&job), "");
}

#[test]
fn windows_over_a_time_without_watermark_are_keys() {
    let job = golden(
        "SELECT max(price), window_start FROM TUMBLE(bid, seen, INTERVAL '1 day') GROUP BY window_start",
        EmitMode::OnUpdate,
        r"
Fragment 1
  -> Materialize  by key; key: window_start
       columns: max integer, window_start timestamp without time zone
       upsert; stream key: window_start; distribution: hash of window_start; state: unbounded
    -> Project  max(price), window_start
         columns: max, window_start
         upsert; stream key: window_start; distribution: hash of window_start; state: none
      -> GlobalAggregate  by: window_start; max(price); emit on update
           columns: window_start, max(price)
           upsert; stream key: window_start; distribution: hash of window_start; state: unbounded
        -> ExchangeInput  exchange 0 from fragment 0
             append only; distribution: hash of window_start; state: none
Fragment 0 => exchange 0 by hash of window_start
  -> LocalAggregate  by: window_start; max(price)
       columns: window_start, max_0_value
       append only; distribution: by split; state: within an epoch
    -> AssignWindows  TUMBLE size 1 day on seen; no row is late
         columns: price, seen, window_start, window_end
         append only; distribution: by split; state: none
      -> Project  price, seen
           columns: price, seen
           append only; distribution: by split; state: none
        -> Source  bid (nexmark); watermark = date_time - INTERVAL '4 seconds'
             columns: price integer, date_time timestamp without time zone, seen timestamp without time zone
             append only; distribution: by split; state: none
",
    );
    assert_eq!(
        notices(&job),
        "the state of GlobalAggregate grows for ever: it keeps every group that has ever been seen"
    );
}

#[test]
fn a_sink_of_plain_rows_needs_no_row_ids() {
    let options = Options::new();
    let target = JobTarget::Sink {
        id: ObjectId(7),
        name: "k",
        connector: "blackhole",
        options: &options,
        log: None,
    };
    let job = plan("SELECT auction, price FROM bid", EmitMode::OnUpdate, target).unwrap();
    assert_eq!(job.key, Vec::<usize>::new());
    assert!(job.append_only);
    assert_eq!(job.stored, job.visible);
    assert!(!explain(&job.graph).contains("_tm_row_id"));
    let job =
        plan("SELECT count(*) FROM bid GROUP BY channel", EmitMode::OnUpdate, target).unwrap();
    assert_eq!((job.visible.fields().len(), job.key), (1, vec![1]));
}

#[test]
fn a_logged_sink_has_a_state_table_and_tells_its_changes() {
    let options = Options::new();
    let log = SinkLog {
        lanes: 2,
        incarnation: 7,
        rolling_rows: 1,
        rolling_bytes: 1,
        memory_bytes: 1,
        max_bytes: 1,
    };
    let target = JobTarget::Sink {
        id: ObjectId(7),
        name: "k",
        connector: "file",
        options: &options,
        log: Some(log),
    };
    let job = plan("SELECT auction, price FROM bid", EmitMode::OnUpdate, target).unwrap();
    assert_eq!(job.graph.number_tables(TableId(3)).1, TableId(4));
    assert!(explain(&job.graph).contains("k (file); log of 2 lanes"), "{}", explain(&job.graph));

    let refused = |sql: &str| plan(sql, EmitMode::OnUpdate, target).unwrap_err().state().code();
    assert_eq!(refused("SELECT count(*) FROM bid GROUP BY channel"), "0A000");
    assert_eq!(refused("SELECT channel, count(*) AS tm_op FROM bid GROUP BY channel"), "42701");
    let keyed = "SELECT channel, count(*) FROM bid GROUP BY channel";
    assert_eq!(plan(keyed, EmitMode::OnUpdate, target).unwrap().key, [0]);
    let added = plan("SELECT price AS tm_op FROM bid", EmitMode::OnUpdate, target);
    assert!(added.is_ok(), "rows that are only added have no such column");
}

#[test]
fn what_a_job_says_of_itself() {
    let job = plan("SELECT who AS w FROM dear", EmitMode::OnUpdate, VIEW).unwrap();
    assert_eq!(job.depends_on, [ObjectId(3)]);
    assert_eq!(job.visible.field(0).name(), "w");
    assert_eq!(job.stored.field(1).name(), "_tm_row_id");
    assert_eq!((job.key, job.append_only), (vec![1], true));
}

#[test]
fn on_window_close_needs_windows_that_close() {
    let close = |sql: &str| plan(sql, EmitMode::OnWindowClose, VIEW);
    for (sql, state) in [
        ("SELECT price FROM bid", "0A000"),
        ("SELECT count(*) FROM bid GROUP BY channel", "0A000"),
        ("SELECT * FROM TUMBLE(bid, date_time, INTERVAL '1 day')", "0A000"),
        ("SELECT count(*) FROM TUMBLE(bid, date_time, INTERVAL '1 day') GROUP BY channel", "0A000"),
        ("SELECT count(*) FROM TUMBLE(bid, seen, INTERVAL '1 day') GROUP BY window_end", "42P17"),
        (
            "SELECT count(*) FROM TUMBLE(plain, date_time, INTERVAL '1 day') GROUP BY window_end",
            "42P17",
        ),
    ] {
        let error = close(sql).unwrap_err();
        assert_eq!(error.state().code(), state, "{sql}: {error}");
        assert!(error.diagnostic(sql).hint.is_some(), "{sql}");
    }
    // The time may come through subqueries, views and other names, unchanged.
    for sql in [
        "SELECT count(*) FROM TUMBLE((SELECT date_time AS t, price + 1 AS p FROM bid), t, INTERVAL '1 day') GROUP BY window_end",
        "SELECT count(*) FROM TUMBLE(dear, at, INTERVAL '1 day') GROUP BY window_start, who",
        "WITH b AS (SELECT * FROM bid WHERE price > 3) SELECT count(*) FROM HOP(b, date_time, INTERVAL '1 hour', INTERVAL '1 day') w GROUP BY w.window_end",
    ] {
        let job = close(sql).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        assert!(job.append_only && job.notices.is_empty(), "{sql}");
    }
    let computed = "SELECT count(*) FROM TUMBLE((SELECT date_time + INTERVAL '1 hour' AS t FROM bid), t, INTERVAL '1 day') GROUP BY window_end";
    assert_eq!(close(computed).unwrap_err().state(), SqlState::INVALID_OBJECT_DEFINITION);
}

#[test]
fn the_rest_is_refused_where_it_stands() {
    for (sql, position, part) in [
        ("SELECT a.price FROM bid a JOIN bid b ON a.auction = b.auction", Some(32), "a join"),
        ("SELECT a.price FROM bid a, bid b", Some(28), "a join"),
        ("SELECT price FROM bid UNION ALL SELECT price FROM bid", Some(33), "UNION"),
        ("SELECT price FROM bid ORDER BY price", Some(32), "ORDER BY"),
        ("SELECT price FROM bid LIMIT 3", Some(29), "LIMIT"),
        ("SELECT sum(price) OVER (PARTITION BY auction) FROM bid", Some(8), "a window function"),
        ("SELECT count(DISTINCT price) FROM bid", Some(8), "DISTINCT"),
        ("SELECT DISTINCT ON (price) * FROM bid", Some(21), "DISTINCT ON"),
        (
            "SELECT price FROM bid WHERE price IN (SELECT price FROM bid)",
            Some(29),
            "IN with a subquery",
        ),
        ("SELECT price FROM bid WHERE price > (SELECT max(price) FROM bid)", None, "a subquery"),
        (
            "SELECT max(n) FROM (SELECT count(*) AS n FROM bid GROUP BY auction) q",
            None,
            "an aggregation over",
        ),
        ("SELECT sum(price) FROM bid GROUP BY ROLLUP (auction)", Some(45), "ROLLUP"),
        ("SELECT stddev(price) FROM bid", None, "the aggregate"),
        ("SELECT price, now() FROM bid", Some(15), "now()"),
        ("SELECT random() FROM bid", None, ""),
        ("SELECT 1", None, "without a relation"),
        ("VALUES (1)", None, "VALUES"),
        ("SELECT price FROM bid WHERE price > $1", Some(37), "a parameter"),
    ] {
        let error = match plan(sql, EmitMode::OnUpdate, VIEW) {
            Ok(job) => panic!("{sql} was planned:\n{}", explain(&job.graph)),
            Err(error) => error.diagnostic(sql),
        };
        let known = ["0A000", "42883"].contains(&error.state.code());
        assert!(known && error.message.contains(part), "{sql}: {error:?}");
        if position.is_some() {
            assert_eq!(error.position, position, "{sql}: {error:?}");
        }
        assert!(error.hint.is_some(), "{sql}: {error:?}");
    }
}

#[test]
fn columns_must_have_names_of_their_own() {
    for (sql, part) in [
        ("SELECT price, price FROM bid", "\"price\" specified more than once"),
        ("SELECT price + 1, price + 2 FROM bid", "\"?column?\" specified more than once"),
        ("SELECT price AS _tm_x FROM bid", "reserved"),
    ] {
        let error = plan(sql, EmitMode::OnUpdate, VIEW).unwrap_err();
        assert!(error.to_string().contains(part), "{sql}: {error}");
    }
}

/// A watermark that nothing waits for costs no column.
#[test]
fn a_watermark_is_computed_where_it_is_used_or_free() {
    let watermark = |sql: &str| {
        let job = plan(sql, EmitMode::OnUpdate, VIEW).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        let nodes = job.graph.fragments.iter().flat_map(|f| &f.nodes);
        let scan = nodes
            .filter_map(|n| match &n.operator {
                tidemill_types::plan::Operator::Source(scan) => Some(scan),
                _ => None,
            })
            .next()
            .unwrap();
        let names: Vec<_> = scan.columns.iter().map(|c| c.name().as_str()).collect();
        (names.join(" "), scan.watermark.is_some())
    };
    let without = |names: &str| (names.to_owned(), false);
    let with = |names: &str| (names.to_owned(), true);
    assert_eq!(
        watermark("SELECT auction, bidder, price FROM bid"),
        without("auction bidder price")
    );
    assert_eq!(watermark("SELECT auction, count(*) FROM bid GROUP BY 1"), without("auction"));
    assert_eq!(watermark("SELECT price, date_time FROM bid"), with("price date_time"));
    assert_eq!(
        watermark(
            "SELECT auction, count(*) FROM TUMBLE(bid, date_time, INTERVAL '1 hour') \
             GROUP BY auction, window_end"
        ),
        with("auction date_time")
    );
}

/// `date_time` under the names that Flink's users know.
#[test]
fn columns_have_other_spellings() {
    let names = |sql: &str| {
        let job = plan(sql, EmitMode::OnUpdate, VIEW).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        job.visible.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("SELECT dateTime, Bid.`dateTime` AS x FROM bid AS Bid"), "datetime x");
    assert_eq!(
        names(
            "SELECT q.dateTime FROM (SELECT dateTime, price FROM bid WHERE dateTime > '2015-07-15') q"
        ),
        "datetime"
    );
    assert_eq!(
        names(
            "SELECT window_end, count(*) FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), \
             INTERVAL '1' HOUR)) GROUP BY window_end"
        ),
        "window_end count"
    );
    assert_eq!(names("SELECT DATE_TIME, dateTime AS again FROM bid"), "date_time again");
    let error = plan("SELECT dateTimes FROM bid", EmitMode::OnUpdate, VIEW).unwrap_err();
    assert_eq!(error.state(), SqlState::UNDEFINED_COLUMN);
}
