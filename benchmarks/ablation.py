"""What settings are worth: Imagewoof, one image a class, judged by held-out training images.

    python benchmarks/ablation.py --out runs/ablation --seeds 2                        # views, on ViT-Ti
    python benchmarks/ablation.py --out runs/objective --part objective --seeds 2      # the objective's, on SqueezeNet
    python benchmarks/ablation.py --out runs/mobile --part objective --network mobilenetv2_100       # or on another

A quarter of the *training* images is held out and decides; the validation images are measured beside it and decide
nothing. Each setting is distilled with the rest of the `fast` preset (views: and w_mean = 0.3), then probed on the
network itself and on MobileNetV2 (on ViT-Ti where that is the network). Runs resume; with `--seed N` one process does
one seed, so that two can work side by side.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import attar

MOBILE, VIT = "mobilenetv2_100", "vit_tiny_patch16_224"


@dataclass(frozen=True)
class Part:
    """A network to distil on, settings that all rows have, and what each row changes."""

    network: str
    base: dict
    changes: dict[str, dict]


PARTS = {
    "views": Part(
        "vit_tiny_patch16_224",
        {"w_mean": 0.3, "target": "means"},  # the presets took 0.1 from what came out
        {
            "fast": {},
            "noise of mean 0.5": {"noise": 0.5, "noise_mean": 0.5},
            "zero-mean noise": {"noise": 0.5},
            "no mean regulariser": {"w_mean": 0.0},
            "crops from .3": {"scale_low": 0.3},
        },
    ),
    "objective": Part(
        "torchvision:squeezenet1_1",
        {"target": "means"},
        {
            "class means": {},
            "w_mean 0": {"w_mean": 0.0},
            "w_mean 1": {"w_mean": 1.0},
            "w_scale 0.1": {"w_scale": 0.1},
            "whitened, 0.5": {"whiten": 0.5},
            "learned": {"target": "learned"},
            "probe-inverse": {"target": "probe-inverse"},
            "crops from .3": {"scale_low": 0.3},
        },
    ),
}
PROTOCOLS = ("probe-v1", "probe-v1/std", "lgm-probe/bank64")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--part", choices=PARTS, default="views")
    parser.add_argument("--rows", nargs="*", help="some of its rows")
    parser.add_argument("--network", help="to distil on, in place of the part's")
    parser.add_argument("--assets", type=Path, default=Path(os.environ.get("ATTAR_ASSETS", "../shared/assets")))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--seed", type=int, help="this seed alone, and no table")
    parser.add_argument("--steps", type=int, help="in place of the preset's")
    given = parser.parse_args()
    seeds = range(given.seeds) if given.seed is None else [given.seed]
    for seed in seeds:
        for name in given.rows or PARTS[given.part].changes:
            one_run(given, name, seed)
    if given.seed is None:
        table(given)


def one_run(given: argparse.Namespace, name: str, seed: int) -> None:
    out = result_file(given, name, seed)
    if out.is_file():
        return
    images = attar.open(given.assets / "data/imagewoof224/train")
    train, held_out = attar.split(images, fraction=0.25, seed=0)
    tests = {"held out": held_out, "validation": attar.open(given.assets / "data/imagewoof224/val")}
    part, names = PARTS[given.part], judges(given)
    networks = {each: attar.backbone(each, weights=weights(given, each)) for each in names}
    settings = attar.choose_settings("fast", seed=seed, steps=given.steps, **(part.base | part.changes[name]))
    made = attar.distill(train, networks[names[0]], out.with_suffix(".attar"), settings=settings)
    result = {"cosine": made.manifest.scores["cosine"], "seconds": made.manifest.scores["seconds"]}
    for backbone, network in networks.items():
        for judge, test in tests.items():
            rows = attar.evaluate([made], test=test, train=None, backbone=network, protocols=PROTOCOLS).rows
            result |= {f"{backbone} | {judge} | {row.protocol}": row.accuracy for row in rows}
    out.write_text(json.dumps(result, indent=1))
    print(name, seed, json.dumps(result), flush=True)


def judges(given: argparse.Namespace) -> tuple[str, str]:
    """The network that is distilled on, and another."""
    network = given.network or PARTS[given.part].network
    return network, VIT if network == MOBILE else MOBILE


def weights(given: argparse.Namespace, network: str) -> Path:
    return given.assets / f"weights/{network.removeprefix('torchvision:')}.safetensors"


def result_file(given: argparse.Namespace, name: str, seed: int) -> Path:
    given.out.mkdir(parents=True, exist_ok=True)
    return given.out / f"{name.replace(' ', '-').replace('.', '').replace(',', '')}-{seed}.json"


def table(given: argparse.Namespace) -> None:
    columns = [f"{backbone} | {judge} | {protocol}"
               for judge in ("held out", "validation") for backbone in judges(given)
               for protocol in PROTOCOLS]  # fmt: skip
    print("| setting | cosine | " + " | ".join(column.replace(" | ", ", ") for column in columns) + " |")
    print("|" + "---|" * (len(columns) + 2))
    for name in given.rows or PARTS[given.part].changes:
        results = [json.loads(result_file(given, name, seed).read_text()) for seed in range(given.seeds)]
        cells = [f"{np.mean([result['cosine'] for result in results]):.3f}"]
        cells += [f"{np.mean([result[column] for result in results]):.1f}" for column in columns]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
