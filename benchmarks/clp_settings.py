"""What penalty and temperature are worth to `clp`, and how it does beside its rivals: CIFAR-10, one image a class.

    python benchmarks/clp_settings.py --out runs/clp --seeds 3

A quarter of the *training* images is held out and decides; no test image is looked at. Each setting is distilled on
ResNet-20 with the rest of the `fast` preset from the other three quarters, then probed (`probe-v1`) by the held-out
quarter. First every penalty at every temperature, and the best of them without unit length and with an intercept, with
one seed; then the best two and the rivals with all seeds. Runs resume.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

import attar

TEMPERATURES = (0.03, 0.1, 0.3, 1.0)
PENALTIES = (0.01, 0.1, 1.0, 10.0)
KINDS = {
    "unit length": {"unit_length": True, "intercept": False},
    "unit length, intercept": {"unit_length": True, "intercept": True},
    "raw": {"unit_length": False, "intercept": False},
    "raw, intercept": {"unit_length": False, "intercept": True},
}
RIVALS = {"sfm": {"method": "sfm", "target": "means"}, "dm-mean": {"method": "dm-mean"}}
BEST = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/clp"))
    parser.add_argument("--assets", type=Path, default=Path(os.environ.get("ATTAR_ASSETS", "../shared/assets")))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200, help="half of the preset's")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    found = {pair: accuracy(given, clp(*pair), 0) for pair in itertools.product(PENALTIES, TEMPERATURES)}
    print("\n| ridge \\ temperature | " + " | ".join(f"{temperature:g}" for temperature in TEMPERATURES) + " |")
    print("|" + "---|" * (len(TEMPERATURES) + 1))
    for ridge in PENALTIES:
        cells = [f"{found[ridge, temperature]:.1f}" for temperature in TEMPERATURES]
        print(f"| {ridge:g} | " + " | ".join(cells) + " |")

    best = sorted(found, key=lambda pair: -found[pair])
    print("\n| best of these | " + " | ".join(KINDS) + " |\n|" + "---|" * (len(KINDS) + 1))
    cells = [f"{accuracy(given, clp(*best[0], kind), 0):.1f}" for kind in KINDS]
    print("| accuracy | " + " | ".join(cells) + " |", flush=True)

    compared = {f"clp, ridge {ridge:g}, temperature {temperature:g}": clp(ridge, temperature)
                for ridge, temperature in best[:BEST]}  # fmt: skip
    print("\n| setting | mean | deviation | seeds |\n|---|---|---|---|")
    for name, settings in (compared | RIVALS).items():
        values = [accuracy(given, settings, seed) for seed in range(given.seeds)]
        listed = ", ".join(f"{value:.1f}" for value in values)
        print(f"| {name} | {np.mean(values):.1f} | {np.std(values, ddof=1):.1f} | {listed} |", flush=True)


def clp(ridge: float, temperature: float, kind: str = "unit length") -> dict[str, Any]:
    """Settings of the method."""
    return {"method": "clp", "ridge": ridge, "temperature": temperature, **KINDS[kind]}


def accuracy(given: argparse.Namespace, changes: dict[str, Any], seed: int) -> float:
    """Percent right of the held-out images."""
    changes = changes | {"steps": given.steps}
    name = "-".join(f"{value:g}" if isinstance(value, float) else str(value) for value in changes.values())
    file = given.out / f"{name}-{seed}.json"
    if not file.is_file():
        train, held_out = attar.split(attar.open(given.assets / "data/cifar10/train.npz"), fraction=0.25, seed=0)
        network = attar.backbone("cifar_resnet20", weights=given.assets / "weights/cifar_resnet20.safetensors")
        settings = attar.choose_settings("fast", seed=seed, **changes)
        made = attar.distill(train, network, file.with_suffix(".attar"), settings=settings)
        rows = attar.evaluate([made], test=held_out, train=None, backbone=network, protocols=["probe-v1"]).rows
        result = {"accuracy": rows[0].accuracy, **made.manifest.scores}
        file.write_text(json.dumps(result))
        print(file.stem, json.dumps(result), flush=True)
    return json.loads(file.read_text())["accuracy"]


if __name__ == "__main__":
    main()
