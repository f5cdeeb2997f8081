//! The token under the caret.

use super::error;

#[test]
fn the_offending_token_is_named() {
    error("¦SELEC 1", "42601 syntax error at or near \"SELEC\"");
    error("SELECT 1 FORM ¦t", "42601 syntax error at or near \"t\"");
    error("SELECT a b ¦c FROM t", "42601 syntax error at or near \"c\"");
    error("SELECT * FROM t WHERE a = ¦= 2", "42601 syntax error at or near \"=\"");
    error("SELECT * FROM t GROUP ¦x", "42601 syntax error at or near \"x\"");
    error("SELECT (1 + 2¦", "42601 syntax error at end of input");
    error("SELECT 1 +¦", "42601 syntax error at end of input");
    error("SELECT 1 +  -- nothing\n ¦", "42601 syntax error at end of input");
    error("SELECT 'a' ¦'b'", "42601 syntax error at or near \"'b'\"");
    error("SELECT 1¦)", "42601 syntax error at or near \")\"");
    error("¦) SELECT", "42601 syntax error at or near \")\"");
    error("¦42", "42601 syntax error at or near \"42\"");
    error("SELECT * FROM t JOIN u ON¦", "42601 syntax error at end of input");
    error("SELECT CASE WHEN a THEN 1 ¦FROM t", "42601 syntax error at or near \"FROM\"");
    error("SELECT CAST(a ¦FROM t)", "42601 syntax error at or near \"FROM\"");
    error("SELECT f(a, ¦) FROM t", "42601 syntax error at or near \")\"");
}

#[test]
fn positions_count_characters_of_the_whole_source() {
    error("SELECT 1;\n\tSELECT 'äöü', \u{1F600} x ¦y", "42601 syntax error at or near \"y\"");
    error("SELECT 1; SELECT 2 +¦; SELECT 3", "42601 syntax error at or near \";\"");
    error("/* ¶\n¶ */ SELECT 1;\r\n  SELECT * ¦1", "42601 syntax error at or near \"1\"");
    error("-- é\nSELECT a,\n\t\tb b ¦c", "42601 syntax error at or near \"c\"");
}

#[test]
fn errors_within_subqueries_are_found_there() {
    error("SELECT * FROM (SELECT a FROM t WHERE ¦) x", "42601 syntax error at or near \")\"");
    error(
        "SELECT * FROM (SELECT a FROM (SELECT b FROM u WHERE c = ¦= 1) y) x",
        "42601 syntax error at or near \"=\"",
    );
    error(
        "SELECT * FROM (SELECT 1) a JOIN (SELECT 2, ¦, 3) b ON true",
        "42601 syntax error at or near \",\"",
    );
    error("SELECT * FROM ¦FROM (SELECT 1) x", "42601 syntax error at or near \"FROM\"");
    error("WITH a AS (SELECT 1 +¦) SELECT * FROM a", "42601 syntax error at or near \")\"");
    error("SELECT * FROM t WHERE a IN (SELECT b FROM ¦)", "42601 syntax error at or near \")\"");
}

#[test]
fn unreadable_text_is_named_at_its_beginning() {
    error("SELECT ¦'abc", "42601 unterminated quoted string at or near \"'abc\"");
    error("SELECT ¦\"abc", "42601 unterminated quoted identifier at or near \"\"abc\"");
    error("SELECT ¦`abc", "42601 unterminated quoted identifier at or near \"`abc\"");
    error("SELECT 1 ¦/* abc", "42601 unterminated /* comment at or near \"/* abc\"");
    error("SELECT ¦$x$abc", "42601 unterminated dollar-quoted string at or near \"$x$abc\"");
}

#[test]
fn known_sql_that_is_not_there_is_refused() {
    error("¦UPDATE t SET a = 1", "0A000 UPDATE is not supported");
    error("¦DELETE FROM t", "0A000 DELETE is not supported");
    error("ALTER SOURCE s ¦RENAME TO r", "0A000 this form of ALTER SOURCE is not supported");
    error("¦ALTER TYPE t ADD VALUE 'x'", "0A000 ALTER TYPE is not supported");
    error("ALTER ¦x", "42601 syntax error at or near \"x\"");
    error("ALTER SINK k SET PARALLELISM = ¦0", "22023 parallelism is a number from 1 to 1024");
    error("ALTER SINK k SET PARALLELISM = ¦many", "42601 syntax error at or near \"many\"");
    error("¦COPY t FROM STDIN", "0A000 COPY is not supported");
    error("¦PAUSE JOB j", "0A000 PAUSE is not supported");
    error("¦SUBSCRIBE mv", "0A000 SUBSCRIBE is not supported");
    error("¦CREATE INDEX i ON t (a)", "0A000 CREATE INDEX is not supported");
    error("¦DROP INDEX i", "0A000 DROP INDEX is not supported");
    error("¦CREATE TABLE t (a int)", "0A000 tables that store rows are not supported");
    error("¦CREATE TABLE t AS SELECT 1", "0A000 tables that store rows are not supported");
    error("CREATE ¦FROB x", "42601 syntax error at or near \"FROB\"");
    error(
        "CREATE ¦OR REPLACE SOURCE s WITH (connector = 'x')",
        "0A000 OR REPLACE is supported for views only",
    );
    error("CREATE ¦TEMP VIEW v AS SELECT 1", "0A000 CREATE TEMPORARY is not supported");
    error("DECLARE c ¦SCROLL CURSOR FOR SELECT 1", "0A000 a SCROLL cursor is not supported");
    error("DECLARE c CURSOR ¦WITH HOLD FOR SELECT 1", "0A000 a cursor WITH HOLD is not supported");
    error(
        "EXPLAIN ¦DECLARE c CURSOR FOR SELECT 1",
        "0A000 EXPLAIN of this statement is not supported",
    );
    error("¦LISTEN x", "0A000 LISTEN is not supported");
    error("UPDATE t ¦WHERE", "42601 syntax error at or near \"WHERE\"");
}

#[test]
fn what_the_binder_would_leave_aside_is_refused() {
    error("SELECT * FROM t ¦FOR UPDATE", "0A000 FOR UPDATE or FOR SHARE is not supported");
    error("SELECT a ¦INTO x FROM t", "0A000 SELECT INTO is not supported");
    error("SELECT * FROM t ¦TABLESAMPLE BERNOULLI (1)", "0A000 TABLESAMPLE is not supported");
    error(
        "SELECT * FROM t ORDER BY a ¦FETCH FIRST 3 ROWS WITH TIES",
        "0A000 FETCH ... WITH TIES is not supported",
    );
    error(
        "WITH x AS (¦INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM x",
        "0A000 INSERT, UPDATE, DELETE and MERGE are not supported in a query",
    );
    error(
        "SELECT * FROM o JOIN d ¦FOR SYSTEM_TIME AS OF PROCTIME() ON o.id = d.id",
        "0A000 FOR SYSTEM_TIME AS OF (temporal join) is not supported",
    );
    error("SELECT * FROM a ¦ASOF JOIN b ON a.k = b.k", "0A000 ASOF JOIN is not supported");
    error("SELECT * FROM a ¦ASOF LEFT JOIN b ON a.k = b.k", "0A000 ASOF JOIN is not supported");
    error(
        "SELECT * FROM a ¦MATCH_RECOGNIZE (PARTITION BY k PATTERN (x) DEFINE x AS true)",
        "0A000 MATCH_RECOGNIZE is not supported",
    );
    error(
        "SELECT * FROM ¦CUMULATE(t, ts, INTERVAL '1' MINUTE, INTERVAL '1' DAY)",
        "0A000 cumulating windows are not supported",
    );
    error(
        "SELECT * FROM ¦SESSION(t PARTITION BY k, ts, INTERVAL '1' MINUTE)",
        "0A000 session windows are not supported",
    );
    error(
        "SELECT k FROM t GROUP BY k, ¦SESSION(ts, INTERVAL '1' MINUTE)",
        "0A000 session windows are not supported",
    );
    error(
        "SELECT * FROM UNNEST(ARRAY[1]) WITH ¦ORDINALITY",
        "0A000 WITH ORDINALITY is not supported",
    );
    error("SELECT * FROM t AS u (¦a int)", "0A000 types in a column alias list are not supported");
    error("SELECT a AS ¦'b' FROM t", "42601 syntax error at or near \"'b'\"");
    error("SELECT ¦TABLE t", "42601 syntax error at or near \"TABLE\"");
    error("SELECT a FROM t ¦GROUP BY ALL", "0A000 GROUP BY ALL is not supported");
}

#[test]
fn ddl_points_at_what_is_wrong() {
    error(
        "CREATE SOURCE ¦select (a int) WITH (connector = 'x')",
        "42601 syntax error at or near \"select\"",
    );
    error("CREATE SOURCE s (a¦) WITH (connector = 'x')", "42601 syntax error at or near \")\"");
    error(
        "CREATE SOURCE s (a int,¦) WITH (connector = 'x')",
        "42601 syntax error at or near \")\"",
    );
    error(
        "CREATE SOURCE s (a int ¦b text) WITH (connector = 'x')",
        "42601 syntax error at or near \"b\"",
    );
    error(
        "CREATE SOURCE s (a int, ¦PRIMARY KEY (a)) WITH (connector = 'x')",
        "0A000 PRIMARY KEY is not supported on a source",
    );
    error(
        "CREATE TABLE s (a int, ¦PRIMARY KEY (a) NOT ENFORCED) WITH ('connector' = 'x')",
        "0A000 PRIMARY KEY is not supported on a source",
    );
    error(
        "CREATE SOURCE s (a int ¦PRIMARY KEY) WITH (connector = 'x')",
        "0A000 PRIMARY KEY is not supported on a source",
    );
    error(
        "CREATE SOURCE s (a int ¦METADATA FROM 'b') WITH (connector = 'x')",
        "0A000 METADATA is not supported",
    );
    error(
        "CREATE SOURCE s (a int ¦DEFAULT 3) WITH (connector = 'x')",
        "0A000 DEFAULT is not supported",
    );
    error(
        "CREATE SOURCE s (a ¦ROW<b int>) WITH (connector = 'x')",
        "0A000 type ROW is not supported in a source",
    );
    error(
        "CREATE SOURCE s (a int) ¦INCLUDE offset WITH (connector = 'x')",
        "0A000 INCLUDE is not supported",
    );
    error(
        "CREATE SOURCE s (a int, b int AS (a + ¦)) WITH (connector = 'x')",
        "42601 syntax error at or near \")\"",
    );
    error(
        "CREATE SOURCE s (WATERMARK FOR a AS a ¦b) WITH (connector = 'x')",
        "42601 syntax error at or near \"b\"",
    );
    error("CREATE SOURCE s WITH (connector¦)", "42601 syntax error at or near \")\"");
    error(
        "CREATE SOURCE s WITH (connector = 'a', ¦connector = 'b')",
        "42601 option \"connector\" is given more than once",
    );
    error("CREATE SOURCE s WITH (connector = ¦SECRET x)", "0A000 secrets are not supported");
    error(
        "CREATE SOURCE s WITH (connector = 'x') FORMAT PLAIN¦",
        "42601 syntax error at end of input",
    );
    error(
        "CREATE MATERIALIZED VIEW v AS SELECT a FROM t EMIT ON WINDOW ¦SHUT",
        "42601 syntax error at or near \"SHUT\"",
    );
    error(
        "CREATE VIEW v AS SELECT a FROM t ¦EMIT ON UPDATE",
        "0A000 EMIT is not supported on a view",
    );
    error(
        "CREATE MATERIALIZED VIEW v AS SELECT a FROM ¦WHERE x",
        "42601 syntax error at or near \"WHERE\"",
    );
    error("CREATE SINK k ¦INTO t FROM v", "0A000 CREATE SINK INTO a table is not supported");
    error("CREATE SINK k FROM v¦", "42601 syntax error at end of input");
    error("DROP VIEW a ¦b", "42601 syntax error at or near \"b\"");
    error("DROP VIEW¦", "42601 syntax error at end of input");
    error(
        "INSERT INTO t SELECT 1 ¦RETURNING a",
        "0A000 RETURNING and ON CONFLICT are not supported",
    );
    error("SHOW TABLES ¦LIKE 'a'", "0A000 a filter of SHOW is not supported");
    error("EXPLAIN ¦SHOW ALL", "0A000 EXPLAIN of this statement is not supported");
    error("SET a ¦b", "42601 syntax error at or near \"b\"");
}
