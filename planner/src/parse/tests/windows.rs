//! The spellings of windows and what they become.

use super::{error, query};

const NATIVE: &str = "SELECT * FROM TUMBLE(bid, date_time, INTERVAL '1' MINUTE)";

#[test]
fn table_functions_have_one_form() {
    query(NATIVE, NATIVE);
    query(
        "SELECT * FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(date_time), INTERVAL '1' MINUTE))",
        NATIVE,
    );
    query(
        "SELECT * FROM TABLE(TUMBLE(DATA => TABLE bid, TIMECOL => DESCRIPTOR(date_time), SIZE => INTERVAL '1' MINUTE))",
        NATIVE,
    );
    query(
        "SELECT * FROM TABLE(TUMBLE(SIZE => INTERVAL '1' MINUTE, TIMECOL => DESCRIPTOR(date_time), DATA => TABLE bid))",
        NATIVE,
    );
    query(
        "SELECT w.a FROM TABLE(HOP(TABLE s.bid, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)) AS w",
        "SELECT w.a FROM HOP(s.bid, ts, INTERVAL '2' SECOND, INTERVAL '10' SECOND) AS w",
    );
    query(
        "SELECT * FROM TABLE(HOP(DATA => TABLE b, TIMECOL => DESCRIPTOR(ts), SLIDE => INTERVAL '1' HOUR, SIZE => INTERVAL '1' DAY, OFFSET => INTERVAL '1' MINUTE))",
        "SELECT * FROM HOP(b, ts, INTERVAL '1' HOUR, INTERVAL '1' DAY, INTERVAL '1' MINUTE)",
    );
    query(
        "SELECT * FROM TUMBLE((SELECT * FROM bid WHERE a > 1), ts, INTERVAL '10 seconds', INTERVAL '1 second') x",
        "SELECT * FROM TUMBLE((SELECT * FROM bid WHERE a > 1), ts, INTERVAL '10 seconds', INTERVAL '1 second') x",
    );
    query(
        "SELECT * FROM a JOIN (SELECT * FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(`ts`), INTERVAL '1' DAY))) c ON a.x = c.x",
        "SELECT * FROM a JOIN (SELECT * FROM TUMBLE(b, `ts`, INTERVAL '1' DAY)) c ON a.x = c.x",
    );
}

#[test]
fn the_grouped_form_becomes_the_table_function() {
    query(
        "SELECT k, TUMBLE_START(ts, INTERVAL '10' SECOND), TUMBLE_END(ts, INTERVAL '10' second) AS e, count(*) \
         FROM bid GROUP BY TUMBLE(ts, INTERVAL '10' SECOND), k \
         HAVING TUMBLE_END(ts, INTERVAL '10' SECOND) > now() ORDER BY TUMBLE_START(ts, INTERVAL '10' SECOND)",
        "SELECT k, window_start AS tumble_start, window_end AS e, count(*) \
         FROM TUMBLE(bid, ts, INTERVAL '10' SECOND) AS bid GROUP BY window_start, window_end, k \
         HAVING window_end > now() ORDER BY window_start",
    );
    query(
        "SELECT b.k, HOP_START(b.ts, INTERVAL '2' SECOND, INTERVAL '10' SECOND) s FROM bid b \
         WHERE b.p > 1 GROUP BY b.k, HOP(b.ts, INTERVAL '2' SECOND, INTERVAL '10' SECOND)",
        "SELECT b.k, window_start AS s FROM HOP(bid, ts, INTERVAL '2' SECOND, INTERVAL '10' SECOND) b \
         WHERE b.p > 1 GROUP BY b.k, window_start, window_end",
    );
    query(
        "SELECT count(*) FROM (SELECT * FROM bid) x GROUP BY TUMBLE(ts, INTERVAL '1' DAY) UNION ALL SELECT 1",
        "SELECT count(*) FROM TUMBLE((SELECT * FROM bid), ts, INTERVAL '1' DAY) x GROUP BY window_start, window_end UNION ALL SELECT 1",
    );
    query(
        "SELECT max(c) FROM (SELECT count(*) AS c, TUMBLE_END(ts, INTERVAL '1' DAY) AS e FROM bid GROUP BY TUMBLE(ts, INTERVAL '1' DAY)) q GROUP BY TUMBLE(e, INTERVAL '2' DAY)",
        "SELECT max(c) FROM TUMBLE((SELECT count(*) AS c, window_end AS e FROM TUMBLE(bid, ts, INTERVAL '1' DAY) AS bid GROUP BY window_start, window_end), e, INTERVAL '2' DAY) q GROUP BY window_start, window_end",
    );
}

#[test]
fn forms_that_do_not_fit_are_refused_where_they_stand() {
    error(
        "SELECT 1 FROM a, b GROUP BY ¦TUMBLE(ts, INTERVAL '1' DAY)",
        "0A000 GROUP BY TUMBLE needs a single relation in FROM",
    );
    error(
        "SELECT 1 FROM a GROUP BY TUMBLE(¦ts + x, INTERVAL '1' DAY)",
        "0A000 TUMBLE in GROUP BY takes a time column first",
    );
    error(
        "SELECT ¦TUMBLE_START(ts, INTERVAL '2' DAY) FROM a GROUP BY TUMBLE(ts, INTERVAL '1' DAY)",
        "42803 TUMBLE_START does not match the window in GROUP BY",
    );
    error(
        "SELECT ¦TUMBLE_ROWTIME(ts, INTERVAL '1' DAY) FROM a GROUP BY TUMBLE(ts, INTERVAL '1' DAY)",
        "0A000 TUMBLE_ROWTIME is not supported",
    );
    error(
        "SELECT 1 FROM a GROUP BY TUMBLE(ts, INTERVAL '1' DAY), ¦HOP(ts, INTERVAL '1' DAY, INTERVAL '1' DAY)",
        "0A000 only one window is supported in GROUP BY",
    );
    error(
        "SELECT * FROM TABLE(TUMBLE(TABLE t, TIMECOL => DESCRIPTOR(ts), ¦STEP => INTERVAL '1' DAY))",
        "42883 TUMBLE has no argument named \"STEP\"",
    );
    error(
        "SELECT * FROM TABLE(¦TUMBLE(DATA => TABLE t, SIZE => INTERVAL '1' DAY))",
        "42883 argument TIMECOL of TUMBLE is missing",
    );
    error(
        "SELECT * FROM TABLE(TUMBLE(TABLE t, ¦DESCRIPTOR(a, b), INTERVAL '1' DAY))",
        "0A000 DESCRIPTOR takes one name here",
    );
    error("SELECT * FROM TABLE(¦a + 1)", "0A000 TABLE(...) takes a call of a table function");
}
