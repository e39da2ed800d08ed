"""Is one method's set below another's? Both on one backbone, paired over test images and distillation seeds.

    python benchmarks/versus.py sfm-0 sfm-1 --against lgm-0 lgm-1 --test photos/val --backbone NAME --weights FILE

"Above": the 95 % interval of the difference lies above 0; "not below": it ends above -1.5 points, with a mean of -0.3
or more. The seconds are those that distilling took on the machine where it was done.
"""

from __future__ import annotations

import argparse

import attar
from attar.evaluation import paired_difference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--against", nargs="+", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--weights")
    given = parser.parse_args()
    test = attar.open(given.test)
    backbone = attar.backbone(given.backbone, weights=given.weights)
    sides = [[attar.load(path) for path in paths] for paths in (given.sets, given.against)]
    found = [attar.evaluate(sets, test=test, train=None, backbone=backbone) for sets in sides]
    print("| protocol | sets | against | difference | seconds a set |\n|---|---|---|---|---|")
    seconds = " / ".join(f"{sum(one.manifest.scores['seconds'] for one in sets) / len(sets):.0f}" for sets in sides)
    for ours, theirs in zip(*(evaluation.rows for evaluation in found), strict=True):
        gap = paired_difference(ours.correct, theirs.correct, found[0].test_labels)
        named = [f"{row.method} {row.accuracy:.1f} ± {row.std:.1f} ({len(row.correct)})" for row in (ours, theirs)]
        points = f"{gap.mean:+.1f} ({gap.low:+.1f} to {gap.high:+.1f}): {gap.verdict}"
        print(f"| {ours.protocol} | {named[0]} | {named[1]} | {points} | {seconds} |")


if __name__ == "__main__":
    main()
