"""The tables of docs/results.md, from the JSON files that benchmarks/results.sh left.

python benchmarks/results_table.py OUT
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

METHODS = ("random", "centroids", "kmeans", "sfm", "ncm", "sub-centres", "class-means", "full")
SETS = {"woof": "Imagewoof", "nette": "Imagenette", "both": "both, 20 classes", "cifar": "CIFAR-10"}
NETWORKS = {"vit": "ViT-Ti, 224 px", "mobile": "MobileNetV2, 224 px", "simclr": "SimCLR ResNet-18, 64 px"}
SEVERAL = ("ipc10", "ipc10-sub")


def main() -> None:
    files = {file.stem: json.loads(file.read_text()) for file in sorted(Path(sys.argv[1]).glob("*.json"))}
    several = {name: found for name, found in files.items() if name.endswith(SEVERAL)}
    two = {name: found for name, found in files.items() if name.endswith("-two")}
    one = {name: found for name, found in files.items() if name not in several | two}
    for found, methods in ((one, [m for m in METHODS if m not in ("kmeans", "sub-centres")]), (several, METHODS)):
        print("| set | backbone or run | sets | " + " | ".join(methods) + " | SFM − centroids | SFM − class-means |")
        print("|" + "---|" * (len(methods) + 5))
        for name, document in found.items():
            print(line(name, document, methods))
        print()
    for document in two.values():
        print("| measured on | " + " | ".join(METHODS[:3] + METHODS[4:]) + " | set: accuracy |")
        print("|" + "---|" * (len(METHODS) + 1))
        for network in dict.fromkeys(row["evaluated_on"] for row in document["rows"]):
            part = {"rows": [row for row in document["rows"] if row["evaluated_on"] == network]}
            made = [row for row in part["rows"] if row["distilled_on"] and row["protocol"] == "probe-v1"]
            sets = ", ".join(f"{row['set']}: {row['accuracy']:.1f}" for row in made)
            print("| " + " | ".join([network, *(cell(part, m) for m in METHODS if m != "sfm"), sets]) + " |")


def line(name: str, document: dict, methods: Sequence[str]) -> str:
    cells = [cell(document, method) for method in methods]
    gaps = [gap(document, other) for other in ("centroids", "class-means")]
    first, _, second = name.partition("-")
    seeds = len(rows_of(document, "sfm")[0]["seeds"]["distill"])
    about = [SETS.get(first, first), NETWORKS.get(second, second), str(seeds)]
    return "| " + " | ".join([*about, *cells, *gaps]) + " |"


def rows_of(document: dict, method: str) -> list[dict]:
    """The rows of a method; what was distilled counts as sfm, whichever variant it is."""
    if method == "sfm":
        return [row for row in document["rows"] if row["distilled_on"]]
    return [row for row in document["rows"] if row["method"] == method]


def cell(document: dict, method: str) -> str:
    """Accuracy under probe-v1 / its std check, with the spread over seeds or draws of the first."""
    rows = rows_of(document, method)
    if not rows:
        return "–"
    draws = rows[0]["seeds"].get("distill", rows[0]["seeds"].get("selection", []))
    spread = f" ± {rows[0]['std']:.1f}" if len(draws) > 1 else ""
    text = f"{rows[0]['accuracy']:.1f}{spread} / {rows[1]['accuracy']:.1f}"
    return f"**{text}**" if method == "sfm" else text


def gap(document: dict, other: str) -> str:
    found = next((d for d in document["differences"] if d["against"] == other and d["protocol"] == "probe-v1"), None)
    if found is None:
        return "–"
    low, high = found["ci95"]
    return f"{found['mean']:+.1f} ({low:+.1f} to {high:+.1f}): {found['verdict']}"


if __name__ == "__main__":
    main()
