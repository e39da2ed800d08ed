"""The distilled images of one or more sets as the page needs them: tiles, large pictures, journeys, evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attar.backbones.record import Backbone
from attar.distilled import DistilledSet
from attar.distilled.journey import read_journey
from attar.distilled.own_run import run_of
from attar.evaluation.about import distinct
from attar.features import read_squares
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress
from attar.report.evidence import Evidence, gather_evidence, most_frequent_wrong
from attar.report.thumbnails import LARGE, NEIGHBOURS, STRIPS, TILES, Look, encoded, fitted, pick_look

# Characters of base64 for all sets together. Some 5,000 images fit; of more, small tiles are all that is in the page.
_TILES, _LARGE, _STRIPS, _NEIGHBOURS = 5_000_000, 10_000_000, 8_000_000, 4_000_000
_PIXELATED = 64  # sides up to this are enlarged in blocks: smoothing would invent what isn't there


@dataclass(frozen=True)
class Gallery:
    """A set's part of the page: `tiles` are wanted at once, `details` when an image is opened."""

    name: str
    distilled: DistilledSet
    tiles: list[str]
    details: dict[str, Any]


def make_galleries(
    sets: Sequence[DistilledSet], train: ImageSource | None, backbone: Backbone | None, progress: Progress = SILENT
) -> list[Gallery]:
    """A gallery for each set; evidence where both the training images and a backbone are given."""
    galleries = [
        _gallery(name, one, train, backbone, len(sets), progress)
        for name, one in zip(distinct([one.path.name for one in sets]), sets, strict=True)
    ]
    if photos := count_photos(galleries):
        progress.note(
            f"The page holds {photos} training photos and their file names, as nearest images; leave --backbone out to "
            "keep them out."
        )
    return galleries


def count_photos(galleries: Sequence[Gallery]) -> int:
    """How many training images are in the page as the nearest of distilled ones."""
    return sum(len(each.details["evidence"]["real"]) for each in galleries if each.details["evidence"] is not None)


def images_by_class(sets: Sequence[DistilledSet]) -> list[dict[str, Any]]:
    """Of every class of any set: its title, its name, and the numbers of its images in each set (of the other sets'
    order, an empty list where a set lacks it)."""
    names = dict.fromkeys(name for one in sets for name in one.classes)
    places = [{name: label for label, name in enumerate(one.classes)} for one in sets]
    images = [[np.flatnonzero(one.labels == label).tolist() for label in range(len(one.classes))] for one in sets]
    found = []
    for name in names:
        title = next(one.titles[place[name]] for one, place in zip(sets, places, strict=True) if name in place)
        own = [images[number][place[name]] if name in place else [] for number, place in enumerate(places)]
        found.append({"name": name, "title": title, "images": own})
    return found


def _gallery(
    name: str,
    distilled: DistilledSet,
    train: ImageSource | None,
    backbone: Backbone | None,
    sets: int,
    progress: Progress,
) -> Gallery:
    images, count = distilled.images, len(distilled)
    tile = pick_look(images, TILES, _TILES // sets) or TILES[-1]
    large = pick_look(images, LARGE, _LARGE // sets)
    side = distilled.manifest.image_side
    shown = min(side, tile.side if large is None else large.side)
    details: dict[str, Any] = {
        "name": name,
        "side": side,
        "shown": shown,
        "pixelated": side <= _PIXELATED,
        "weights": [round(float(weight), 4) for weight in distilled.weights],
        "sources": list(distilled.sources),
        "files": [f"images/{name}" for name in distilled.file_names],
        "large": _large(images, large, tile),
        "journey": _journey(distilled, _STRIPS // sets),
        "evidence": None,
    }
    if train is not None and backbone is not None:
        evidence = gather_evidence(distilled, train, backbone, progress)
        details["evidence"] = _evidence(evidence, distilled, train, _NEIGHBOURS // sets)
    progress.note(f"{name}: {count} images, large at {shown} of {side} pixels.")
    return Gallery(name, distilled, encoded(images, tile), details)


def _large(images: np.ndarray, large: Look | None, tile: Look) -> list[str] | None:
    """None where the tiles are as good, or nothing larger fits."""
    if large is None or (large.quality is not None and min(images.shape[-1], large.side) <= tile.side):
        return None
    return encoded(images, large)


def _journey(distilled: DistilledSet, budget: int) -> dict[str, Any] | None:
    """The steps of the run's frames, and for each image its frames side by side; None where its run kept none."""
    run = run_of(distilled)
    frames = [] if run is None else list(read_journey(run.journey))
    if not frames:
        return None
    frames = [frame for frame in frames if frame.images.shape == frames[-1].images.shape]
    strips = np.concatenate([frame.images for frame in frames], axis=3)
    return {"steps": [frame.step for frame in frames], "strips": fitted(strips, STRIPS, budget)}


def _evidence(found: Evidence, distilled: DistilledSet, train: ImageSource, budget: int) -> dict[str, Any]:
    """Names by number, so that an image that is near to many is in the page once."""
    near = np.unique(found.nearest)
    squares = read_squares(train, NEIGHBOURS[0].side, near)
    wrong = [
        most_frequent_wrong(answers, int(label)) for answers, label in zip(found.answers, distilled.labels, strict=True)
    ]
    return {
        "backbone": found.backbone,
        "accuracy": None if found.accuracy is None else round(found.accuracy, 1),
        "real": fitted(squares, NEIGHBOURS, budget),
        "realTitles": [train.titles[train.labels[index]] for index in near],
        "realNames": [train.name(int(index)) for index in near],
        "nearest": np.searchsorted(near, found.nearest).tolist(),
        "cosines": np.round(found.cosines, 3).tolist(),
        "own": np.round(100 * found.own, 1).tolist(),
        "right": (found.answers == distilled.labels[:, None]).sum(1).tolist(),
        "wrong": [None if each is None else [distilled.titles[each[0]], each[1]] for each in wrong],
    }
