"""`attar predict` beside bare decoding and bare forwards: photos a second, decoding on both sides.

    python benchmarks/predict.py     # ViT-S/16, 224 px, 1000 JPEGs of 500 x 375, fp32, random weights

The bare side makes the same decode calls in the same threads, then the same forwards, one after the other; nothing is
classified or written. attar's side finds the photos, decodes while the backbone works, and writes a line a photo to a
CSV file; the classifier is made beforehand (random weights cost what others do). Both alternate in one process; the
ratio of speeds is of the medians.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import numpy as np

import attar
from attar.evaluation.classifier import Classifier
from attar.evaluation.predict import as_lines, write_lines
from attar.linear import ConvergedProbe, LinearClassifier, Scaling
from bars import Bar, arguments, report
from statistics_pass import bare, seconds, write_photos


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--backbone", default="vit_small_patch16_224")
    parser.add_argument("--images", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    count = given.images or (128 if given.quick else 1000)
    backbone = attar.backbone(given.backbone, weights="random")
    made = classifier(backbone)
    times: dict[str, list[float]] = {"bare": [], "predict": []}
    with tempfile.TemporaryDirectory() as folder:
        photos, out = Path(folder) / "photos", Path(folder) / "predictions.csv"
        write_photos(photos, count)
        for _ in range(given.rounds):
            times["bare"].append(seconds(lambda: bare(attar.open(photos), backbone)))
            times["predict"].append(seconds(lambda: write_lines(out, as_lines(attar.predict(made, photos)))))
    middle = {name: statistics.median(values) for name, values in times.items()}
    detail = (
        f"{given.backbone}, {count} JPEGs of 500 x 375, medians of {given.rounds}: {count / middle['predict']:.1f} "
        f"photos/s, decode and forwards {count / middle['bare']:.1f}"
    )
    report([Bar("predict", middle["bare"] / middle["predict"], 0.9, "x", detail, ">=")], given.json)


def classifier(backbone: attar.Backbone) -> Classifier:
    """One of ten classes with a random head."""
    classes = tuple(f"class-{number}" for number in range(10))
    weights = np.random.default_rng(0).normal(size=(len(classes), backbone.dim))
    probe = ConvergedProbe(Scaling("l2"), LinearClassifier(weights, np.zeros(len(classes))))
    return Classifier(backbone, probe, classes=classes, titles=classes, protocol="full")


if __name__ == "__main__":
    main()
