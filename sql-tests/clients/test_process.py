"""The process: start, health, metrics, end, and what it refuses."""

import subprocess
import tempfile
import time
import urllib.request

import psycopg
from tidemill import Server, binary


def get(server, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}{path}", timeout=5) as answer:
        return answer.status, answer.read().decode()


def test_health_and_metrics():
    with Server() as server:
        server.psql("CREATE SOURCE s WITH (connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = 500);"
                    "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s;")
        server.wait_for_job("v")
        assert get(server, "/health")[0] == 200
        status, text = get(server, "/metrics")
        assert status == 200 and "# TYPE tidemill_" in text, text[:300]


def test_ends_when_told_to_and_says_so_to_clients():
    server = Server()
    try:
        server.psql("CREATE SOURCE s WITH (connector = 'nexmark', nexmark.table.type = 'bid');"
                    "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s;")
        connection = psycopg.connect(server.dsn(), autocommit=True)
        start = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - start < 10
        try:
            connection.execute("SELECT 1")
            raise AssertionError("the connection survived its server")
        except psycopg.OperationalError:
            pass
    finally:
        server.stop()


def refused(*arguments):
    with tempfile.TemporaryDirectory() as directory:
        command = [str(binary()), "start", "--data-dir", directory, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return done.returncode, done.stdout + done.stderr


def test_listens_on_loopback_only():
    for flag in ("--pg-addr", "--http-addr"):
        code, text = refused(flag, "0.0.0.0:0")
        assert code != 0 and "loopback" in text, text
        assert "panicked" not in text, text


def test_names_what_is_wrong_with_its_flags():
    for arguments in (["--threads", "0"], ["--threads", "many"], ["--no-such-flag"]):
        code, text = refused(*arguments)
        assert code != 0 and arguments[0] in text, text
        assert "panicked" not in text, text


def test_two_servers_at_a_time():
    with Server() as one, Server() as two:
        one.psql("CREATE VIEW v AS SELECT 1 AS n")
        assert one.rows("SELECT n FROM v") == [("1",)]
        assert "does not exist" in two.psql("SELECT n FROM v", check=False).stderr
