"""The file sink: what a query gave is in its files, each row once, whatever happens."""

import collections
import csv
import json
import random
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from tidemill import Server

SOURCE = """
CREATE SOURCE {name} WITH (connector = 'nexmark', nexmark.table.type = 'bid',
    nexmark.event.num = {events}, nexmark.event.rate = {rate}, nexmark.event.gap.ns = 20000000,
    nexmark.base.time = '2015-07-15 00:00:00');
"""
FAST = ("--checkpoint-interval", "200ms")
QUERY = "SELECT auction, bidder, price, date_time FROM bids"
WINDOWS = """
SELECT window_start, window_end, auction % 7 AS kind, count(*) AS n, sum(price) AS total
FROM HOP(bids, date_time, INTERVAL '5 seconds', INTERVAL '20 seconds')
GROUP BY window_start, window_end, auction % 7 EMIT ON WINDOW CLOSE
"""


@contextmanager
def directories():
    directory = Path(tempfile.mkdtemp(prefix="tidemill-sink-"))
    try:
        (directory / "root").mkdir()
        yield directory / "data", directory / "root"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def files(root, name, ending):
    return sorted(p for p in (root / name).glob(f"*.{ending}") if not p.name.startswith("."))


def json_rows(root, name):
    rows = collections.Counter()
    for path in files(root, name, "json"):
        text = path.read_text()
        assert text.endswith("\n"), f"{path} is not whole"
        rows.update(tuple(str(v) for v in json.loads(line).values()) for line in text.splitlines())
    return rows


def csv_rows(root, name):
    rows = collections.Counter()
    for path in files(root, name, "csv"):
        with path.open(newline="") as opened:
            lines = list(csv.reader(opened))
        assert lines[0] == ["window_start", "window_end", "kind", "n", "total"], lines[0]
        rows.update(tuple(line) for line in lines[1:])
    return rows


def settled(read, expected, timeout=60):
    """What `read` gives once it has as many rows as are expected, and a moment later."""
    deadline = time.monotonic() + timeout
    while sum(read().values()) < sum(expected.values()):
        assert time.monotonic() < deadline, (sum(read().values()), sum(expected.values()))
        time.sleep(0.1)
    time.sleep(1)
    return read()


def plain(rows):
    """Times as ISO has them and as PostgreSQL prints them are the same."""
    return collections.Counter({tuple(v.replace("T", " ") for v in r): n for r, n in rows.items()})


def expected_rows(events):
    with Server(threads=2) as server:
        server.psql(SOURCE.format(name="bids", events=events, rate=0)
                    + f"CREATE MATERIALIZED VIEW w AS {WINDOWS};")
        server.wait_for_job("w")
        return (collections.Counter(server.rows(QUERY)),
                collections.Counter(server.rows("SELECT * FROM w")))


def test_every_row_is_in_one_file_through_kills():
    events, chance = 60_000, random.Random(7)
    bids, windows = expected_rows(events)
    with directories() as (data, root):
        start = dict(data_dir=data, extra=FAST, file_root=root)
        with Server(threads=2, **start) as server:
            server.psql(
                SOURCE.format(name="bids", events=events, rate=15_000)
                + f"CREATE SINK raw AS {QUERY} WITH (connector = 'file', path = 'raw', rolling.rows = 700);"
                + f"CREATE SINK win AS {WINDOWS} WITH (connector = 'file', path = 'win', format = 'csv');")
            time.sleep(0.5)
            server.kill()
        for _ in range(6):
            with Server(threads=chance.randint(1, 3), **start) as server:
                time.sleep(chance.uniform(0.1, 1.2))
                server.kill()
        with Server(threads=2, **start) as server:
            for sink in ("raw", "win"):
                job = server.wait_for_job(sink)
                assert job["state"] == "finished", job
            assert plain(settled(lambda: json_rows(root, "raw"), bids)) == plain(bids)
            assert plain(settled(lambda: csv_rows(root, "win"), windows)) == plain(windows)
        # Nothing comes again.
        with Server(threads=1, **start):
            time.sleep(1)
        assert plain(json_rows(root, "raw")) == plain(bids)


def test_places_that_cannot_be_written_are_refused():
    with directories() as (data, root):
        with Server(threads=1, data_dir=data, file_root=root) as server:
            server.psql(SOURCE.format(name="bids", events=100, rate=0))
            for path in ("/etc/tidemill", "../outside"):
                refused = server.psql(
                    f"CREATE SINK s AS {QUERY} WITH (connector = 'file', path = '{path}')", check=False)
                assert refused.returncode != 0, path
                assert "file_roots" in refused.stderr or "file-roots" in refused.stderr, refused.stderr
            refused = server.psql(
                f"CREATE SINK s AS {QUERY} WITH (connector = 'file', path = 'x', format = 'parquet')",
                check=False)
            assert refused.returncode != 0, "parquet is not written yet"
            assert not (root / "x").exists()
