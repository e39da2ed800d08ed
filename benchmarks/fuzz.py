"""Hostile files of every kind that attar reads, by the thousand: each is read or refused, and nothing else happens.

    python benchmarks/fuzz.py --count 10000 --json fuzz.json
    python benchmarks/fuzz.py --kind npz --seed 1234 --count 1      # one input again, with its traceback

The kinds, and what must hold, are those of tests/faults/hostile.py. Every kind has a process of its own: one that dies,
or takes a minute for an input, is a failure too. Exits with 1 where there is any.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import sys
import tempfile
import traceback
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from bars import Bar, arguments, report

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
_SECONDS = 60


@dataclass
class Tally:
    """What became of the inputs of a kind; `failures` holds the seed and the traceback of each."""

    accepted: int = 0
    refused: int = 0
    growth: int = 0
    failures: list[str] = field(default_factory=list)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, help="inputs of all kinds together (10000; quick: 1000)")
    parser.add_argument("--kind", action="append", help="this kind alone; repeatable")
    parser.add_argument("--seed", type=int, default=0, help="of the first input of a kind; the next have the next")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from faults.hostile import KINDS, MEMORY

    kinds = given.kind or list(KINDS)
    count = -(-(given.count or (1000 if given.quick else 10_000)) // len(kinds))
    tallies = {kind: apart(kind, given.seed, count) for kind in kinds}
    for kind, tally in tallies.items():
        for failure in tally.failures:
            print(f"{kind}, {failure}", file=sys.stderr)
    bars = [
        Bar(kind, len(tally.failures), 0, "failures",
            f"{count:,} inputs, {tally.accepted:,} accepted, {tally.refused:,} refused, "
            f"memory grew by {tally.growth / 2**20:.0f} MiB")
        for kind, tally in tallies.items()
    ]  # fmt: skip
    most = max(tally.growth for tally in tallies.values()) / 2**20
    bars.append(Bar("memory", most, MEMORY / 2**20, "MiB", "the most by which any kind's process grew"))
    report(bars, given.json)
    sys.exit(any(not bar.ok for bar in bars))


def apart(kind: str, seed: int, count: int) -> Tally:
    """`feed` in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(feed, kind, seed, count).result()
        except BrokenProcessPool:
            return Tally(failures=[f"seeds {seed} to {seed + count - 1}: the process died"])


def feed(kind: str, seed: int, count: int) -> Tally:
    """Give attar `count` inputs of a kind, drawn by the seeds from `seed` on."""
    from faults.hostile import KINDS, peak, start_peak, survive

    tally = Tally()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["ATTAR_CACHE"] = cache
        survive(KINDS[kind], Random(seed))  # libraries set themselves up
        before = start_peak()
        for number in range(seed, seed + count):
            faulthandler.dump_traceback_later(_SECONDS, exit=True)
            try:
                accepted = survive(KINDS[kind], Random(number))
            except Exception:
                tally.failures.append(f"seed {number}: {traceback.format_exc()}")
                continue
            tally.accepted += accepted
            tally.refused += not accepted
        faulthandler.cancel_dump_traceback_later()
        tally.growth = peak() - before
    return tally


if __name__ == "__main__":
    main()
