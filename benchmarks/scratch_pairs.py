"""Whether SC-DD's images teach students more than SRe²L's and CDA's: paired differences of what scratch.sh measured.

python benchmarks/scratch_pairs.py OUT
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import attar
from attar.evaluation import paired_difference

ASSETS = Path(os.environ.get("ATTAR_ASSETS", Path(__file__).parents[2] / "shared" / "assets"))
EPOCHS = {10: 150, 50: 40}


def main() -> None:
    out = Path(sys.argv[1])
    print("| images a class | protocol | SC-DD − | points | 95 % interval | |")
    print("|---|---|---|---|---|---|")
    for ipc, epochs in EPOCHS.items():
        for kind in ("hard", "soft"):
            compare(out, ipc, f"{kind}-rded/epochs={epochs}", [f"scdd-{ipc}", f"sre2l-{ipc}", f"cda-{ipc}"])
    compare(out, 10, "soft-rded/epochs=150", ["scdd-10", "scdd-10-block10"])


def compare(out: Path, ipc: int, protocol: str, names: list[str]) -> None:
    """A line for each set beside the first."""
    if not all((out / name).is_dir() for name in names):
        return
    found = attar.evaluate(
        [attar.load(out / name) for name in names],
        test=attar.open(ASSETS / "data" / "cifar10" / "test.npz"),
        train=None,
        backbone=(),
        protocols=[protocol],
        students=["cifar_resnet20"],
        teacher=out / "supervised.safetensors",
        precision="bf16",
    )
    first, *others = found.rows
    for other in others:
        gap = paired_difference(first.correct, other.correct, found.test_labels)
        about = f"| {ipc} | `{protocol}` | {other.set} | {gap.mean:+.1f}"
        print(f"{about} | {gap.low:.1f} to {gap.high:.1f} | {gap.verdict} |")


if __name__ == "__main__":
    main()
