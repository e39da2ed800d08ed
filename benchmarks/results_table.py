"""The tables of docs/results.md, from the JSON files that benchmarks/results.sh left.

python benchmarks/results_table.py OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

METHODS = ("random", "centroids", "kmeans", "sfm", "ncm", "class-means", "full")
SETS = {"woof": "Imagewoof", "nette": "Imagenette", "both": "both, 20 classes", "cifar": "CIFAR-10"}
NETWORKS = {"vit": "ViT-Ti, 224 px", "mobile": "MobileNetV2, 224 px", "simclr": "SimCLR ResNet-18, 64 px"}


def main() -> None:
    files = sorted(Path(sys.argv[1]).glob("*.json"), key=lambda file: file.stem)
    print("| set | backbone or run | sets | " + " | ".join(METHODS) + " | SFM − centroids | SFM − class-means |")
    print("|" + "---|" * (len(METHODS) + 5))
    for file in files:
        document = json.loads(file.read_text())
        print(line(file.stem, document))


def line(name: str, document: dict) -> str:
    cells = [cell(document, method) for method in METHODS]
    gaps = [gap(document, other) for other in ("centroids", "class-means")]
    first, _, second = name.partition("-")
    made = next(row for row in document["rows"] if row["method"] == "sfm")
    seeds = len(made["seeds"]["distill"])
    about = [SETS.get(first, first), NETWORKS.get(second, f"ResNet-20, 32 px, {second}"), str(seeds)]
    return "| " + " | ".join([*about, *cells, *gaps]) + " |"


def cell(document: dict, method: str) -> str:
    """Accuracy under probe-v1 / its std check, with the spread over seeds or draws of the first."""
    rows = [row for row in document["rows"] if row["method"] == method]
    if not rows:
        return "–"
    spread = (
        f" ± {rows[0]['std']:.1f}"
        if len(rows[0]["seeds"].get("distill", rows[0]["seeds"].get("selection", []))) > 1
        else ""
    )
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
