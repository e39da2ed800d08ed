"""What a threshold of `attar predict --unknown` parts: dogs from other things, with heads and without.

    python benchmarks/unknown.py SET [--json FILE]      # a set of Imagewoof, distilled on ViT-Ti

For ViT-Ti and MobileNetV2: the probe on the distilled images, and the heads that `attar inherit` makes (in a copy of
the set). Dogs are the validation images of Imagewoof, other things those of Imagenette. Prints the share of dogs that
are right, of dogs called unknown, and of other things called unknown, in percent.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

import torch

import attar
from attar.features import read_squares
from attar.synthesis.views import canvas_side, centre_crop

THRESHOLDS = (0.25, 0.5, 0.75)
NETWORKS = ("vit_tiny_patch16_224", "mobilenetv2_100")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--assets", type=Path, default=Path(os.environ.get("ATTAR_ASSETS", "../shared/assets")))
    parser.add_argument("--limit", type=int, help="images of a class")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    networks = [attar.backbone(name, weights=given.assets / f"weights/{name}.safetensors") for name in NETWORKS]
    train = attar.open(given.assets / "data/imagewoof224/train")
    dogs, others = (attar.open(given.assets / f"data/{name}/val", limit=given.limit)
                    for name in ("imagewoof224", "imagenette224"))  # fmt: skip
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        made = attar.load(shutil.copytree(given.set, Path(folder) / given.set.name))
        made = attar.inherit(made, train=train, backbones=networks)
        for network in networks:
            for protocol in ("probe-v1", None):
                classifier = attar.classifier(made, network, protocol=protocol)
                known, strange = (probabilities(classifier, source) for source in (dogs, others))
                sure, answers = known.max(1)
                right = (answers.numpy() == dogs.labels).mean()
                unknown = [
                    (float((sure < each).float().mean()), float((strange.max(1).values < each).float().mean()))
                    for each in THRESHOLDS
                ]
                rows.append({"backbone": network.name, "protocol": classifier.protocol, "right": float(right)})
                rows[-1] |= {str(each): shares for each, shares in zip(THRESHOLDS, unknown, strict=True)}
    print(
        "| backbone | classifier | dogs right | "
        + " | ".join(f"below {each}: dogs, others" for each in THRESHOLDS)
        + " |"
    )
    print("|---|---|---|" + "---|" * len(THRESHOLDS))
    for row in rows:
        shares = " | ".join(f"{100 * row[str(each)][0]:.0f}, {100 * row[str(each)][1]:.0f}" for each in THRESHOLDS)
        print(f"| {row['backbone']} | {row['protocol']} | {100 * row['right']:.1f} | {shares} |")
    if given.json is not None:
        given.json.write_text(json.dumps({"rows": rows}, indent=1))


@torch.inference_mode()
def probabilities(classifier, source) -> torch.Tensor:
    """Of each image, cut as `attar predict` cuts it."""
    squares = torch.from_numpy(read_squares(source, canvas_side(classifier.image_size), range(len(source))))
    parts = (centre_crop(part.float() / 255, classifier.image_size) for part in squares.split(64))
    return torch.cat([classifier(part).softmax(1).cpu() for part in parts])


if __name__ == "__main__":
    main()
