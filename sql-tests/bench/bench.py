"""How fast the server is: events per second, CPU, memory.

    make bench                                     five queries, 2 workers
    make bench BENCH="--events 50000000 --threads 1 q0 tumble"

Each query runs as a sink into `blackhole` over a bounded Nexmark sequence, on a
server of its own. An event is one of the whole sequence (persons, auctions, bids,
1:3:46), as the benchmark counts; seconds are finished_at - started_at of the job;
CPU is user and system time of the whole process, all its threads included, from
before the job to after it; memory is the peak of the resident set.

Two references are measured in the same run, because only ratios of one machine and
hour mean anything: the generator alone (`nexmark_speed`, one thread), and DuckDB on
as many threads over the same rows, already in its memory. The latter starts with the
rows made and ends with the result counted: it is what a batch engine needs for the
same answer without generating, streaming or windows that close.
"""

import argparse
import json
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "clients"))
from tidemill import Server, binary  # noqa: E402

SOURCE = """
CREATE SOURCE bid WITH (connector = 'nexmark', nexmark.table.type = 'bid',
    nexmark.event.num = {events}, nexmark.event.gap.ns = 10000,
    nexmark.base.time = '2015-07-15 00:00:00', nexmark.split.num = {splits});
"""

# Name -> our text, DuckDB's text over a table `bid`.
QUERIES = {
    "q0": (
        "SELECT auction, bidder, price, date_time, extra FROM bid",
        "SELECT count(auction), count(bidder), count(price), count(date_time), count(extra) FROM bid",
    ),
    "q1": (
        "SELECT auction, bidder, 0.908 * price AS price, date_time, extra FROM bid",
        "SELECT count(auction), sum(bidder), sum(0.908 * price), count(date_time), count(extra) FROM bid",
    ),
    "q2": (
        "SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0",
        "SELECT count(auction), count(price) FROM bid WHERE auction % 123 = 0",
    ),
    "tumble": (
        "SELECT window_start, window_end, max(price) AS price "
        "FROM TUMBLE(bid, date_time, INTERVAL '10 seconds') GROUP BY window_start, window_end "
        "EMIT ON WINDOW CLOSE",
        "SELECT epoch_us(date_time) // 10000000 AS w, max(price) FROM bid GROUP BY w",
    ),
    "hop": (
        "SELECT auction, window_start, window_end, count(*) AS num "
        "FROM HOP(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds') "
        "GROUP BY auction, window_start, window_end EMIT ON WINDOW CLOSE",
        "SELECT auction, epoch_us(date_time) // 2000000 + k AS e, count(*) FROM bid, range(1, 6) r(k) "
        "GROUP BY auction, e",
    ),
}


def sink(query):
    """CREATE SINK ... with the EMIT clause where it belongs."""
    return f"CREATE SINK out AS {query} WITH (connector = 'blackhole');"


def seconds(job):
    at = [datetime.fromisoformat(job[k].replace("+00", "+00:00")) for k in ("started_at", "finished_at")]
    return (at[1] - at[0]).total_seconds()


def measure(name, arguments):
    with Server(threads=arguments.threads) as server:
        server.psql(SOURCE.format(events=arguments.events, splits=arguments.splits))
        idle_kib = server.memory_kib()
        before = server.cpu_seconds()
        server.psql(sink(QUERIES[name][0]))
        job = server.wait_for_job("out", timeout=arguments.timeout)
        cpu = server.cpu_seconds() - before
        if job["state"] != "finished":
            raise SystemExit(f"{name}: {job['error']}")
        bids = arguments.events // 50 * 46
        if int(job["rows_in"]) != bids or int(job["late_rows"]):
            raise SystemExit(f"{name}: the job read {job['rows_in']} of {bids} rows, {job['late_rows']} late")
        took = seconds(job)
        return {
            "query": name,
            "seconds": took,
            "events_per_second": arguments.events / took,
            "cpu_per_million": cpu / arguments.events * 1e6,
            "cores": cpu / took,
            "peak_mib": server.memory_kib("VmHWM") / 1024,
            "idle_mib": idle_kib / 1024,
            "rows_out": int(job["rows_out"]),
        }


def generator_alone(events):
    """The generator without an engine, where its example has been built."""
    program = binary().parent / "examples/nexmark_speed"
    if not program.exists():
        return f"({program.name} has not been built)"
    done = subprocess.run([str(program), "bid", str(events)], capture_output=True, text=True, timeout=600)
    return (done.stdout + done.stderr).strip()


def duckdb_reference(names, arguments):
    """events/s of DuckDB on the same bids; they are read through the server once."""
    try:
        import duckdb
    except ImportError:
        return {}
    # A part is enough: DuckDB's time is linear in the rows, and loading is not measured.
    events = min(arguments.events, arguments.reference_events)
    duck = duckdb.connect(config={"threads": arguments.threads})
    duck.execute("CREATE TABLE bid (auction BIGINT, bidder BIGINT, price BIGINT, date_time TIMESTAMP, extra VARCHAR)")
    with Server(threads=arguments.threads) as server:
        server.psql(SOURCE.format(events=events, splits=arguments.splits))
        path = server.directory / "bids.csv"
        query = "SELECT auction, bidder, price, date_time, extra FROM bid"
        server.psql(query, "--csv", "-t", "-o", str(path), timeout=600)
        duck.execute(f"INSERT INTO bid SELECT * FROM read_csv('{path}', header = false)")
    rates = {}
    for name in names:
        best = None
        for _ in range(3):
            start = time.perf_counter()
            duck.execute(f"CREATE OR REPLACE TEMP TABLE result AS {QUERIES[name][1]}")
            took = time.perf_counter() - start
            best = took if best is None else min(best, took)
        rates[name] = events / best
    return rates


def main():
    parser = argparse.ArgumentParser(description="events per second, CPU and memory")
    parser.add_argument("queries", nargs="*", help=f"default: {' '.join(QUERIES)}")
    parser.add_argument("--events", type=int, default=20_000_000, help="of the whole sequence")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=1, help="runs of each query; the median is shown")
    parser.add_argument("--reference-events", type=int, default=5_000_000)
    parser.add_argument("--no-reference", action="store_true")
    parser.add_argument("--timeout", type=float, default=900, help="seconds per query")
    parser.add_argument("--json", type=Path, help="write all figures there, too")
    arguments = parser.parse_args()
    arguments.events -= arguments.events % 50
    names = arguments.queries or list(QUERIES)
    if unknown := set(names) - set(QUERIES):
        parser.error(f"no such query: {', '.join(sorted(unknown))}")

    print(f"server:    {binary()}, {arguments.threads} workers, {arguments.splits} splits")
    print(f"events:    {arguments.events:,}, of which 46 in 50 are bids")
    print("generator: " + generator_alone(arguments.events).replace("\n", "\n           "), flush=True)
    reference = {} if arguments.no_reference else duckdb_reference(names, arguments)
    print()
    print(f"{'query':8}{'s':>8}{'k events/s':>12}{'core-s/M':>10}{'cores':>7}{'peak MiB':>10}"
          f"{'rows out':>12}{'DuckDB k/s':>12}{'ratio':>7}")  # fmt: skip
    results = []
    for name in names:
        runs = sorted((measure(name, arguments) for _ in range(arguments.repeat)), key=lambda r: r["seconds"])
        run = runs[len(runs) // 2]
        base = reference.get(name)
        run["duckdb_events_per_second"] = base
        results.append(run)
        compared = f"{base / 1000:>12,.0f}{run['events_per_second'] / base:>7.2f}" if base else ""
        print(f"{name:8}{run['seconds']:>8.2f}{run['events_per_second'] / 1000:>12,.0f}"
              f"{run['cpu_per_million']:>10.3f}{run['cores']:>7.2f}{run['peak_mib']:>10,.0f}"
              f"{run['rows_out']:>12,}{compared}", flush=True)  # fmt: skip
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
