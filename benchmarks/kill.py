"""A hundred kill -9 at random moments: what does a distillation and evaluation of the digits lose by them?

    python benchmarks/kill.py --count 100 --json kill.json

Each kill hits a process that runs `attar distill` and then `attar evaluate`, somewhere between its start and its end.
The set must then be absent or whole, and the same commands must end in the same bytes and the same table; up to three
processes are killed in a row before one may end. --quick takes 20 kills.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # the processes are forks, which no thread of OpenMP's survives
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bars import Bar, arguments, report
from faults.random_kills import Campaign


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, help="how many kills (100)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder) / "work", seed=given.seed)
        campaign.run(
            given.count or (20 if given.quick else 100), lambda kills: print(f"{kills} kills", file=sys.stderr)
        )
    for line in campaign.wrong:
        print(line, file=sys.stderr)
    places = ", ".join(f"{count} {place}" for place, count in sorted(campaign.hits.items()))
    detail = f"{sum(campaign.hits.values())} kills ({places}); {campaign.ends} times the commands ended afterwards"
    report([Bar("kill -9", len(campaign.wrong), 0, "wrong", detail)], given.json)


if __name__ == "__main__":
    main()
