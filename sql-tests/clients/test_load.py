"""Many clients beside a running view."""

import os
import threading
import time

import psycopg
from tidemill import DATA, Server

SECONDS = float(os.environ.get("TIDEMILL_LOAD_SECONDS", "10"))
CONNECTIONS = 50
SETUP = f"""
CREATE SOURCE running WITH (connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = 0,
    nexmark.event.rate = 20000);
CREATE SOURCE squares (n INT, ts TIMESTAMP, square BIGINT)
WITH (connector = 'file', path = '{DATA}/squares.csv') FORMAT PLAIN ENCODE CSV (header = true);
CREATE MATERIALIZED VIEW live AS
SELECT window_start, window_end, count(*) AS n, max(price) AS price
FROM TUMBLE(running, date_time, INTERVAL '1 second') GROUP BY window_start, window_end;
"""
QUERIES = [
    ("SELECT sum(n) FROM live", None),
    ("SELECT window_start, n FROM live ORDER BY window_start DESC LIMIT 5", None),
    ("SELECT count(*), sum(square) FROM squares WHERE n < %s", (10,)),
    ("SELECT name, state, rows_in FROM tm_catalog.jobs", None),
    ("SELECT %s::int + 1", (41,)),
]


def test_fifty_connections_beside_a_running_view():
    with Server() as server:
        server.psql(SETUP)
        errors, counts = [], [0] * CONNECTIONS
        deadline = time.monotonic() + SECONDS

        def client(i):
            try:
                with psycopg.connect(server.dsn(), autocommit=True) as connection:
                    seen = -1
                    while time.monotonic() < deadline:
                        sql, parameters = QUERIES[(i + counts[i]) % len(QUERIES)]
                        rows = connection.execute(sql, parameters).fetchall()
                        if sql is QUERIES[0][0]:
                            total = rows[0][0] or 0
                            assert total >= seen, f"the view went back from {seen} to {total}"
                            seen = total
                        elif sql is QUERIES[2][0]:
                            assert rows == [(10, 285)], rows
                        counts[i] += 1
            except Exception as e:
                errors.append(f"client {i}: {e!r}")

        first = int(server.rows("SELECT coalesce(sum(n), 0) FROM live")[0][0])
        threads = [threading.Thread(target=client, args=(i,)) for i in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS + 60)
        assert not errors, errors[:5]
        assert min(counts) > 0, counts
        last = int(server.rows("SELECT sum(n) FROM live")[0][0])
        # 46 of 50 events are bids; under this load at least a half of them keep coming.
        assert last - first > SECONDS * 20000 * 0.46, (first, last)
        print(f"     {sum(counts)} queries, {sum(counts) / SECONDS:.0f}/s")
