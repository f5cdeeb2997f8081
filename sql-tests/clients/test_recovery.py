"""What outlives the process: the catalog, views and where jobs had got to."""

import random
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from tidemill import DATA, Server, binary

SOURCE = """
CREATE SOURCE {name} WITH (connector = 'nexmark', nexmark.table.type = 'bid',
    nexmark.event.num = {events}, nexmark.event.rate = {rate}, nexmark.event.gap.ns = 20000000);
"""

VIEWS = """
CREATE MATERIALIZED VIEW per_auction AS
    SELECT auction, count(*) AS n, sum(price) AS total, min(price) AS least, max(price) AS most
    FROM bids GROUP BY auction;
CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n, sum(price) AS total FROM bids;
CREATE MATERIALIZED VIEW tumbled AS
    SELECT window_start, window_end, count(*) AS n, sum(price) AS total
    FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(date_time), INTERVAL '10' SECOND))
    GROUP BY window_start, window_end EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW hopped AS
    SELECT window_start, window_end, bidder % 10 AS digit, count(*) AS n, max(price) AS most
    FROM TABLE(HOP(TABLE bids, DESCRIPTOR(date_time), INTERVAL '5' SECOND, INTERVAL '20' SECOND))
    GROUP BY window_start, window_end, bidder % 10;
CREATE MATERIALIZED VIEW dear AS SELECT auction, bidder, price FROM bids WHERE price > 1000000;
"""
VIEW_NAMES = ["per_auction", "totals", "tumbled", "hopped", "dear"]
FAST = ("--checkpoint-interval", "300ms")
NAMES = "SELECT id, schema, name, kind, sql FROM tm_catalog.objects WHERE id >= 16384"


@contextmanager
def data_directory():
    directory = Path(tempfile.mkdtemp(prefix="tidemill-data-"))
    try:
        yield directory / "data"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def contents(server, views=VIEW_NAMES):
    return {view: sorted(server.rows(f"SELECT * FROM {view}")) for view in views}


def states(server):
    return dict(server.rows("SELECT name, state FROM tm_catalog.jobs"))


def wait_until(check, timeout=60):
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def count(server, view="totals"):
    rows = server.rows(f"SELECT n FROM {view}")
    return int(rows[0][0]) if rows else 0


def test_a_restart_changes_nothing():
    with data_directory() as data:
        with Server(threads=2, data_dir=data, extra=FAST) as server:
            server.psql("CREATE SCHEMA shop; SET search_path = shop, public;"
                        + SOURCE.format(name="shop.bids", events=0, rate=5000) + VIEWS
                        + "CREATE VIEW few AS SELECT auction, n FROM per_auction WHERE n > 3;"
                        "CREATE SINK gone AS SELECT * FROM bids WITH (connector = 'blackhole');"
                        "CREATE TABLE target WITH ('connector' = 'blackhole');"
                        "INSERT INTO target SELECT auction, price FROM bids;"
                        "CREATE MATERIALIZED VIEW dropped AS SELECT count(*) AS n FROM bids;"
                        "DROP MATERIALIZED VIEW dropped;")
            wait_until(lambda: count(server, "shop.totals") > 5000)
            objects = server.rows(NAMES)
            jobs = server.rows("SELECT id, name, kind FROM tm_catalog.jobs")
            assert len(objects) == 9, objects
            before = count(server, "shop.totals")
            assert server.stop() == 0
        with Server(threads=2, data_dir=data, extra=FAST) as server:
            assert server.rows(NAMES) == objects
            assert server.rows("SELECT id, name, kind FROM tm_catalog.jobs") == jobs
            after = count(server, "shop.totals")
            assert after >= before, (before, after)
            assert set(states(server).values()) <= {"running"}, states(server)
            wait_until(lambda: count(server, "shop.totals") > after + 5000)
            # All views of a statement are of one epoch, as before.
            rows = server.rows("SELECT (SELECT sum(n) FROM shop.per_auction), n FROM shop.totals")
            assert rows[0][0] == rows[0][1], rows
            assert server.rows("SELECT count(*) > 0 FROM shop.few") == [("t",)]
            server.psql("DROP SCHEMA shop CASCADE")
        with Server(threads=2, data_dir=data) as server:
            assert server.rows(NAMES) == [] and states(server) == {}
        groups = data / "store" / "groups"
        assert not any(p.is_file() for p in groups.rglob("*")), list(groups.rglob("*"))


def test_a_finished_job_stays_finished():
    with data_directory() as data:
        with Server(threads=2, data_dir=data) as server:
            server.psql(SOURCE.format(name="bids", events=20000, rate=0) + VIEWS)
            for view in VIEW_NAMES:
                assert server.wait_for_job(view)["state"] == "finished"
            expected = contents(server)
            facts = "SELECT name, rows_in, rows_out, late_rows FROM tm_catalog.jobs ORDER BY name"
            counted = server.rows(facts)
            # The last checkpoint follows the last row.
            wait_until(lambda: server.rows(
                "SELECT count(*) FROM tm_catalog.checkpoints WHERE state = 'committed'"
            ) >= [(str(len(VIEW_NAMES)),)])
            server.kill()
        with Server(threads=1, data_dir=data) as server:
            assert states(server) == {view: "finished" for view in VIEW_NAMES}
            assert contents(server) == expected
            assert server.rows(facts) == counted


def test_no_row_is_lost_or_doubled_by_kills():
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    events = 60000
    with Server(threads=2) as straight:
        straight.psql(SOURCE.format(name="bids", events=events, rate=0) + VIEWS)
        for view in VIEW_NAMES:
            assert straight.wait_for_job(view)["state"] == "finished"
        expected = contents(straight)
    with data_directory() as data:
        with Server(threads=2, data_dir=data, extra=FAST) as server:
            server.psql(SOURCE.format(name="bids", events=events, rate=4000) + VIEWS)
            time.sleep(rng.uniform(0, 1))
            server.kill()
        interrupted = restored = 0
        for _ in range(10):
            threads = rng.choice([1, 2, 3])
            with Server(threads=threads, data_dir=data, extra=FAST) as server:
                time.sleep(rng.uniform(0, 1.5))
                jobs = server.rows("SELECT state, durable_epoch FROM tm_catalog.jobs")
                interrupted += any(state == "running" for state, _ in jobs)
                restored += any(epoch is not None for _, epoch in jobs)
                server.kill()
        # The source must not have ended long before, nor every start been a first one.
        assert interrupted >= 5 and restored >= 5, (seed, interrupted, restored)
        with Server(threads=2, data_dir=data, extra=FAST) as server:
            for view in VIEW_NAMES:
                job = server.wait_for_job(view)
                assert job["state"] == "finished", (seed, job)
            found = contents(server)
            for view in VIEW_NAMES:
                assert found[view] == expected[view], (seed, view)


def test_ddl_that_was_acknowledged_survives_a_kill():
    with data_directory() as data:
        made = []
        for round in range(4):
            with Server(threads=1, data_dir=data, extra=FAST) as server:
                found = [row[0] for row in server.rows(
                    "SELECT name FROM tm_catalog.objects WHERE id >= 16384 ORDER BY name")]
                assert found == sorted(made), (found, made)
                server.psql(SOURCE.format(name=f"s{round}", events=1000, rate=0))
                server.psql(f"CREATE MATERIALIZED VIEW v{round} AS SELECT count(*) FROM s{round}")
                made += [f"s{round}", f"v{round}"]
                if round == 2:
                    server.psql("DROP SOURCE s0 CASCADE")
                    made = [name for name in made if not name.endswith("0")]
                server.kill()


def jobs_of(server):
    return {row[0]: row[1:] for row in server.rows("SELECT name, state, error FROM tm_catalog.jobs")}


def test_one_failed_job_stops_no_other():
    with data_directory() as data, tempfile.TemporaryDirectory() as root:
        orders = Path(root) / "orders.csv"
        shutil.copy(DATA / "orders.csv", orders)
        with Server(threads=2, data_dir=data, file_root=root) as server:
            server.psql(SOURCE.format(name="bids", events=0, rate=2000)
                        + "CREATE SOURCE orders (id bigint, customer varchar)"
                        " WITH (connector = 'file', path = '*.csv');"
                        "CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM bids;"
                        "CREATE MATERIALIZED VIEW damaged AS SELECT count(*) AS n FROM bids;")
            number = server.rows("SELECT id FROM tm_catalog.jobs WHERE name = 'damaged'")[0][0]
            # Read, but not to its end when the server stops for the first time.
            server.psql("CREATE MATERIALIZED VIEW read AS SELECT customer FROM orders")
            assert server.wait_for_job("read")["state"] == "finished"
            rows = server.rows("SELECT * FROM read")
            assert server.stop() == 0
        manifests = data / "store" / "groups" / number / "manifests"
        saved = {path: path.read_bytes() for path in manifests.iterdir()}
        for path, text in saved.items():
            path.write_bytes(text[:-1] + bytes([text[-1] ^ 1]))
        orders.unlink()
        with Server(threads=2, data_dir=data, file_root=root) as server:
            jobs = jobs_of(server)
            state, error = jobs["damaged"]
            assert state == "failed" and "checkpoint cannot be used" in error, jobs
            assert jobs["totals"][0] == "running", jobs
            # What it had read to the end needs no file any more.
            assert jobs["read"][0] == "finished" and server.rows("SELECT * FROM read") == rows
            text = server.psql("SELECT * FROM damaged", check=False).stderr
            assert "could not be started" in text and "manifests" in text, text
            # New files of the source are gone, too: only this job fails.
            text = server.psql("CREATE MATERIALIZED VIEW more AS SELECT id FROM orders",
                               check=False).stderr
            assert "ERROR" in text, text
        for path, text in saved.items():
            path.write_bytes(text)
        with Server(threads=2, data_dir=data, file_root=root) as server:
            assert jobs_of(server)["damaged"][0] == "running"
            before = count(server, "damaged")
            wait_until(lambda: count(server, "damaged") > before)
            server.psql("DROP MATERIALIZED VIEW damaged")
        assert not manifests.exists() or not any(manifests.iterdir())


def test_a_directory_is_for_one_server():
    with data_directory() as data, Server(threads=1, data_dir=data) as server:
        command = [str(binary()), "start", "--data-dir", str(data), "--pg-addr", "127.0.0.1:0",
                   "--http-addr", "127.0.0.1:0"]
        second = subprocess.run(command, capture_output=True, text=True, timeout=20)
        assert second.returncode == 1, second
        assert "in use by another server" in second.stderr, second.stderr
        assert str(server.pid) in second.stderr and "--data-dir" in second.stderr
        assert server.rows("SELECT 1") == [("1",)]


def test_a_server_whose_store_was_taken_over_accepts_no_changes():
    with data_directory() as data, tempfile.TemporaryDirectory() as store:
        shared = ("--store", f"file://{store}", *FAST)
        with Server(threads=1, data_dir=data, extra=shared) as first:
            first.psql(SOURCE.format(name="bids", events=0, rate=1000)
                       + "CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM bids;")
            with Server(threads=1, extra=shared) as second:
                assert count(second) >= 0
                refused = first.psql("CREATE VIEW v AS SELECT 1", check=False).stderr
                assert "another server has taken over the store" in refused, refused
                assert first.psql("DROP SOURCE bids CASCADE", check=False).returncode != 0
                assert first.rows("SELECT 1") == [("1",)]
                second.psql("CREATE VIEW v AS SELECT 1")
                before = count(second)
                wait_until(lambda: count(second) > before)


def test_checkpoints_are_shown():
    with data_directory() as data, Server(threads=1, data_dir=data, extra=FAST) as server:
        server.psql(SOURCE.format(name="bids", events=0, rate=1000)
                    + "CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM bids;")
        wait_until(lambda: len(server.rows("SELECT 1 FROM tm_catalog.checkpoints")) > 2)
        rows = server.rows("SELECT job, checkpoint, epoch, state, error,"
                           " finished_at >= started_at FROM tm_catalog.checkpoints"
                           " ORDER BY checkpoint")
        assert [row[1] for row in rows[:3]] == ["1", "2", "3"], rows
        assert all(row[3:] == ("committed", None, "t") for row in rows), rows
        durable = server.rows("SELECT durable_epoch FROM tm_catalog.jobs")[0][0]
        assert int(durable) >= int(rows[-1][2]), (durable, rows)
