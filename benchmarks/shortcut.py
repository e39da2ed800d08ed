"""Does distillation amplify shortcuts? Imagenette with a planted marker that is true on 95 % of training images.

    python benchmarks/shortcut.py --out runs/shortcut --picture marked.png

A square in the upper left corner has the colour of the image's class, on one image in twenty that of another class.
Each validation image is shown twice, with its own class's colour ("aligned") and with another's ("conflicting"), so
that both accuracies are of the same photographs. Who relies on the marker loses from the first to the second.

Distilled with the preset `fast`, with class centres over all images (`sfm`) and with centres in which aligned and
conflicting images count the same (`sfm, balanced`), and judged by `probe-v1` on the backbone it was distilled on.
`unmarked` is the probe on all training images before they were marked: what the marker does to a probe that never
learned it. Random crops and mirroring move the marker out of its corner, and whoever learns from views relies on it
less: "views" are the references that learn from random views too, as distilled images and real ones are shown. The
worst of the 20 groups is taken in each seed or draw, then averaged.

The square is 64 of 224 pixels wide: on the default backbone the probe on all images then loses 16 points, where
squares of 32 and 48 pixels cost it 6 and 9. That network was trained with colour jitter, which may be why it takes so
large a marker.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

import attar
from attar.backbones.record import Backbone
from attar.devices import hardware
from attar.distilled import encode_png, preview
from attar.evaluation.group_scores import GroupTable, group_table
from attar.evaluation.protocols import protocol
from attar.features import ClassStatistics, extract, read_squares
from attar.features.groups import balanced_means, group_statistics
from attar.files import write_bytes, write_text
from attar.images import ArraySource
from attar.images.source import ImageSource
from attar.linear import converged_probe
from attar.selection import centroid_images, random_images
from attar.synthesis.draws import Stream
from attar.synthesis.views import CentreView, RandomViews, ViewPolicy, canvas_side, smallest_crop

SIDE, MARKER = 224, 64  # pixels
WRONG = 0.05  # share of each class's training images with another class's colour
GROUPS = ("aligned", "conflicting")
COLOURS = np.array(
    [
        (230, 25, 75),
        (60, 180, 75),
        (255, 225, 25),
        (0, 130, 200),
        (245, 130, 48),
        (145, 30, 180),
        (70, 240, 240),
        (240, 50, 230),
        (255, 255, 255),
        (0, 0, 0),
    ],
    dtype=np.uint8,
)
BACKBONES = {
    "simclr": ("resnet18", "resnet18_simclr_imagenette64", 64),
    "vit": ("vit_tiny_patch16_224", "vit_tiny_patch16_224", None),
    "mobile": ("mobilenetv2_100", "mobilenetv2_100", None),
}
DRAWS = 5
REAL_VIEWS = 4  # of each training image, for the references that learn from views
COLUMNS = ("average", "worst", "aligned", "conflicting")


@dataclass(frozen=True)
class Shown:
    """What a probe learns from: features of images' views, and the images' labels."""

    features: torch.Tensor
    labels: torch.Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/shortcut"), help="where distilled sets go; runs resume")
    parser.add_argument("--assets", type=Path, default=Path(os.environ.get("ATTAR_ASSETS", "../shared/assets")))
    parser.add_argument("--backbone", choices=BACKBONES, default="simclr")
    parser.add_argument("--seeds", type=int, default=3, help="of each distillation")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--picture", type=Path, help="write some marked training images to this PNG file")
    given = parser.parse_args()
    plain = attar.open(given.assets / "data/imagenette224/train")
    train, test = marked_train(plain), marked_test(attar.open(given.assets / "data/imagenette224/val"))
    if given.picture:
        write_picture(given.picture, train)
    name, weights, side = BACKBONES[given.backbone]
    backbone = attar.backbone(name, weights=given.assets / f"weights/{weights}.safetensors", image_size=side)
    bench = ShortcutBench(backbone, train, test)
    tables = {}
    print("| learned from | " + " | ".join(COLUMNS) + " | reliance |\n|" + "---|" * (len(COLUMNS) + 2))
    for row, shown in bench.references(plain):
        tables[row] = bench.judge(shown)
        print(line(row, tables[row]), flush=True)
    for row, balanced in (("sfm", False), ("sfm, balanced", True)):
        sets = [
            distilled(given.out / f"{given.backbone}-{'balanced' if balanced else 'sfm'}-{seed}", bench, seed, balanced)
            for seed in range(given.seeds)
        ]
        tables[row] = bench.judge([bench.views_of(one.source) for one in sets])
        print(line(row, tables[row]), flush=True)
    if given.json:
        about = {"backbone": given.backbone, "seeds": given.seeds, "marker": MARKER, "hardware": hardware()}
        rows = {row: asdict(table) | {"reliance": table.reliance} for row, table in tables.items()}
        write_text(given.json, json.dumps(about | {"rows": rows}, indent=1) + "\n")


class ShortcutBench:
    """Features of the marked images on one backbone, and the probes that are trained and tested on them."""

    def __init__(self, backbone: Backbone, train: ImageSource, test: ImageSource):
        side = canvas_side(backbone.image_size)
        self.backbone, self.train, self.test = backbone, train, test
        self.policy = ViewPolicy(side, backbone.image_size, scale=(smallest_crop(side), 1.0))
        self.classes = len(train.classes)
        self.test_features = self.centres_of(test).features[:, 0].numpy()
        cells = train.labels * len(GROUPS) + train.groups
        self.train_counts = np.bincount(cells, minlength=self.classes * len(GROUPS)).reshape(self.classes, -1)

    def centres_of(self, source: ImageSource) -> Shown:
        """One view an image: its centre crop."""
        features = extract(source, self.backbone, CentreView(self.policy))
        return Shown(features.values, features.labels)

    def views_of(self, source: ImageSource, seed: int = 0) -> Shown:
        """The views that `probe-v1` sees of few images."""
        cut = RandomViews(self.policy, protocol("probe-v1").views, seed, Stream.PROBE, centre_first=True)
        features = extract(source, self.backbone, cut)
        return Shown(features.values, features.labels)

    def references(self, plain: ImageSource) -> Iterator[tuple[str, list[Shown]]]:
        """(name, one or several things to learn from): what a distilled set must be compared with."""
        draws = [random_images(self.train.labels, self.classes, 1, seed=seed) for seed in range(DRAWS)]
        yield "random", [self.views_of(self.train.subset(draw), seed) for seed, draw in enumerate(draws)]
        real = self.centres_of(self.train)
        centres, labels = real.features[:, 0], real.labels
        nearest = centroid_images(centres.numpy(), labels.numpy(), self.classes, 1)
        yield "centroids", [self.views_of(self.train.subset(nearest))]
        yield "class means", [self._class_means(real)]
        cells = group_statistics(centres, labels, torch.from_numpy(self.train.groups), self.classes, len(GROUPS))
        yield "class means, balanced", [self._one_a_class(balanced_means(cells, len(GROUPS)))]
        views = self._random_views_of(self.train)
        yield "class means, views", [self._class_means(views)]
        yield "full", [real]
        yield "full, views", [views]
        yield "full, unmarked", [self.centres_of(plain)]

    def judge(self, learned_from: list[Shown]) -> GroupTable:
        """Accuracies by group of a probe on each."""
        correct = np.stack([self._correct(shown) for shown in learned_from])
        return group_table(correct.astype(np.float64), self.test.labels, self.test.groups, self.train_counts)

    def _correct(self, shown: Shown) -> np.ndarray:
        chosen = protocol("probe-v1")
        probe = converged_probe(
            shown.features, shown.labels, self.classes, transform=chosen.transform, penalty=chosen.penalty
        )
        return probe.predict(self.test_features) == self.test.labels

    def _random_views_of(self, source: ImageSource) -> Shown:
        features = extract(source, self.backbone, RandomViews(self.policy, REAL_VIEWS, 0, Stream.PROBE))
        return Shown(features.values, features.labels)

    def _class_means(self, shown: Shown) -> Shown:
        rows, labels = shown.features.flatten(0, 1), shown.labels.repeat_interleave(shown.features.shape[1])
        return self._one_a_class(ClassStatistics.of(rows, labels, self.classes).means)

    def _one_a_class(self, means: torch.Tensor) -> Shown:
        return Shown(means.float()[:, None], torch.arange(self.classes))


def distilled(out: Path, bench: ShortcutBench, seed: int, balanced: bool) -> attar.DistilledSet:
    settings = attar.choose_settings("fast", seed=seed, group_balanced=balanced, target="means")
    return attar.distill(bench.train, bench.backbone, out.with_suffix(".attar"), settings=settings)


def marked_train(plain: ImageSource) -> ArraySource:
    """All training images, marked: in each class `WRONG` of them with the colour of another class."""
    random = np.random.default_rng(0)
    colours = plain.labels.copy()
    for label in range(len(plain.classes)):
        members = np.flatnonzero(plain.labels == label)
        liars = random.choice(members, round(WRONG * len(members)), replace=False)
        colours[liars] = others(random, plain.labels[liars])
    return marked(pixels(plain), plain.labels, colours, plain)


def marked_test(plain: ImageSource) -> ArraySource:
    """Each image with its own colour, and once more with that of another class."""
    wrong = others(np.random.default_rng(1), plain.labels)
    images, labels = np.tile(pixels(plain), (2, 1, 1, 1)), np.tile(plain.labels, 2)
    return marked(images, labels, np.concatenate([plain.labels, wrong]), plain)


def others(random: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """For each label another one, all equally likely."""
    count = len(COLOURS)
    return (labels + random.integers(1, count, len(labels))) % count


def pixels(source: ImageSource) -> np.ndarray:
    return read_squares(source, SIDE, range(len(source)))


def marked(images: np.ndarray, labels: np.ndarray, colours: np.ndarray, like: ImageSource) -> ArraySource:
    """Images [n, 3, side, side] with a square of colour `colours[i]`; groups say whether it is the class's own."""
    images = images.copy()
    images[:, :, :MARKER, :MARKER] = COLOURS[colours][:, :, None, None]
    source = ArraySource(images, labels, like.classes, location="marked Imagenette")
    source.titles = like.titles
    source.groups, source.group_names = (colours != labels).astype(np.int64), GROUPS
    return source


def write_picture(file: Path, train: ArraySource) -> None:
    """Three images of each class; the third has another class's colour."""
    chosen = [
        index
        for label in range(len(train.classes))
        for group, count in ((0, 2), (1, 1))
        for index in np.flatnonzero((train.labels == label) & (train.groups == group))[:count]
    ]
    images = np.stack([image for _, image in train.read(chosen)])
    write_bytes(file, encode_png(preview(images, train.labels[chosen].tolist(), train.titles, tile=96)))


def line(row: str, table: GroupTable) -> str:
    """Percent, with the deviation over seeds or draws where there are several."""
    cells = []
    for column in COLUMNS:
        found = getattr(table, column)
        cells.append(f"{found.accuracy:.1f}" + (f" ± {found.std:.1f}" if found.ci95 else ""))
    return f"| {row} | " + " | ".join(cells) + f" | {table.reliance:.1f} |"


if __name__ == "__main__":
    main()
