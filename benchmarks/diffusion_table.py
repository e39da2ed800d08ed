"""The tables on diffusion models in docs/results.md, from what diffusion.sh left: sets across architectures.

python benchmarks/diffusion_table.py OUT

`others` is the mean over the networks that the images were not distilled on; differences of it are paired over test
images and students. Cells that `diffusion.sh` measured aren't computed again.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

import attar
from attar.evaluation import paired_difference
from attar.evaluation.matrix import Line, matrix
from attar.evaluation.scores import Difference

ASSETS = Path(os.environ.get("ATTAR_ASSETS", Path(__file__).parents[2] / "shared" / "assets"))
STUDENTS = ("cifar_resnet20", "convnet3", "resnetap10", "resnet10t", "mobilenetv2_050", "mobilevit_xxs")
PROTOCOL = f"hard-rded/epochs={os.environ.get('EPOCHS', 60)}"
TABLES = {
    "sre2l": (
        "diver",
        "vae-only",
        "class-only",
        "random+diver",
        "si",
        "sg",
        "si+sg",
        "renoised",
        "x0hat",
        "cfg4",
        "sdedit",
    ),
    "dc": ("dc+diver",),
    "edits": ("d4m", "edits-decode"),
}


def main() -> None:
    out = Path(sys.argv[1])
    for base, made in TABLES.items():
        names = [name for name in (base, *made) if (out / name / "attar.json").is_file()]
        if names and names[0] == base:
            table(out, names)


def table(out: Path, names: list[str]) -> None:
    """One line a set, and random reals; the first set is what the others are compared with."""
    data = ASSETS / "data" / "cifar10"
    done = attar.evaluate(
        [attar.load(out / name) for name in names],
        test=attar.open(data / "test.npz"),
        train=attar.open(data / "train.npz"),
        backbone=(),
        protocols=[PROTOCOL],
        students=STUDENTS,
    )
    lines = {line.first.set: line for line in matrix(done, PROTOCOL).lines}
    own = {row.evaluated_on for row in lines[names[0]].rows if row and row.own}
    heads = [f"{name} (own)" if name in own else name for name in STUDENTS]
    print(f"\n| {PROTOCOL} | {' | '.join(heads)} | others | − {names[0]} | − random | std of the latents |")
    print("|" + "---|" * (len(STUDENTS) + 5))
    for name, line in lines.items():
        cells = [f"{row.accuracy:.1f} ± {np.std(row.students, ddof=1):.1f}" for row in line.rows if row]
        mean = 100 * correct(line, own).mean()
        gaps = [
            ""
            if name == other
            else words(paired_difference(correct(line, own), correct(beside, own), done.test_labels))
            for other, beside in ((names[0], lines[names[0]]), ("random", lines["random"]))
        ]
        print(f"| {name} | {' | '.join(cells)} | {mean:.1f} | {' | '.join(gaps)} | {spread(out / f'{name}.run')} |")


def words(gap: Difference) -> str:
    return f"{gap.mean:+.1f} ({gap.low:+.1f} to {gap.high:+.1f}): {gap.verdict}"


def correct(line: Line, own: set[str]) -> np.ndarray:
    """For each student's seed the share of the networks but `own` that were right on each test image."""
    return np.mean([row.correct for row in line.rows if row and row.evaluated_on not in own], axis=0)


def spread(run: Path) -> str:
    """The mean standard deviation of the latents that were decoded, where the set was refined; real images have 1."""
    file = run / "refined.jsonl"
    if not file.is_file():
        return ""
    return f"{np.mean([json.loads(line)['std']['0'] for line in file.read_text().splitlines()]):.2f}"


if __name__ == "__main__":
    main()
