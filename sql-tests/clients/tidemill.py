"""Starts and stops the server for the Python tests, the oracle and the bench.

Only the standard library is used here, so that `make bench` and `make demo` need
no more. A `Server` is a context manager: whatever happens inside, the process has
ended afterwards and its data directory is gone.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

SQL_TESTS = Path(__file__).resolve().parent.parent
DATA = SQL_TESTS / "data"
PATIENCE_S = 30
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Skip(Exception):
    """A test cannot run here; the reason is its text."""


def binary() -> Path:
    """The server under test: TIDEMILL_BIN, or the build directory's."""
    if path := os.environ.get("TIDEMILL_BIN"):
        return Path(path)
    default = Path.home() / ".cache/tidemill/target"
    return Path(os.environ.get("CARGO_TARGET_DIR", default)) / "debug/tidemill"


class Server:
    """A running server on loopback ports that the system chose."""

    def __init__(self, threads=None, batch_rows=None, file_root=DATA, extra=(), data_dir=None):
        """With a `data_dir` that is given, the data stay when the server stops."""
        self.directory = Path(tempfile.mkdtemp(prefix="tidemill-test-"))
        self.log = self.directory / "server.log"
        data_dir = data_dir or self.directory / "data"
        command = [str(binary()), "start", "--pg-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"]
        command += ["--data-dir", str(data_dir), "--file-roots", str(file_root)]
        if threads is not None:
            command += ["--threads", str(threads)]
        if batch_rows is not None:
            command += ["--batch-rows", str(batch_rows)]
        command += extra
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.pid = self.process.pid
        try:
            self.port, self.http_port = self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self):
        """Answers the port for PostgreSQL, from the `ready` line, and for HTTP, from the log."""
        found = []
        ready = threading.Event()

        def read():
            for line in self.process.stdout:
                if line.startswith("ready:") and not ready.is_set():
                    found.append(int(re.search(r" -p (\d+)", line)[1]))
                    ready.set()
            ready.set()

        threading.Thread(target=read, daemon=True).start()
        ready.wait(PATIENCE_S)
        deadline = time.monotonic() + 5
        while found and time.monotonic() < deadline:
            if http := re.search(r"http=127\.0\.0\.1:(\d+)", self._log_text()):
                return found[0], int(http[1])
            time.sleep(0.02)
        raise RuntimeError(f"the server did not get ready; its log:\n{self._log_text()}")

    def _log_text(self):
        """The log without the colours of a terminal."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text())

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def stop(self):
        """SIGTERM, patience, SIGKILL; then the data directory goes. Answers the exit status."""
        if self.is_alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        return self.process.returncode

    def kill(self):
        """SIGKILL: nothing is flushed and nobody is told."""
        self.process.kill()
        self.process.wait()
        self.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=tidemill dbname=tidemill sslmode=disable"

    def memory_kib(self, what="VmRSS") -> int:
        """VmRSS (now) or VmHWM (peak) of the process."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(what + ":"):
                return int(line.split()[1])
        raise RuntimeError(f"no {what} for process {self.pid}")

    def cpu_seconds(self) -> float:
        """User and system time of all threads, and of ended children."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(int(fields[i]) for i in (11, 12, 13, 14)) / CLOCK_TICKS

    def psql(self, sql, *flags, check=True, timeout=120, **kwargs):
        """Runs psql on `sql` (given on standard input) and answers the finished process."""
        command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *flags, self.dsn()]
        done = subprocess.run(
            command, input=sql, capture_output=True, text=True, timeout=timeout, **kwargs
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"psql failed on {sql!r}:\n{done.stderr}")
        return done

    def rows(self, sql):
        """The rows of one query as tuples of texts; NULL is None."""
        out = self.psql(sql, "-A", "-t", "-F", "\x1f", "-R", "\x1e", "-P", "null=\x1d").stdout
        lines = out.rstrip("\n").split("\x1e") if out.strip("\n") else []
        return [tuple(None if v == "\x1d" else v for v in line.split("\x1f")) for line in lines]

    def wait_for_job(self, name, timeout=120):
        """Polls until the job has finished; answers its row of tm_catalog.jobs as a dict."""
        columns = (
            "state error started_at finished_at rows_read rows_in rows_out late_rows "
            "late_window_rows rejected_rows"
        ).split()
        deadline = time.monotonic() + timeout
        while True:
            found = self.rows(
                f"SELECT {', '.join(columns)} FROM tm_catalog.jobs WHERE name = '{name}'"
            )
            if not found:
                raise RuntimeError(f"there is no job {name}")
            job = dict(zip(columns, found[0]))
            if job["state"] in ("finished", "failed"):
                return job
            if time.monotonic() > deadline:
                raise RuntimeError(f"job {name} is still {job['state']}")
            time.sleep(0.05)
