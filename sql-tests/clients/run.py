"""Runs the client tests: every function `test_*` of every module `test_*.py` here.

    python clients/run.py [--list] [words...]     only tests whose name has a word

Sizes come from the environment: TIDEMILL_STREAM_MB (100), TIDEMILL_LOAD_SECONDS
(10), TIDEMILL_FLIGHTS (`some` or `all` combinations of workers and batch sizes).
A test is skipped by raising `Skip`; the reason is printed.
"""

import importlib
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from tidemill import Skip  # noqa: E402


def tests():
    for path in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(path.stem)
        for name, function in vars(module).items():
            if name.startswith("test_") and getattr(function, "__module__", "") == path.stem:
                yield f"{path.stem[5:]}::{name[5:]}", function


def main():
    words = [w for w in sys.argv[1:] if not w.startswith("-")]
    chosen = [(n, f) for n, f in tests() if not words or any(w in n for w in words)]
    if "--list" in sys.argv:
        print("\n".join(name for name, _ in chosen))
        return
    passed = failed = skipped = 0
    for name, function in chosen:
        start = time.monotonic()
        try:
            function()
        except Skip as reason:
            skipped += 1
            print(f"SKIP {name}: {reason}", flush=True)
            continue
        except Exception:
            failed += 1
            print(f"FAIL {name}", flush=True)
            traceback.print_exc(file=sys.stdout)
            continue
        passed += 1
        print(f"PASS {name} [{time.monotonic() - start:.1f} s]", flush=True)
    tail = f", {skipped} skipped" if skipped else ""
    print(f"clients: {passed} passed, {failed} failed{tail}")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
