"""What is wrong is shown where it is, and leaves everything else as it was."""

import os
import socket
import struct
import time

import psycopg
from tidemill import DATA, Server

SETUP = f"""
CREATE SOURCE bid WITH (connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = 10000);
CREATE SOURCE running WITH (connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.rate = 1000);
CREATE SOURCE squares (n INT, ts TIMESTAMP, square BIGINT, WATERMARK FOR ts AS ts - INTERVAL '1 second')
WITH (connector = 'file', path = '{DATA}/squares.csv') FORMAT PLAIN ENCODE CSV (header = true);
CREATE MATERIALIZED VIEW live AS SELECT auction, count(*) AS n FROM running GROUP BY auction;
CREATE MATERIALIZED VIEW done AS SELECT count(*) AS n FROM squares;
"""

# A statement and the token that psql's caret must stand under.
CARETS = [
    ("SELECT n FORM squares WHERE n = 1", "squares"),
    ("SELEC 1", "SELEC"),
    ("SELECT colour FROM squares", "colour"),
    ("SELECT n, 'ü', colour FROM squares", "colour"),
    ("SELECT 1 FROM nowhere", "nowhere"),
    ("SELECT s.n FROM squares s WHERE s.wrong > 1", "s.wrong"),
    ("SELECT frobnicate(n) FROM squares", "frobnicate"),
    ("SELECT n\nFROM squares\nGROUP BY n HAVING nonsense > 1", "nonsense"),
    ("CREATE TABEL t (a int)", "TABEL"),
    ("DROP SOURCE nothing_here WITH SUGAR", "WITH"),
    ("SELECT 1 +", ""),
]

HOSTILE = [
    "",
    ";;;",
    "-- nothing",
    "/* open",
    "SELECT",
    "SELECT * FROM",
    "SELECT 'open",
    'SELECT "open',
    "SELECT $$open",
    "SELECT $1",
    "SELECT 1/0",
    "SELECT 1/(n-n) FROM squares",
    "SELECT CAST(note AS int) FROM squares",
    "SELECT CAST('x' || n AS int) FROM squares",
    "SELECT n + 9223372036854775807 FROM squares",
    "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "SELECT " + " + ".join(["1"] * 20000),
    "SELECT " + "- " * 20000 + "1",
    "SELECT " + "NOT " * 20000 + "true",
    "SELECT " + ", ".join(["n"] * 3000) + " FROM squares",
    "SELECT * FROM squares WHERE n IN (" + ", ".join(map(str, range(20000))) + ")",
    "SELECT " + "CASE WHEN true THEN " * 2000 + "1" + " END" * 2000,
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n FROM r) SELECT 1 FROM r LIMIT 1",
    "SELECT * FROM live l1, live l2, live l3 LIMIT 1",
    "SELECT * FROM running",
    "SELECT * FROM tm_catalog.nothing",
    "SELECT * FROM pg_catalog.nothing",
    "SELECT \"\" FROM squares",
    "SELECT * FROM TUMBLE(squares)",
    "SELECT * FROM TUMBLE(squares, ts)",
    "SELECT * FROM TUMBLE(squares, ts, INTERVAL '-1 second')",
    "SELECT * FROM TUMBLE(squares, ts, INTERVAL '9223372036854775807 seconds')",
    "SELECT * FROM TUMBLE(nowhere, ts, INTERVAL '1 second')",
    "SELECT * FROM TUMBLE(squares, nothing, INTERVAL '1 second')",
    "SELECT * FROM TUMBLE(squares, ts, n)",
    "SELECT * FROM HOP(squares, ts, INTERVAL '1 microsecond', INTERVAL '1000 days')",
    "SELECT count(*) FROM squares GROUP BY TUMBLE(ts, INTERVAL '0')",
    "CREATE MATERIALIZED VIEW bad AS SELECT",
    "CREATE MATERIALIZED VIEW done AS SELECT 1",
    "CREATE MATERIALIZED VIEW bad AS SELECT 1",
    "CREATE MATERIALIZED VIEW bad AS SELECT nothing FROM squares",
    "CREATE MATERIALIZED VIEW bad AS SELECT * FROM squares, squares",
    "CREATE MATERIALIZED VIEW bad (a, b, c, d) AS SELECT n FROM squares",
    "CREATE MATERIALIZED VIEW bad AS SELECT n AS a, n AS a FROM squares",
    "CREATE MATERIALIZED VIEW bad AS SELECT n, n FROM squares",
    "CREATE MATERIALIZED VIEW bad WITH (colour = 'red') AS SELECT n FROM squares",
    "CREATE MATERIALIZED VIEW bad AS SELECT count(*) FROM squares EMIT ON SUNDAY",
    "CREATE MATERIALIZED VIEW bad AS SELECT count(*) FROM live",
    "CREATE MATERIALIZED VIEW bad AS SELECT now() FROM squares",
    "CREATE MATERIALIZED VIEW bad AS SELECT (SELECT max(n) FROM squares) FROM squares",
    "CREATE SINK bad AS SELECT n FROM squares",
    "CREATE SINK bad AS SELECT n FROM squares WITH (connector = 'nexmark')",
    "CREATE SOURCE bad",
    "CREATE SOURCE bad WITH ()",
    "CREATE SOURCE bad WITH (connector = 'blackhole')",
    "CREATE SOURCE bad (a frob) WITH (connector = 'nexmark')",
    "CREATE SOURCE bad (a int, a int) WITH (connector = 'nexmark')",
    "CREATE SOURCE bad WITH (connector = 'nexmark', nexmark.event.num = -1)",
    "CREATE SOURCE bad WITH (connector = 'nexmark', nexmark.event.num = 1, nexmark.event.num = 2)",
    "CREATE SOURCE bad (a int) WITH (connector = 'file', path = '../../etc/*') FORMAT PLAIN ENCODE CSV",
    "CREATE SOURCE bad (a int) WITH (connector = 'file') FORMAT PLAIN ENCODE CSV",
    "CREATE SOURCE bad (a int AS (b)) WITH (connector = 'nexmark')",
    "CREATE SCHEMA tm_catalog",
    "CREATE SCHEMA pg_catalog",
    "DROP SCHEMA public CASCADE, tm_catalog",
    "DROP SCHEMA tm_catalog CASCADE",
    "DROP SOURCE live",
    "DROP MATERIALIZED VIEW tm_catalog.jobs",
    "DROP SOURCE running",
    "DROP TABLE done",
    "DELETE FROM live",
    "UPDATE live SET n = 0",
    "TRUNCATE live",
    "INSERT INTO live VALUES (1, 1)",
    "INSERT INTO done SELECT n FROM squares",
    "COPY live FROM STDIN",
    "SET statement_timeout = 'soon'",
    "SET client_encoding = 'LATIN1'",
    "SET search_path TO nowhere_at_all",
    "SHOW nothing",
    "EXPLAIN",
    "EXPLAIN EXPLAIN SELECT 1",
    "EXPLAIN CREATE MATERIALIZED VIEW bad AS SELECT FROM",
    "DECLARE c CURSOR FOR SELECT 1",
    "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT 1",
    "DECLARE c CURSOR FOR DELETE FROM live",
    "FETCH 1 FROM c",
    "FETCH ABSOLUTE -9223372036854775808 FROM c",
    "MOVE BACKWARD ALL IN c",
    "CLOSE c",
    "CLOSE ALL",
    "PREPARE p AS SELECT",
    "EXECUTE nothing",
    "GRANT ALL ON live TO public",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DO $$ BEGIN END $$",
    "LISTEN x",
    "VACUUM",
    "LOCK TABLE live",
    "SELECT pg_sleep('forever')",
    "SELECT count(*) FROM squares a JOIN squares b ON pg_sleep(a.n) = pg_sleep(b.n)",
    "SELECT n, pg_sleep(0.001) FROM squares GROUP BY n, pg_sleep(0.001)",
    "CREATE MATERIALIZED VIEW bad AS SELECT n FROM squares WHERE pg_sleep(n) = ''",
    "SELECT 'x'::pg_catalog.oid",
    "SELECT format_type(1)",
    "CREATE SOURCE bad (a oid) WITH (connector = 'nexmark')",
    "SELECT repeat('x', 2147483647) FROM squares",
    "SELECT CAST('1e999999' AS numeric)",
    "SELECT CAST('99999-01-01' AS timestamp) + INTERVAL '300000 years'",
    "SELECT '\\x00'::text",
    "COMMIT; ROLLBACK; BEGIN; SELECT nothing; SELECT 1",
]  # fmt: skip


def test_psql_points_at_the_token():
    with Server() as server:
        server.psql(SETUP)
        for sql, token in CARETS:
            done = server.psql(sql + ";", check=False)
            lines = done.stderr.splitlines()
            assert lines and "ERROR:" in lines[0], (sql, done.stderr)
            marked = next((i for i, line in enumerate(lines) if line.startswith("LINE ")), None)
            assert marked is not None, f"no position for {sql!r}:\n{done.stderr}"
            column = lines[marked + 1].index("^")
            under = lines[marked][column:]
            assert under.startswith(token), f"the caret is under {under!r}, not {token!r}:\n{done.stderr}"


def state(server):
    """What must not change: objects with their SQL, and jobs with their state."""
    return (
        server.rows("SELECT name, state FROM tm_catalog.jobs ORDER BY name"),
        server.rows("SELECT schema, name, sql FROM tm_catalog.objects ORDER BY schema, name"),
    )


def test_bad_statements_change_nothing():
    with Server() as server:
        server.psql(SETUP)
        server.wait_for_job("done")
        before = state(server)
        internal = []
        for extended in (False, True):
            for sql in HOSTILE:
                if extended and sql in ("", ";;;") or "COMMIT;" in sql and extended:
                    continue
                # A connection each: what one statement sets must not reach the next.
                with psycopg.connect(server.dsn(), autocommit=True) as connection:
                    cursor = connection.cursor() if extended else psycopg.ClientCursor(connection)
                    try:
                        connection.execute("SET statement_timeout = '5s'")
                        cursor.execute(sql, prepare=True) if extended else cursor.execute(sql)
                    except psycopg.Error as e:
                        code = e.sqlstate
                        if code is None or code == "XX000":
                            internal.append((sql[:120], code, str(e)[:300]))
                    if connection.closed:
                        continue
                    if connection.info.transaction_status.name != "IDLE":
                        connection.rollback()
                    assert connection.execute("SELECT 1").fetchone() == (1,), sql[:120]
                assert server.is_alive(), f"the server ended on {sql[:120]!r}"
        assert not internal, "internal errors or lost connections:\n" + "\n".join(map(str, internal))
        assert state(server) == before
        seen = int(server.rows("SELECT sum(n) FROM live")[0][0])
        time.sleep(1)
        assert int(server.rows("SELECT sum(n) FROM live")[0][0]) > seen, "the running view has stopped"


def startup(payload):
    return struct.pack("!i", len(payload) + 4) + payload


PROTOCOL = struct.pack("!i", 196608)
HELLO = startup(PROTOCOL + b"user\0tidemill\0database\0tidemill\0\0")
BYTES = [
    b"",
    b"\0",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\xff" * 64,
    struct.pack("!i", 2**31 - 1) + PROTOCOL,
    struct.pack("!i", -5) + PROTOCOL,
    startup(b""),
    startup(struct.pack("!i", 131072) + b"user\0x\0\0"),
    startup(struct.pack("!i", 80877103)),  # asks for TLS, then goes away
    startup(struct.pack("!iii", 80877102, 1, 1)),  # cancels nobody
    startup(PROTOCOL + b"user\0tidemill"),  # not terminated
    HELLO + b"Q" + struct.pack("!i", 2**31 - 1),
    HELLO + b"Q" + struct.pack("!i", 3),
    HELLO + b"Q" + struct.pack("!i", 5) + b"S",  # no end of string
    HELLO + b"Q" + struct.pack("!i", 7) + b"\xff\xfe\0",
    HELLO + b"\x01" + struct.pack("!i", 4),
    HELLO + b"B" + struct.pack("!i", 8) + b"\0\0\0\0",
    HELLO + b"E" + struct.pack("!i", 9) + b"\0\0\0\0\0" + b"S" + struct.pack("!i", 4),
    HELLO + b"D" + struct.pack("!i", 6) + b"Z\0" + b"S" + struct.pack("!i", 4),
    HELLO + os.urandom(4096),
]


def test_bytes_that_are_no_protocol_end_only_their_connection():
    with Server() as server:
        server.psql(SETUP)
        before = state(server)
        for payload in BYTES:
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
                connection.sendall(payload)
                connection.settimeout(0.2)
                try:
                    while connection.recv(65536):
                        pass
                except (TimeoutError, ConnectionError):
                    pass
            assert server.is_alive(), payload[:40]
            assert server.rows("SELECT 1") == [("1",)], payload[:40]
        assert [row[0] for row in state(server)[0]] == [row[0] for row in before[0]]
