"""Large results: the server's memory stays flat however slowly a client reads.

Each client fetches about TIDEMILL_STREAM_MB (100; `make acceptance`: 1024) of
text. The server must neither gather the result nor let a slow socket pile it up.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import psycopg
from tidemill import SQL_TESTS, Server, Skip

MEGABYTES = int(os.environ.get("TIDEMILL_STREAM_MB", "100"))
# What the server may grow by while it streams: batches in flight and the allocator's
# slack, far below the result and independent of its size.
ALLOWED_KIB = 64 * 1024
JDBC_DRIVER = Path("/usr/share/java/postgresql.jar")

# A row is about 1000 bytes; 46 of 50 events are bids.
BLOCKS = MEGABYTES * 1000 // 46
ROWS = BLOCKS * 46
SOURCE = f"""
CREATE SOURCE wide WITH (connector = 'nexmark', nexmark.table.type = 'bid',
    nexmark.event.num = {BLOCKS * 50});
"""
QUERY = "SELECT auction, bidder, price, date_time, repeat('x', 950) AS filler FROM wide"


class Memory(threading.Thread):
    """Samples the server's resident memory until told to stop; `growth()` in KiB."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.samples, self.ended = server, [server.memory_kib()], threading.Event()

    def run(self):
        while not self.ended.wait(0.05):
            self.samples.append(self.server.memory_kib())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()

    def growth(self):
        return max(self.samples) - self.samples[0]


def warmed(server):
    """The first query pays for pools and caches; it is not what is measured."""
    server.psql(SOURCE)
    server.psql(QUERY + " LIMIT 20000", "-A", "-t", "-o", "/dev/null")


def flat(memory, size):
    assert size > 0.9 * MEGABYTES * 1_000_000, f"only {size} bytes arrived"
    assert memory.growth() < ALLOWED_KIB, f"grew by {memory.growth()} KiB for {size} bytes"


def psycopg_streams(binary):
    with Server() as server:
        warmed(server)
        size = 0
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            with Memory(server) as memory, connection.cursor(binary=binary) as cursor:
                for row in cursor.stream(QUERY + " WHERE price >= %s", (0,)):
                    size += len(row[4]) + 45
        flat(memory, size)


def test_psycopg_streams_text():
    psycopg_streams(binary=False)


def test_psycopg_streams_binary():
    psycopg_streams(binary=True)


def test_a_client_that_stops_reading_holds_nothing_up():
    """The result backs up into the socket, not into memory, and others go on."""
    with Server() as server:
        warmed(server)
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            with Memory(server) as memory:
                rows = connection.cursor().stream(QUERY)
                for _ in range(10):
                    next(rows)
                time.sleep(2)
                assert server.rows("SELECT 1") == [("1",)]
                rows.close()
        assert memory.growth() < ALLOWED_KIB, f"grew by {memory.growth()} KiB"


def test_psql_streams_at_once():
    with Server() as server:
        warmed(server)
        with tempfile.NamedTemporaryFile() as out, Memory(server) as memory:
            # `wc -c` counts what psql writes without keeping it.
            command = f"\\o | wc -c > {out.name}\n{QUERY};\n"
            server.psql(command, "-A", "-t", timeout=600)
            deadline = time.monotonic() + 10
            while not (text := Path(out.name).read_text().strip()):
                assert time.monotonic() < deadline, "psql wrote nothing"
                time.sleep(0.05)
        flat(memory, int(text))


def test_psql_streams_through_a_cursor():
    with Server() as server:
        warmed(server)
        with tempfile.NamedTemporaryFile() as out, Memory(server) as memory:
            command = f"\\o | wc -c > {out.name}\n{QUERY};\n"
            server.psql(command, "-A", "-t", "-v", "FETCH_COUNT=1000", timeout=600)
            deadline = time.monotonic() + 10
            while not (text := Path(out.name).read_text().strip()):
                assert time.monotonic() < deadline, "psql wrote nothing"
                time.sleep(0.05)
        flat(memory, int(text))


def test_psycopg_streams_through_a_named_cursor():
    with Server() as server:
        warmed(server)
        size = 0
        with psycopg.connect(server.dsn()) as connection, Memory(server) as memory:
            with connection.cursor(name="rows", binary=True) as cursor:
                cursor.itersize = 5000
                cursor.execute(QUERY + " WHERE price >= %s", (0,))
                for row in cursor:
                    size += len(row[4]) + 45
        flat(memory, size)


def test_jdbc_streams_with_fetch_size():
    if not (shutil.which("java") and shutil.which("javac")):
        raise Skip("there is no Java compiler (Debian: default-jdk-headless)")
    if not JDBC_DRIVER.exists():
        raise Skip("there is no JDBC driver (Debian: libpostgresql-jdbc-java)")
    with Server() as server, tempfile.TemporaryDirectory() as classes:
        warmed(server)
        source = SQL_TESTS / "clients/jdbc/Stream.java"
        subprocess.run(["javac", "-d", classes, str(source)], check=True, timeout=120)
        url = f"jdbc:postgresql://127.0.0.1:{server.port}/tidemill?user=tidemill&sslmode=disable"
        command = ["java", "-Xmx256m", "-cp", f"{classes}:{JDBC_DRIVER}", "Stream", url, QUERY]
        with Memory(server) as memory:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        rows, size = (int(word) for word in done.stdout.split())
        assert rows == ROWS, rows
        flat(memory, size)


def interrupted(server, sql):
    """Runs psql, interrupts it after a second; answers the seconds it went on and its errors."""
    process = subprocess.Popen(
        ["psql", "-X", "-q", "-A", "-t", "-o", "/dev/null", "-c", sql, server.dsn()],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    time.sleep(1)
    assert process.poll() is None, f"ended by itself: {process.stderr.read()}"
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError("did not end within 20 s of the interrupt") from None
    return time.monotonic() - start, errors


def is_idle(server):
    """Whether the server stops computing soon after."""
    for _ in range(20):
        before = server.cpu_seconds()
        time.sleep(0.25)
        if server.cpu_seconds() - before < 0.08:
            return True
    return False


# The second gives hardly a row, so that nothing but the join's own condition can end it.
LONG = [
    "SELECT sum(a.price + b.price) FROM wide a CROSS JOIN wide b",
    "SELECT count(*) FROM wide a, wide b WHERE a.price + b.price = a.bidder * 3 - b.auction",
]


def test_interrupt_stops_a_long_computation():
    with Server() as server:
        server.psql(SOURCE)
        for sql in LONG:
            took, errors = interrupted(server, sql)
            assert "canceling statement" in errors, errors
            assert took < 1, f"took {took:.1f} s"
            assert is_idle(server), f"goes on computing: {sql}"


def test_timeout_stops_a_long_computation():
    with Server() as server:
        server.psql(SOURCE)
        for sql in LONG:
            start = time.monotonic()
            done = server.psql(f"SET statement_timeout = '1s'; {sql};", check=False)
            assert "due to statement timeout" in done.stderr, done.stderr
            assert time.monotonic() - start < 2.5
            assert is_idle(server), f"goes on computing: {sql}"


def test_interrupt_and_timeout_stop_sleep():
    with Server() as server:
        took, errors = interrupted(server, "SELECT pg_sleep(100)")
        assert "due to user request" in errors and took < 1, (took, errors)
        done = server.psql("SET statement_timeout = '300ms'; SELECT pg_sleep(100);", check=False)
        assert "due to statement timeout" in done.stderr, done.stderr
        start = time.monotonic()
        assert server.rows("SELECT pg_sleep(0.5) || 'slept'") == [("slept",)]
        assert 0.5 <= time.monotonic() - start < 2


def test_interrupt_stops_a_stream():
    with Server() as server:
        server.psql("CREATE SOURCE huge WITH (connector = 'nexmark', nexmark.table.type = 'bid', "
                    "nexmark.event.num = 2000000000)")
        # A thousand rows at a time through psql's own cursor, so that it does not gather them.
        process = subprocess.Popen(
            ["psql", "-X", "-q", "-A", "-t", "-o", "/dev/null", "-v", "FETCH_COUNT=1000", server.dsn()],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        process.stdin.write("SELECT * FROM huge;\n")
        process.stdin.flush()
        time.sleep(1)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        took = time.monotonic() - start
        assert took < 1, f"took {took:.1f} s"
        assert is_idle(server), "goes on computing"
        assert server.rows("SELECT 1") == [("1",)]


def test_a_vanished_client_stops_its_query():
    with Server() as server:
        server.psql("CREATE SOURCE huge WITH (connector = 'nexmark', nexmark.table.type = 'bid', "
                    "nexmark.event.num = 2000000000)")
        process = subprocess.Popen(
            ["psql", "-X", "-q", "-o", "/dev/null", "-c", "SELECT * FROM huge", server.dsn()],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(1)
        assert process.poll() is None
        process.kill()
        process.wait()
        assert is_idle(server), "goes on computing"
