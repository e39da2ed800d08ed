"""What the presets' views and regulariser are worth: Imagewoof, one image a class, ViT-Ti, judged by held-out images.

    python benchmarks/ablation.py --out runs/ablation --seeds 2

A quarter of the *training* images is held out and decides; the validation images are measured beside it and decide
nothing. Each setting is distilled on ViT-Ti with the rest of the `fast` preset and w_mean = 0.3, then probed on ViT-Ti
and MobileNetV2. Runs resume; with `--seed N` one process does one seed, so that two can work side by side.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np

import attar

BASE = {"w_mean": 0.3}  # the presets took 0.1 from what came out
CHANGES = {
    "fast": {},
    "noise of mean 0.5": {"noise": 0.5, "noise_mean": 0.5},
    "zero-mean noise": {"noise": 0.5},
    "no mean regulariser": {"w_mean": 0.0},
    "crops from .3": {"scale_low": 0.3},
}
BACKBONES = ("vit_tiny_patch16_224", "mobilenetv2_100")
PROTOCOLS = ("probe-v1", "probe-v1/std", "lgm-probe/bank64")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--assets", type=Path, default=Path(os.environ.get("ATTAR_ASSETS", "../shared/assets")))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--seed", type=int, help="this seed alone, and no table")
    parser.add_argument("--steps", type=int, help="in place of the preset's")
    given = parser.parse_args()
    seeds = range(given.seeds) if given.seed is None else [given.seed]
    for seed in seeds:
        for name in CHANGES:
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
    networks = {name: attar.backbone(name, weights=given.assets / f"weights/{name}.safetensors") for name in BACKBONES}
    settings = attar.choose_settings("fast", seed=seed, steps=given.steps, **(BASE | CHANGES[name]))
    made = attar.distill(train, networks[BACKBONES[0]], out.with_suffix(".attar"), settings=settings)
    result = {"cosine": made.manifest.scores["cosine"], "seconds": made.manifest.scores["seconds"]}
    for backbone, network in networks.items():
        for part, test in tests.items():
            rows = attar.evaluate([made], test=test, train=None, backbone=network, protocols=PROTOCOLS).rows
            result |= {f"{backbone} | {part} | {row.protocol}": row.accuracy for row in rows}
    out.write_text(json.dumps(result, indent=1))
    print(name, seed, json.dumps(result), flush=True)


def result_file(given: argparse.Namespace, name: str, seed: int) -> Path:
    given.out.mkdir(parents=True, exist_ok=True)
    return given.out / f"{name.replace(' ', '-').replace('.', '')}-{seed}.json"


def table(given: argparse.Namespace) -> None:
    columns = [f"{backbone} | {part} | {protocol}"
               for part in ("held out", "validation") for backbone in BACKBONES for protocol in PROTOCOLS]  # fmt: skip
    print("| setting | cosine | " + " | ".join(column.replace(" | ", ", ") for column in columns) + " |")
    print("|" + "---|" * (len(columns) + 2))
    for name in CHANGES:
        results = [json.loads(result_file(given, name, seed).read_text()) for seed in range(given.seeds)]
        cells = [f"{np.mean([result['cosine'] for result in results]):.3f}"]
        cells += [f"{np.mean([result[column] for result in results]):.1f}" for column in columns]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
