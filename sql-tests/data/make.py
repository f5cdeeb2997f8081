"""Makes the input files of the .slt tests; run it again after changing it.

    python3 sql-tests/data/make.py

The files are in the checkout, so that a test needs nothing made first. The random
sequence is fixed and spelled out (a linear congruential generator) so that any
Python makes the same files. Floating-point values are multiples of 1/4: their sums
are exact in any order.
"""

from datetime import datetime, timedelta
from pathlib import Path

HERE = Path(__file__).resolve().parent
START = datetime(2024, 2, 29, 23, 58, 30)


class Random:
    """Knuth's MMIX constants; the upper bits only."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % n


HEADER = "id,ts,customer,qty,small,amount,price,rate,day,flag,big,note"
NOTES = ["", '""', "plain", '"with, comma"', '"say ""hi"""', "naïve café", "日本"]


def order(random, number, ts):
    """One line; about one value in nine is missing (but never id and ts)."""

    def maybe(text):
        return "" if random.below(9) == 0 else text

    cents = random.below(200_000) - 50_000
    return ",".join(
        [
            str(number),
            ts.isoformat(sep=" "),
            maybe("abcdefgh"[min(random.below(8), random.below(8))]),
            maybe(str(random.below(2001) - 1000)),
            maybe(str(random.below(65536) - 32768)),
            maybe(f"{'-' if cents < 0 else ''}{abs(cents) // 100}.{abs(cents) % 100:02d}"),
            maybe(str((random.below(80_001) - 40_000) / 4)),
            maybe(str((random.below(801) - 400) / 4)),
            maybe((ts + timedelta(days=random.below(5))).date().isoformat()),
            maybe(["true", "false"][random.below(2)]),
            maybe(str((random.below(2**31) - 2**30) * 4_000_000_007)),
            NOTES[random.below(len(NOTES))],
        ]
    )


def times(random, count):
    """Event times that advance by about a second a row; one row in six is out of
    place by up to a quarter of a minute."""
    now = START
    for _ in range(count):
        now += timedelta(milliseconds=random.below(2_000))
        back = random.below(15_000) if random.below(6) == 0 else 0
        yield now - timedelta(milliseconds=back)


def write(name, lines):
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main():
    random = Random(20240229)
    write("orders.csv", [HEADER, *(order(random, n, t) for n, t in enumerate(times(random, 400)))])
    for part in range(3):
        random = Random(part + 1)
        rows = (order(random, part * 1000 + n, t) for n, t in enumerate(times(random, 150)))
        write(f"parts/orders-{part}.csv", [HEADER, *rows])
    good = [f"{n},2024-01-01 00:00:{n:02d},{n * n}" for n in range(20)]
    bad = list(good)
    bad[3] = "3,not a time,9"
    bad[7] = "7,2024-01-01 00:00:07,99999999999999999999"
    bad[11] = "eleven,2024-01-01 00:00:11,121"
    bad[15] = "15,2024-01-01 00:00:15"
    write("squares.csv", ["n,ts,square", *good])
    write("broken.csv", ["n,ts,square", *bad])
    write("no_header.csv", [line.replace(",", "|") for line in good[:5]])
    nulls = ["k,ts,v", "a,2024-01-01 00:00:01,1", "b,,2", "a,2024-01-01 00:00:03,4", "a,,8"]
    write("null_time.csv", nulls)


if __name__ == "__main__":
    main()
