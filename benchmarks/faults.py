"""Every fault at every call: what `tests/faults` samples, in full.

    python benchmarks/faults.py --json faults.json

A command (features, a distillation, one with --restart over an older set, an artefact, an evaluation) is broken at its
k-th call that changes the disk, for every k: killed, refused by the system once or from then on, or left without power.
Afterwards the artefact must be absent, old or new, and the same command must end in the same bytes. Each line of the
table counts the calls at which that isn't so. --quick takes every eleventh call.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # children are forks, which no thread of OpenMP's survives
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bars import Bar, arguments, report
from faults.phases import PHASES
from faults.sweeps import KINDS, Kind, Stage


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--phase", choices=[phase.name for phase in PHASES], help="this one alone")
    parser.add_argument("--fault", default="", help="those alone whose name begins so, such as ENOSPC")
    given = parser.parse_args()
    bars = []
    print("phase | fault | points | failed", file=sys.stderr)
    for phase in PHASES:
        if given.phase in (None, phase.name):
            with tempfile.TemporaryDirectory() as folder:
                stage = Stage(phase, Path(folder))
                kinds = [kind for kind in KINDS if kind.name.startswith(given.fault)]
                bars += [sweep(stage, kind, 11 if given.quick else 1) for kind in kinds]
    report(bars, given.json)


def sweep(stage: Stage, kind: Kind, stride: int) -> Bar:
    """A fault at every `stride`-th call of a command; what goes wrong is printed at once."""
    calls = len(stage.calls(kind))
    numbers = range(1, calls + 1, stride)
    wrong = list(stage.sweep(kind, numbers))
    print(f"{stage.phase.name} | {kind.name} | {len(numbers)} | {len(wrong)}", *wrong, sep="\n  ", file=sys.stderr)
    detail = f"tried at {len(numbers)} of {calls} calls"
    return Bar(f"{stage.phase.name}, {kind.name}", len(wrong), 0, "failed", detail)


if __name__ == "__main__":
    main()
