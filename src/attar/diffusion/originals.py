"""The images that a refinement starts from, and what is known of them: a distilled set's, or any labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int, UInt8

from attar.distilled import DistilledSet, Origin
from attar.distilled.own_run import run_of
from attar.features.extract import square
from attar.images.source import ImageSource
from attar.synthesis.distillation import data_name, found_again


@final
@dataclass(frozen=True, eq=False)
class Originals:
    """Labelled images and their record. `method` made them and `fingerprint` tells them apart, wherever they lie."""

    source: ImageSource
    titles: tuple[str, ...]
    weights: Float[np.ndarray, " n"]
    method: str
    fingerprint: str
    ipc: int
    backbones: Sequence[Origin]
    data: Origin
    train_images: int
    train_hashes: Sequence[bytes]
    places: dict[str, str]
    """Where the training images lie on this machine, as far as it is known."""

    @classmethod
    def of(cls, given: DistilledSet | ImageSource) -> Originals:
        """A distilled set keeps what it was distilled on; other images are training images of their own."""
        return _of_set(given) if isinstance(given, DistilledSet) else _of_images(given)

    def __len__(self) -> int:
        return len(self.source)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.source.classes

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """Class index of each image."""
        return self.source.labels

    @property
    def places_in_class(self) -> list[int]:
        """The number of each image among those of its class."""
        counts = [0] * len(self.classes)
        numbers = []
        for label in self.labels.tolist():
            numbers.append(counts[label])
            counts[label] += 1
        return numbers

    def read(self, indices: Sequence[int]) -> list[UInt8[np.ndarray, "3 s s"]]:
        """The centre squares of these images, each of its own side."""
        return [square(image, min(image.shape[1:])) for _, image in self.source.read(indices)]


def _of_set(given: DistilledSet) -> Originals:
    manifest = given.manifest
    run = run_of(given)
    place = None if run is None else run.place("train")
    return Originals(
        source=given.source,
        titles=given.titles,
        weights=given.weights,
        method=manifest.method,
        fingerprint=given.content,
        ipc=manifest.ipc,
        backbones=manifest.backbones,
        data=manifest.data,
        train_images=manifest.train_images,
        train_hashes=[int(value).to_bytes(8, "big") for value in given.train_hashes],
        places={} if place is None else {"train": place},
    )


def _of_images(given: ImageSource) -> Originals:
    return Originals(
        source=given,
        titles=given.titles,
        weights=np.ones(len(given)),
        method="images",
        fingerprint=given.fingerprint[:16],
        ipc=max(1, len(given) // len(given.classes)),
        backbones=[],
        data=Origin(name=data_name(given.location), fingerprint=given.fingerprint),
        train_images=len(given),
        train_hashes=given.hashes(),
        places=found_again(given.location),
    )
