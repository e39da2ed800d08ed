"""How the penalties of `probe-v1` were chosen: accuracy on held-out training images along the whole path.

    python benchmarks/probe_defaults.py [DISTILLED_SET ...]

A quarter of the training images of Imagewoof, Imagenette and CIFAR-10 is held out; probes learn from the rest: random
real images (5 draws), centroids, the true class means, all images, and the distilled sets named (made on Imagewoof with
ViT-Ti, e.g. by benchmarks/ablation.py, whose split this is). No test image is looked at. Prints accuracy in percent
for each penalty, and the penalty with the best mean over the rows that stand for one image a class.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import attar
from attar.features import ClassStatistics, extract
from attar.linear import Scaling, softmax_regression
from attar.selection import centroid_images, random_images
from attar.synthesis.draws import Stream
from attar.synthesis.views import CentreView, RandomViews, ViewPolicy, canvas_side

PENALTIES = [10 ** (-6 + 0.5 * k) for k in range(15)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", type=Path)
    parser.add_argument("--assets", type=Path, default=Path(os.environ.get("ATTAR_ASSETS", "../shared/assets")))
    given = parser.parse_args()
    for data, network, weights in (
        ("imagewoof224/train", "vit_tiny_patch16_224", "vit_tiny_patch16_224"),
        ("imagewoof224/train", "mobilenetv2_100", "mobilenetv2_100"),
        ("imagewoof224/train", "torchvision:squeezenet1_1", "squeezenet1_1"),
        ("imagewoof224/train", "resnet18", "resnet18_simclr_imagenette64"),
        ("imagenette224/train", "resnet18", "resnet18_simclr_imagenette64"),
        ("cifar10/train.npz", "cifar_resnet20", "cifar_resnet20"),
    ):
        backbone = attar.backbone(
            network,
            weights=given.assets / f"weights/{weights}.safetensors",
            image_size=64 if network == "resnet18" else None,
        )
        train, held_out = attar.split(attar.open(given.assets / "data" / data), fraction=0.25, seed=0)
        sets = [attar.load(path) for path in given.sets] if data.startswith("imagewoof") else []
        for transform in ("l2", "std"):
            table(f"{data}, {network}, {transform}", backbone, train, held_out, sets, transform)


def table(title: str, backbone, train, held_out, sets, transform: str) -> None:
    side = canvas_side(backbone.image_size)
    policy = ViewPolicy(side, backbone.image_size, scale=(0.5 if side <= 64 else 0.08, 1.0))
    test = extract(held_out, backbone, CentreView(policy))
    known = test.values[:, 0].double().numpy()
    print(f"\n{title}\n")
    print("| rows | " + " | ".join(f"{penalty:.1g}" for penalty in PENALTIES) + " |")
    print("|---|" + "---|" * len(PENALTIES))
    small = []
    for name, values, labels in rows(backbone, policy, train, sets):
        x, y = values.flatten(0, 1).double().numpy(), labels.repeat_interleave(values.shape[1]).numpy()
        scaling, path = Scaling.fit(transform, x), []
        for penalty in PENALTIES:
            solved = softmax_regression(scaling(x), y, len(train.classes), penalty=penalty)
            path.append(100 * float(np.mean(solved.predict(scaling(known)) == held_out.labels)))
        print(f"| {name} | " + " | ".join(f"{accuracy:.1f}" for accuracy in path) + " |", flush=True)
        if name != "full":
            small.append(path)
    best = int(np.argmax(np.mean(small, axis=0)))
    print(f"\nBest mean without `full`: {PENALTIES[best]:.1g} ({np.mean(small, axis=0)[best]:.1f} %)")


def rows(backbone, policy: ViewPolicy, train, sets) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """(name, features [images, views, dim], labels) of everything a probe learns from here."""
    views = RandomViews(policy, 20, 0, Stream.PROBE, centre_first=True)
    real = extract(train, backbone, CentreView(policy))
    count = len(train.classes)
    chosen = {f"random {seed}": random_images(train.labels, count, 1, seed=seed) for seed in range(5)}
    chosen["centroids"] = centroid_images(real.values[:, 0].numpy(), train.labels, count, 1)
    for name, indices in chosen.items():
        features = extract(train.subset(indices), backbone, views)
        yield name, features.values, features.labels
    for one in sets:
        features = extract(one.source, backbone, views)
        yield one.path.name, features.values, features.labels
    means = ClassStatistics.of(real.values[:, 0], real.labels, count).means.float()
    yield "class means", means[:, None], torch.arange(count)
    yield "full", real.values, real.labels


if __name__ == "__main__":
    main()
