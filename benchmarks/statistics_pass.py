"""P3: the one pass over the real images beside bare decoding and bare forwards; and the same pass from the cache.

    python benchmarks/statistics_pass.py     # ViT-S/16, 224 px, JPEGs of 500 x 375, fp32, random weights

The bare side makes the same decode calls in the same threads, then the same forwards, one after the other; nothing is
hashed, cached or checked. attar's side begins with an empty cache each time, and reads the images, hashes their
pixels, cuts centre views, runs the backbone, writes the cache and merges the statistics. Both alternate in one process;
the ratio is of the medians. (The file isn't called statistics.py because Python's own module of that name would be
hidden from everything in this folder.)
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import attar
from attar.features.extract import square
from attar.synthesis.views import canvas_side
from bars import Bar, arguments, report

BATCH = 64


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--backbone", default="vit_small_patch16_224")
    parser.add_argument("--images", type=int)
    parser.add_argument("--rounds", type=int)
    given = parser.parse_args()
    count, rounds = given.images or (128 if given.quick else 512), given.rounds or 3
    backbone = attar.backbone(given.backbone, weights="random")
    settings = attar.choose_settings("paper", normalise="native")  # centre views of the real images
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder) / "photos", count)
        os.environ["ATTAR_CACHE"] = str(Path(folder) / "cache")
        times: dict[str, list[float]] = {"bare": [], "pass": [], "cached": []}
        for _ in range(rounds):
            times["bare"].append(seconds(lambda: bare(attar.open(Path(folder) / "photos"), backbone)))
            shutil.rmtree(os.environ["ATTAR_CACHE"], ignore_errors=True)
            for name in ("pass", "cached"):
                source = attar.open(Path(folder) / "photos")
                times[name].append(seconds(lambda s=source: attar.class_statistics(s, backbone, settings=settings)))
    middle = {name: statistics.median(values) for name, values in times.items()}
    detail = f"{given.backbone}, {count} JPEGs of 500 x 375, medians of {rounds}: "
    bars = [
        Bar("P3", middle["pass"] / middle["bare"], 1.05, "x",
            detail + f"{middle['pass']:.1f} s, decode and forwards {middle['bare']:.1f} s"),
        Bar("P3 cached", middle["cached"] / middle["bare"], 0.02, "x", detail + f"{middle['cached']:.2f} s"),
    ]  # fmt: skip
    report(bars, given.json)


def write_photos(folder: Path, count: int) -> None:
    """Smooth noise in two classes, about as large as a photo's JPEG."""
    random = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(random.integers(0, 256, (47, 63, 3), dtype=np.uint8))
        file = folder / ("ant", "bee")[number % 2] / f"{number:05d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        small.resize((500, 375), Image.Resampling.BICUBIC).save(file, quality=85)


@torch.inference_mode()
def bare(source: attar.ImageSource, backbone: attar.Backbone) -> None:
    """Decode everything, then send everything through the backbone."""
    side, crop = canvas_side(backbone.image_size), backbone.image_size
    edge = round((side - crop) / 2)
    images = [square(image, side) for _, image in source.read(range(len(source)), shorter_side=side)]
    for start in range(0, len(images), BATCH):
        views = torch.from_numpy(np.stack(images[start : start + BATCH])).float() / 255
        backbone(views[:, :, edge : edge + crop, edge : edge + crop])


def seconds(work) -> float:
    """Wall seconds of `work`."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
