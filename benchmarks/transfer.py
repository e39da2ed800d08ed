"""What makes images that were distilled on one network work on networks of other families that took no part.

    python benchmarks/transfer.py --out runs/transfer            # Imagewoof, one image a class, `fast`, one seed
    python benchmarks/transfer.py --out runs/transfer --table    # the table of what is there

Each row distils on SqueezeNet, the cheapest network here (two rows on MobileNetV2 besides), with one setting changed,
and is measured on ViT-Ti and MobileNetV2: by a probe on the images, and by the classifier of all images that is carried
over through them. Differences are to the centroids, real images nearest to their class mean. Runs resume.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import attar

SQUEEZE, MOBILE, VIT = "torchvision:squeezenet1_1", "mobilenetv2_100", "vit_tiny_patch16_224"
MEANS = {"target": "means"}
ROWS: dict[str, tuple[tuple[str, ...], dict]] = {
    "sfm": ((SQUEEZE,), MEANS),
    "sfm-learned": ((SQUEEZE,), {"target": "learned"}),
    "clp": ((SQUEEZE,), {"method": "clp"}),
    "sfm-pixels": ((SQUEEZE,), MEANS | {"canvas": "pixels"}),
    "sfm-smooth": ((SQUEEZE,), MEANS | {"smooth": 10.0}),
    "sfm-start-32": ((SQUEEZE,), MEANS | {"start_side": 32}),
    "sfm-plain-colours": ((SQUEEZE,), MEANS | {"decorrelate": False}),
    "sfm-large-crops": ((SQUEEZE,), MEANS | {"scale_low": 0.3}),
    "lgm": ((SQUEEZE,), {"method": "lgm"}),
    "sfm-two-networks": ((SQUEEZE, MOBILE), MEANS),
    "lgm-two-networks": ((SQUEEZE, MOBILE), {"method": "lgm"}),
    "sfm-4-views": ((SQUEEZE,), MEANS | {"views": 4}),
    "sfm-1600-steps": ((SQUEEZE,), MEANS | {"steps": 1600, "grow_every": 80}),
    "lgm-4-views": ((SQUEEZE,), {"method": "lgm", "views": 4}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--assets", type=Path, default=Path(os.environ.get("ATTAR_ASSETS", "../shared/assets")))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", nargs="*", default=list(ROWS))
    parser.add_argument("--table", action="store_true", help="distil nothing")
    given = parser.parse_args()
    train = attar.open(given.assets / "data/imagewoof224/train")
    networks = {
        name: attar.backbone(name, weights=given.assets / f"weights/{name.removeprefix('torchvision:')}.safetensors")
        for name in (SQUEEZE, MOBILE, VIT)
    }
    if not given.table:
        for name in given.rows:
            sources, changes = ROWS[name]
            for seed in range(given.seeds):
                settings = attar.choose_settings("fast", seed=3407 + seed, **changes)
                made = attar.distill(
                    train, [networks[each] for each in sources], given.out / f"{name}-{seed}", settings=settings
                )
                print(f"{made.path.name}: {made.manifest.scores['seconds']:.0f} s", flush=True)
    table(given, train, networks)


def table(given: argparse.Namespace, train: attar.ImageSource, networks: dict[str, attar.Backbone]) -> None:
    names = {f"{name}-{seed}": name for name in given.rows for seed in range(given.seeds)}
    there = [name for name in names if (given.out / name / "attar.json").is_file()]
    test = attar.open(given.assets / "data/imagewoof224/val")
    result = attar.evaluate(
        [attar.load(given.out / name) for name in there],
        test=test,
        train=train,
        backbone=list(networks.values()),
        protocols=("probe-v1", "inherit-ridge-v1"),
    )
    differences = {
        (id(row), other.method): gap for row, other, gap in result.differences() if other.teacher == row.teacher
    }
    columns = [(network, protocol) for protocol in ("probe-v1", "inherit-ridge-v1") for network in networks]
    print("| images | " + " | ".join(f"{network}, {protocol}" for network, protocol in columns) + " |")
    print("|---|" + "---|" * len(columns))
    lines: dict[str, dict[tuple[str, str], list[str]]] = {}
    for row in result.rows:
        gap = differences.get((id(row), "centroids"))
        beside = "" if gap is None else f" ({gap.mean:+.1f}: {gap.verdict})"
        teacher = f"{row.teacher}: " if row.teacher and not row.distilled_on else ""
        cells = lines.setdefault(row.set if row.distilled_on else row.method, {})
        cells.setdefault((row.evaluated_on, row.table), []).append(f"{teacher}{row.accuracy:.1f}{beside}")
    for name, cells in lines.items():
        print(f"| {name} | " + " | ".join("; ".join(cells.get(column, ["–"])) for column in columns) + " |")


if __name__ == "__main__":
    main()
