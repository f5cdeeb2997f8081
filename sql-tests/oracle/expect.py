"""Computes the expected rows of the .slt files with DuckDB.

A query whose answer is not obvious by eye carries, in the comment above it, SQL
that was written by hand for DuckDB:

    # oracle: SELECT bidder, count(*) FROM bid GROUP BY 1 ORDER BY 1
    query II
    SELECT bidder, count(*) FROM bid GROUP BY bidder ORDER BY bidder
    ----
    1000 12

(an `# oracle:` may go on over further lines that begin with `#   `). This script
runs that SQL and writes its rows below the `----`; with --check it compares and
changes nothing. Tidemill's own answer to the query is never looked at.

The tables of the oracle come from two kinds of lines in the file:

    # oracle table bid: SELECT auction, bidder, price, date_time FROM bid
    # oracle setup: CREATE TABLE t AS SELECT * FROM read_csv('{data}/t.csv')

The first reads a bounded source through the server (the CREATE SOURCE statements
of the file are run there first), because the rows of a generator exist nowhere
else; the generator itself is tested in its own crate against known values. The
second is DuckDB's own SQL.

A query below `# postgres` is checked, as its text stands, against a PostgreSQL
server whose address is given with --postgres; without one it is left alone.
"""

import argparse
import re
import sys
from itertools import zip_longest
from pathlib import Path

import duckdb
import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "clients"))
from tidemill import DATA, SQL_TESTS, Server  # noqa: E402

# PostgreSQL's names of result types -> DuckDB's.
TYPES = {
    "bool": "BOOLEAN", "int2": "SMALLINT", "int4": "INTEGER", "int8": "BIGINT",
    "float4": "REAL", "float8": "DOUBLE", "text": "VARCHAR", "varchar": "VARCHAR",
    "timestamp": "TIMESTAMP", "timestamptz": "TIMESTAMPTZ", "date": "DATE",
    "numeric": "DECIMAL(38, 10)",
}  # fmt: skip

# avg() of whole numbers is numeric with ten digits, rounded half away from zero,
# as PostgreSQL rounds; DuckDB's is a double. Exact as long as |sum| < 10^27.
PRELUDE = """
SET TimeZone = 'UTC';
CREATE MACRO avg10_scaled(s, n) AS (
    (2 * abs(s::HUGEINT) * 10000000000 + n) // (2 * n::HUGEINT));
CREATE MACRO avg10(s, n) AS CASE WHEN n = 0 THEN NULL ELSE
    CASE WHEN s < 0 AND avg10_scaled(s, n) > 0 THEN '-' ELSE '' END
    || (avg10_scaled(s, n) // 10000000000)::VARCHAR || '.'
    || lpad((avg10_scaled(s, n) % 10000000000)::VARCHAR, 10, '0') END;
"""


class Script:
    """An .slt file cut into lines, with what concerns the oracle picked out."""

    def __init__(self, path: Path):
        self.path = path
        self.lines = path.read_text().split("\n")
        self.tables, self.setup, self.queries, self.sources = [], [], [], []
        self.postgres = []
        self._scan()

    def _comment(self, i):
        """The text of an oracle comment that starts at line i, and the line after it."""
        text = self.lines[i].split(":", 1)[1].strip()
        i += 1
        while i < len(self.lines) and self.lines[i].startswith("#   "):
            text += " " + self.lines[i][4:].strip()
            i += 1
        return text.replace("{data}", str(DATA)), i

    def _results(self, delimiter):
        """The lines between the delimiter and the next empty one."""
        return delimiter + 1, self.lines.index("", delimiter)

    def _scan(self):
        i, pending = 0, None
        while i < len(self.lines):
            line = self.lines[i]
            if m := re.match(r"# oracle table (\w+):", line):
                text, i = self._comment(i)
                self.tables.append((m[1], text))
            elif line.startswith("# oracle setup:"):
                text, i = self._comment(i)
                self.setup.append(text)
            elif line.startswith("# oracle:"):
                pending, i = self._comment(i)
            elif line == "# postgres":
                delimiter = self.lines.index("----", i)
                sql = "\n".join(self.lines[i + 2 : delimiter])
                self.postgres.append((sql, *self._results(delimiter), False))
                i = delimiter
            elif line.startswith("query") and pending:
                first, last = self._results(self.lines.index("----", i))
                self.queries.append((pending, first, last, "rowsort" in line))
                pending, i = None, last
            elif line.startswith("statement ok"):
                body = []
                i += 1
                while i < len(self.lines) and self.lines[i] != "":
                    body.append(self.lines[i])
                    i += 1
                sql = "\n".join(body)
                if sql.upper().startswith("CREATE SOURCE"):
                    self.sources.append(sql.replace("{data}", str(DATA)))
            else:
                if pending:
                    raise SystemExit(f"{self.path}:{i + 1}: an oracle without its query")
                i += 1


def render(value) -> str:
    """A value as PostgreSQL's text format has it, and as .slt files write it."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, float):
        if value != value:
            return "NaN"
        text = repr(value)
        return text[:-2] if text.endswith(".0") else text
    text = str(value)
    if hasattr(value, "tzinfo") and value.tzinfo is not None:
        text = text.replace("+00:00", "+00")
    if hasattr(value, "microsecond") and value.microsecond:
        text = re.sub(r"(\.\d*?)0+(?=$|\+)", r"\1", text)
    return re.sub(r"\s+", " ", text).strip() or "(empty)"


def load_tables(script: Script, duck):
    """Reads the file's sources through a server of their own."""
    if not script.tables:
        return
    with Server() as server:
        fetch_tables(script, server, duck)


def fetch_tables(script: Script, server: Server, duck):
    schema = f"oracle_{script.path.stem}"
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        connection.execute(f"SET search_path TO {schema}")
        for source in script.sources:
            connection.execute(source)
        for name, query in script.tables:
            cursor = connection.execute(query)
            types = [connection.adapters.types.get(c.type_code).name for c in cursor.description]
            columns = [f'"{c.name}" {TYPES[t]}' for c, t in zip(cursor.description, types)]
            duck.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
            marks = ", ".join("?" * len(columns))
            rows = cursor.fetchall()
            if not rows:
                raise SystemExit(f"{script.path}: {name} is empty")
            duck.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)


def answers(script: Script, postgres):
    """For each query: its SQL, where its rows stand, and what they should be."""
    if script.queries:
        duck = duckdb.connect()
        duck.execute(PRELUDE)
        load_tables(script, duck)
        for statement in script.setup:
            duck.execute(statement)
    for sql, first, last, row_sort in script.queries:
        try:
            rows = [[render(v) for v in row] for row in duck.execute(sql).fetchall()]
        except duckdb.Error as e:
            raise SystemExit(f"{script.path}:{first}: {e}\n{sql}") from e
        if row_sort:
            rows.sort()
        yield sql, first, last, [" ".join(row) for row in rows]
    for sql, first, last, _ in script.postgres if postgres else []:
        rows = postgres.execute(sql).fetchall()
        texts = [["NULL" if v is None else v.decode() or "(empty)" for v in row] for row in rows]
        yield sql, first, last, [" ".join(row) for row in texts]


def connect_postgres(dsn):
    """A connection that hands out PostgreSQL's own texts."""
    connection = psycopg.connect(dsn, autocommit=True)
    for oid in {t.oid for t in connection.adapters.types}:
        connection.adapters.register_loader(oid, psycopg.types.string.ByteaLoader)
    return connection


def main():
    parser = argparse.ArgumentParser(description="expected rows of the .slt files by DuckDB")
    parser.add_argument("--check", action="store_true", help="compare, change nothing")
    parser.add_argument("--postgres", metavar="DSN", help="a PostgreSQL server to ask, too")
    parser.add_argument("files", nargs="*", type=Path, help="default: all of slt/")
    arguments = parser.parse_args()
    files = arguments.files or sorted((SQL_TESTS / "slt").rglob("*.slt"))
    postgres = connect_postgres(arguments.postgres) if arguments.postgres else None
    right = wrong = 0
    for path in files:
        script = Script(path)
        changes = []
        for sql, first, last, rows in answers(script, postgres):
            if script.lines[first:last] == rows:
                right += 1
                continue
            wrong += 1
            changes.append((first, last, rows))
            if arguments.check:
                print(f"{path}:{first}: not what the oracle computes\n  {sql}")
                for old, new in zip_longest(script.lines[first:last], rows):
                    if old != new:
                        print(f"  in the file: {old}\n  the oracle:  {new}")
                        break
        if changes and not arguments.check:
            for first, last, rows in sorted(changes, reverse=True):
                script.lines[first:last] = rows
            path.write_text("\n".join(script.lines))
            print(f"{path}: {len(changes)} answers written")
    if arguments.check:
        print(f"oracle: {right} passed, {wrong} failed")
        sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
