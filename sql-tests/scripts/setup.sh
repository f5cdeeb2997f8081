#!/usr/bin/env bash
# Installs what the build and the tests need, where that can be done, and
# otherwise says in one line what is missing and how to get it.
#
# Required: cargo, gcc, git, make, psql, python3 with venv. Optional: java, javac
# and PostgreSQL's JDBC driver (its test is left out without them).
set -euo pipefail

missing=0

can_install() {
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null
}

updated=0
apt_install() { # packages...
    if [ "$updated" -eq 0 ]; then
        apt-get update -qq >/dev/null 2>&1 || true
        updated=1
    fi
    echo "setup: installing $*"
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null 2>&1
}

need() { # command, Debian package
    command -v "$1" >/dev/null && return 0
    if can_install && apt_install "$2" && command -v "$1" >/dev/null; then
        return 0
    fi
    echo "setup: '$1' is missing; install it with: sudo apt-get install $2" >&2
    missing=1
}

need gcc gcc
need git git
need psql postgresql-client
need python3 python3
if ! command -v cargo >/dev/null; then
    echo "setup: 'cargo' is missing; install Rust 1.95 or newer (rustc and cargo)" >&2
    missing=1
else
    have=$(rustc --version | sed -E 's/^rustc ([0-9]+)\.([0-9]+).*/\1 \2/')
    read -r major minor <<<"$have"
    if [ "$major" -eq 1 ] && [ "$minor" -lt 95 ]; then
        echo "setup: rustc 1.$minor is too old; install Rust 1.95 or newer" >&2
        missing=1
    fi
fi
if command -v python3 >/dev/null && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    if ! { can_install && apt_install python3-venv && python3 -c 'import ensurepip, venv' 2>/dev/null; }; then
        echo "setup: python3's venv module is missing; install it with: sudo apt-get install python3-venv" >&2
        missing=1
    fi
fi
for component in fmt clippy; do
    if command -v cargo >/dev/null && ! cargo "$component" --version >/dev/null 2>&1; then
        echo "setup: 'cargo $component' is missing; install Rust's component (rustfmt, clippy)" >&2
        missing=1
    fi
done

# The JDBC test runs where Java is; its driver is a Debian package.
if command -v java >/dev/null && [ ! -e /usr/share/java/postgresql.jar ] && can_install; then
    apt_install libpostgresql-jdbc-java || echo "setup: no JDBC driver (libpostgresql-jdbc-java); its test will be skipped"
fi

exit "$missing"
