#!/usr/bin/env bash
# The quickstart of the README, carried out: starts a server on a fresh directory and
# free ports, declares a source and a windowed view, shows the view twice, stops the
# server. Leaves nothing running and no file behind, also when interrupted.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=${TIDEMILL_BIN:-${CARGO_TARGET_DIR:-$HOME/.cache/tidemill/target}/debug/tidemill}

directory=$(mktemp -d)
server=""
clean_up() {
    if [ -n "$server" ] && kill "$server" 2>/dev/null; then
        wait "$server" || true
    fi
    rm -rf "$directory"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

echo "== starting the server"
"$binary" start --data-dir "$directory/data" --pg-addr 127.0.0.1:0 --http-addr 127.0.0.1:0 \
    >"$directory/out" 2>"$directory/log" &
server=$!

ready=""
for _ in $(seq 1 300); do
    ready=$(grep -m1 '^ready:' "$directory/out" || true)
    [ -z "$ready" ] || break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
if [ -z "$ready" ]; then
    echo "the server did not get ready; its log:" >&2
    cat "$directory/log" >&2
    exit 1
fi
echo "$ready"
port=$(sed -E 's/.* -p ([0-9]+).*/\1/' <<<"$ready")

sql() {
    psql -X -q -v ON_ERROR_STOP=1 "host=127.0.0.1 port=$port user=tidemill dbname=tidemill sslmode=disable" "$@"
}

echo
echo "== docs/quickstart.sql"
grep -vE '^(--|$)' docs/quickstart.sql
sql -f docs/quickstart.sql

latest="SELECT * FROM bids_per_window ORDER BY window_start DESC LIMIT 4"
for round in first second; do
    sleep 3
    echo
    echo "== the view, $round look:  $latest;"
    sql -c "$latest"
done

echo "== what the job has done so far"
sql -c "SELECT name, state, rows_in, late_rows, watermark FROM tm_catalog.jobs"

echo "To go on by yourself:"
echo "    $binary start"
echo "    psql -h 127.0.0.1 -p 7654 -U tidemill tidemill -f docs/quickstart.sql"
echo "    then in psql:  $latest \\watch 1"
echo "== stopping the server"
