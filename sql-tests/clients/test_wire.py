"""Types over the wire: text and binary carry the same values, parameters arrive."""

import datetime
from decimal import Decimal

import psycopg
from tidemill import DATA, Server

# An expression and the value that a client must see, whatever the format.
VALUES = [
    ("CAST(32767 AS smallint)", 32767),
    ("CAST(-2147483648 AS int)", -2147483648),
    ("CAST(9223372036854775807 AS bigint)", 9223372036854775807),
    ("CAST(1.5 AS real)", 1.5),
    ("CAST(0.1 AS double precision)", 0.1),
    ("CAST(-123.456 AS numeric(10, 3))", Decimal("-123.456")),
    ("CAST(0 AS numeric(5, 2))", Decimal("0.00")),
    ("CAST(10000.0001 AS numeric(20, 4))", Decimal("10000.0001")),
    ("CAST('0.00000012' AS numeric(20, 8))", Decimal("0.00000012")),
    ("CAST('99999999999999999999999999999999999999' AS numeric(38, 0))", Decimal("9" * 38)),
    ("'naïve 日本'", "naïve 日本"),
    ("''", ""),
    ("true", True),
    ("CAST('2024-02-29' AS date)", datetime.date(2024, 2, 29)),
    ("CAST('1969-12-31' AS date)", datetime.date(1969, 12, 31)),
    ("CAST('2024-02-29 12:34:56.789012' AS timestamp)", datetime.datetime(2024, 2, 29, 12, 34, 56, 789012)),
    ("CAST('1969-12-31 23:59:59.5' AS timestamp)", datetime.datetime(1969, 12, 31, 23, 59, 59, 500000)),
    ("CAST('2024-02-29 12:00:00+00' AS timestamptz)",
     datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc)),
    ("CAST('12:34:56.5' AS time)", datetime.time(12, 34, 56, 500000)),
    ("CAST('1 day 02:03:04' AS interval)", datetime.timedelta(days=1, hours=2, minutes=3, seconds=4)),
    ("CAST('2024-01-03 12:00' AS timestamp) - CAST('2024-01-01' AS timestamp)", datetime.timedelta(days=2, hours=12)),
    ("round(CAST(2.5 AS double precision))", 2.0),
    ("CAST(2.5 AS int)", 3),
    ("CAST(NULL AS int)", None),
    ("NULL", None),
]  # fmt: skip


def test_text_and_binary_agree():
    with Server() as server, psycopg.connect(server.dsn(), autocommit=True) as connection:
        for expression, value in VALUES:
            for binary in (False, True):
                with connection.cursor(binary=binary) as cursor:
                    cursor.execute(f"SELECT {expression} AS v", prepare=True)
                    got = cursor.fetchone()[0]
                assert got == value and type(got) is type(value), (expression, binary, got)


def test_a_file_reads_the_same_in_both_formats():
    with Server() as server, psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(
            f"""
            CREATE SOURCE orders (
                id BIGINT, ts TIMESTAMP, customer TEXT, qty INT, small SMALLINT, amount NUMERIC(12, 2),
                price DOUBLE PRECISION, rate REAL, day DATE, flag BOOLEAN, big BIGINT, note TEXT
            ) WITH (connector = 'file', path = '{DATA}/orders.csv') FORMAT PLAIN ENCODE CSV (header = true)
            """
        )
        query = "SELECT * FROM orders ORDER BY id"
        text = connection.cursor(binary=False).execute(query).fetchall()
        binary = connection.cursor(binary=True).execute(query).fetchall()
        assert len(text) == 400 and text == binary


def test_parameters():
    with Server() as server, psycopg.connect(server.dsn(), autocommit=True) as connection:
        one = lambda sql, *p: connection.execute(sql, p).fetchone()[0]  # noqa: E731
        assert one("SELECT %s::int + 1", 41) == 42
        assert one("SELECT %s || 'b'", "a") == "ab"
        assert one("SELECT %s::numeric(10, 2)", Decimal("1.25")) == Decimal("1.25")
        assert one("SELECT %s::timestamp + INTERVAL '1 hour'", datetime.datetime(2024, 1, 1)) == datetime.datetime(
            2024, 1, 1, 1
        )
        assert one("SELECT %s::int IS NULL", None) is True
        assert one("SELECT 1 WHERE %s", True) == 1
        assert connection.execute("SELECT 1 WHERE NOT %s", (True,)).fetchone() is None
        assert one("SELECT %b::bigint", 5) == 5
        # The same statement many times, so that the driver prepares it.
        for i in range(12):
            assert one("SELECT %s::bigint * 2", i) == 2 * i


def test_prepared_statements_and_portals():
    with Server() as server, psycopg.connect(server.dsn()) as connection:
        server.psql("CREATE SOURCE bid WITH (connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = 5000)")
        with connection.pipeline():
            cursors = [connection.execute("SELECT %s::int", (i,)) for i in range(50)]
        assert [c.fetchone()[0] for c in cursors] == list(range(50))
        assert connection.execute("SELECT count(*) FROM bid").fetchone() == (4600,)
        connection.rollback()
        try:
            connection.execute("SELECT nothing FROM bid")
            raise AssertionError("an unknown column was accepted")
        except psycopg.errors.UndefinedColumn:
            pass
        try:
            connection.execute("SELECT 1")
            raise AssertionError("the failed transaction went on")
        except psycopg.errors.InFailedSqlTransaction:
            connection.rollback()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def refused(connection, state, sql):
    """The statement fails with `state` and leaves the transaction as it was."""
    try:
        with connection.transaction():
            connection.execute(sql)
    except psycopg.Error as error:
        assert error.sqlstate == state, (sql, error)
        return
    raise AssertionError(f"accepted: {sql}")


def test_cursors():
    with Server() as server:
        server.psql("CREATE SOURCE bid WITH (connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = 5000)")
        all_rows = sorted(server.rows("SELECT auction, price FROM bid"))
        for binary in (False, True):
            with psycopg.connect(server.dsn()) as connection:
                with connection.cursor(name="n", binary=binary) as cursor:
                    cursor.itersize = 700
                    cursor.execute("SELECT auction, price FROM bid WHERE price > %s", (0,))
                    assert [c.name for c in cursor.description] == ["auction", "price"]
                    rows = [cursor.fetchone(), *cursor.fetchmany(99)]
                    assert len(rows) == 100
                    rows += cursor
                assert sorted((str(a), str(p)) for a, p in rows) == all_rows
                with connection.cursor(name="m") as cursor:
                    cursor.execute("SELECT * FROM bid")
                    cursor.scroll(4595)
                    assert len(cursor.fetchall()) == 5
                    assert cursor.fetchone() is None
                # The names of cursors are free again.
                connection.execute("DECLARE n CURSOR FOR SELECT auction FROM bid")
                refused(connection, "42P03", "DECLARE n CURSOR FOR SELECT 1")
                refused(connection, "34000", "FETCH 1 FROM m")
                refused(connection, "55000", "FETCH BACKWARD 1 FROM n")
                refused(connection, "0A000", "DECLARE s SCROLL CURSOR FOR SELECT 1")
                refused(connection, "0A000", "DECLARE s CURSOR WITH HOLD FOR SELECT 1")
                done = connection.execute("FETCH 7 FROM n")
                assert (done.statusmessage, len(done.fetchall())) == ("FETCH 7", 7)
                assert connection.execute("MOVE FORWARD 93 IN n").statusmessage == "MOVE 93"
                assert len(connection.execute("FETCH ALL n").fetchall()) == 4500
                assert connection.execute("FETCH n").fetchall() == []
                assert connection.execute("CLOSE n").statusmessage == "CLOSE CURSOR"
                connection.execute("DECLARE n CURSOR FOR SELECT 1")
                connection.commit()
                refused(connection, "34000", "FETCH 1 FROM n")
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            refused_outside = connection.pgconn.exec_(b"DECLARE c CURSOR FOR SELECT 1")
            assert refused_outside.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"25P01"


def test_errors_and_timeouts_of_a_cursor_come_with_fetch():
    with Server() as server, psycopg.connect(server.dsn()) as connection:
        server.psql("CREATE SOURCE huge WITH (connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = 2000000000)")
        connection.execute("DECLARE c CURSOR FOR SELECT 10 / x FROM (VALUES (0)) AS t(x)")
        for state in ("22012", "25P02"):
            try:
                connection.execute("FETCH 1 FROM c")
                raise AssertionError("no error")
            except psycopg.Error as error:
                assert error.sqlstate == state, error
        connection.rollback()
        for slow in ("FETCH 1 FROM c", "MOVE ALL FROM c"):
            connection.execute("DECLARE c CURSOR FOR SELECT * FROM huge WHERE price < 0")
            connection.execute("SET LOCAL statement_timeout = '200ms'")
            refused(connection, "57014", slow)
            refused(connection, "55000", "FETCH 1 FROM c")
            connection.rollback()


def test_psql_describes_without_running():
    with Server() as server:
        server.psql("CREATE SOURCE bid WITH (connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = 50)")
        query = (
            "SELECT auction, channel, date_time, CAST(price AS numeric(10, 2)) AS amount, "
            "CAST(1.5 AS double precision) AS \"it's\", ARRAY[CAST(1 AS bigint)] AS list, '12:00'::time AS noon, "
            "INTERVAL '1 day' AS day, true AS yes, count(*) OVER () AS n FROM bid"
        )
        out = server.psql(query + " \\gdesc\n", "-A", "-t").stdout.splitlines()
        assert out == [
            "auction|bigint",
            "channel|text",
            "date_time|timestamp without time zone",
            "amount|numeric(10,2)",
            "it's|double precision",
            "list|bigint[]",
            "noon|time without time zone",
            "day|interval",
            "yes|boolean",
            "n|bigint",
        ], out


def test_notices_and_settings():
    with Server() as server:
        with psycopg.connect(server.dsn() + " options='-c statement_timeout=1234'") as connection:
            assert connection.execute("SHOW statement_timeout").fetchone()[0] in ("1234ms", "1234")
            assert connection.info.parameter_status("server_encoding") == "UTF8"
            assert connection.info.parameter_status("standard_conforming_strings") == "on"
            assert int(connection.info.server_version) >= 150000
