#!/usr/bin/env bash
# Makes the tests' virtual environment, or leaves it alone when it is as the
# requirements say.
set -euo pipefail
venv=$1
requirements=$(dirname "$0")/../requirements.txt

if [ -x "$venv/bin/python" ] && cmp -s "$requirements" "$venv/requirements.done"; then
    exit 0
fi
echo "venv: making $venv"
python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
cp "$requirements" "$venv/requirements.done"
