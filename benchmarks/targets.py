"""What targets beyond class means are worth: in feature space, and once images have to follow them.

    python benchmarks/targets.py --case cifar --out runs/targets --seeds 3 [--only learned --only spread]

A quarter of the *training* images is held out and decides; the validation images are measured beside it. Each change is
the `fast` preset's run with those settings on the case's first network. `vectors` is probe-v1 trained on the target
itself, one row an image; then come the images, on the same network and on the other. Runs resume.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import attar
from attar.features import RealFeatures, extract
from attar.files import write_text
from attar.images.source import ImageSource
from attar.linear import converged_probe
from attar.linear.probe import PENALTY, TRANSFORM
from attar.synthesis.objectives import StatisticalFlowMatching, SubCentreFlowMatching, find_objective
from attar.synthesis.real import real_features, view_policy
from attar.synthesis.settings import Settings
from attar.synthesis.views import CentreView, canvas_side, may_mirror, probe_policy

MEANS = {"target": "means"}
CHANGES: dict[str, dict[str, Any]] = {
    "class means": MEANS,
    "learned": {"target": "learned"},
    "probe-inverse": {"target": "probe-inverse"},
    "whiten .5": MEANS | {"whiten": 0.5},
    "whiten .9": MEANS | {"whiten": 0.9},
    "per class": MEANS | {"per_class": True},
    "empirical prior": MEANS | {"prior": "empirical"},
    "ipc 10: class means": MEANS | {"ipc": 10},
    "ipc 10: spread .01": MEANS | {"ipc": 10, "spread": 0.01},
    "ipc 10: spread .1": MEANS | {"ipc": 10, "spread": 0.1},
    "ipc 10: clusters": {"ipc": 10, "method": "sfm-sub"},
    "ipc 10: learned": {"ipc": 10, "method": "sfm-sub", "target": "learned"},
}
RIVALS = ("random", "centroids", "kmeans", "class-means", "sub-centres", "full")


@dataclass(frozen=True)
class Case:
    """Data in the assets, and networks as (name, weights, side); sets are distilled on the first."""

    train: str
    test: str
    networks: tuple[tuple[str, str, int | None], ...]


_SIMCLR = ("resnet18", "resnet18_simclr_imagenette64", 64)
_SQUEEZE = ("torchvision:squeezenet1_1", "squeezenet1_1", None)
CASES = {
    "cifar": Case(
        "cifar10/train.npz",
        "cifar10/test.npz",
        (("cifar_resnet20", "cifar_resnet20", None), ("cifar_resnet56", "cifar_resnet56", None)),
    ),
    "nette-simclr": Case("imagenette224/train", "imagenette224/val", (_SIMCLR, _SQUEEZE)),
    "woof-simclr": Case("imagewoof224/train", "imagewoof224/val", (_SIMCLR, _SQUEEZE)),
    "nette-squeeze": Case("imagenette224/train", "imagenette224/val", (_SQUEEZE, _SIMCLR)),
    "woof-squeeze": Case("imagewoof224/train", "imagewoof224/val", (_SQUEEZE, _SIMCLR)),
}


class Bench:
    """The images of a case, the part held out and the part distilled, and its networks."""

    def __init__(self, case: Case, assets: Path):
        self.train, held_out = attar.split(attar.open(assets / "data" / case.train), fraction=0.25, seed=0)
        self.tests = {"held out": held_out, "validation": attar.open(assets / "data" / case.test)}
        self.networks = [
            attar.backbone(name, weights=assets / f"weights/{weights}.safetensors", image_size=side)
            for name, weights, side in case.networks
        ]

    def rivals(self, ipc: int, made: attar.DistilledSet) -> dict[str, dict[str, float]]:
        """Accuracy by rival and column."""
        table: dict[str, dict[str, float]] = {}
        for part, test in self.tests.items():
            rows = attar.evaluate(
                [made], test=test, train=self.train, backbone=self.networks, protocols=["probe-v1"]
            ).rows
            for row in rows:
                if row.method in RIVALS:
                    table.setdefault(f"ipc {ipc}: {row.method}", {})[f"{row.evaluated_on}, {part}"] = row.accuracy
        return table

    def images(self, made: attar.DistilledSet) -> dict[str, float]:
        """Accuracy of a distilled set by column."""
        return {
            f"{row.evaluated_on}, {part}": row.accuracy
            for part, test in self.tests.items()
            for row in attar.evaluate(
                [made], test=test, train=None, backbone=self.networks, protocols=["probe-v1"]
            ).rows
        }

    def vectors(self, settings: Settings) -> dict[str, float]:
        """Accuracy of the probe on the target itself, by network and part."""
        figures = {}
        for network in self.networks:
            policy = view_policy(settings, self.train, network.image_size)
            real = real_features(self.train, network, settings, policy)
            target, classes = target_of(real, settings), real.classes
            labels = torch.arange(classes).repeat_interleave(len(target) // classes)
            probe = converged_probe(target[:, None].float(), labels, classes, transform=TRANSFORM, penalty=PENALTY)
            for part, test in self.tests.items():
                right = probe.predict(centres(test, network).numpy()) == test.labels
                figures[f"{network.name}, {part}"] = 100 * float(right.mean())
        return figures


def target_of(real: RealFeatures, settings: Settings) -> torch.Tensor:
    """What the images' features should be: [images, dim], class by class."""
    objective = find_objective(settings.method).build(real, settings.options, ipc=settings.ipc, seed=settings.seed)
    if isinstance(objective, SubCentreFlowMatching):
        return objective.centres.flatten(0, 1)
    assert isinstance(objective, StatisticalFlowMatching)
    return objective.real


def centres(source: ImageSource, network: attar.Backbone) -> torch.Tensor:
    """Features of the centre crops, as `evaluate` takes them."""
    flip = may_mirror(source, canvas_side(network.image_size))
    return extract(source, network, CentreView(probe_policy(network.image_size, flip=flip))).values[:, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, default="cifar")
    parser.add_argument("--out", type=Path, default=Path("runs/targets"))
    parser.add_argument("--assets", type=Path, default=Path(os.environ.get("ATTAR_ASSETS", "../shared/assets")))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--only", choices=CHANGES, action="append", help="this change; may be given several times")
    parser.add_argument("--rivals", action="store_true", help="real images and full data as well")
    given = parser.parse_args()
    bench = Bench(CASES[given.case], given.assets)
    results: dict[str, Mapping[str, Any]] = {}
    for name in given.only or CHANGES:
        results[name] = measured(bench, given, name)
        print(name, json.dumps(results[name]), flush=True)
    if given.rivals:
        for ipc in sorted({CHANGES[name].get("ipc", 1) for name in results}):
            name = next(name for name in results if CHANGES[name].get("ipc", 1) == ipc)
            for rival, figures in bench.rivals(ipc, attar.load(place(given, name, 0))).items():
                results[rival] = {"vectors": figures, "images": []}
    table(results)


def measured(bench: Bench, given: argparse.Namespace, name: str) -> dict[str, Any]:
    """What the runs of a change came to: the target itself, and the images of each seed."""
    found: dict[str, Any] = {"images": []}
    for seed in range(given.seeds):
        settings = attar.choose_settings(given.preset, seed=seed, **CHANGES[name])
        found.setdefault("vectors", bench.vectors(settings))
        file = place(given, name, seed).with_suffix(".json")
        if not file.is_file():
            made = attar.distill(bench.train, bench.networks[0], place(given, name, seed), settings=settings)
            write_text(file, json.dumps(bench.images(made) | {"cosine": made.manifest.scores["cosine"]}) + "\n")
        found["images"].append(json.loads(file.read_text()))
    return found


def place(given: argparse.Namespace, name: str, seed: int) -> Path:
    folder = given.out / given.case
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name.replace(' ', '-').replace('.', '').replace(':', '')}-{seed}.attar"


def table(results: Mapping[str, Mapping[str, Any]]) -> None:
    """Vectors (or the rival itself), then the mean and deviation over seeds of the images."""
    columns = list(next(iter(results.values()))["vectors"])
    print("| target | " + " | ".join(f"vectors, {each}" for each in columns), end=" | ")
    print(" | ".join(f"images, {each}" for each in columns) + " |\n|" + "---|" * (2 * len(columns) + 1))
    for name, found in results.items():
        cells = [f"{found['vectors'].get(column, float('nan')):.1f}" for column in columns]
        for column in columns:
            values = [run[column] for run in found["images"]]
            cells.append(f"{np.mean(values):.1f} ± {np.std(values, ddof=len(values) > 1):.1f}" if values else "")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
