"""Features of images: read, cut views, run the frozen backbone; cached on disk by everything that matters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar.backbones.record import Backbone
from attar.errors import BackboneError
from attar.features.cache import read_cached, write_cached
from attar.files import digest
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress

_VERSION = "features-2"  # counts up when the same key would give other features


@runtime_checkable
class Cut(Protocol):
    """How a square image of the policy's canvas side becomes `count` views (synthesis/views.py has them)."""

    @property
    def count(self) -> int: ...

    @property
    def policy(self): ...

    @property
    def fingerprint(self) -> str: ...

    def __call__(self, images: Tensor, ids: np.ndarray) -> Tensor:
        """Images [n, 3, side, side] in 0..1 with their ids [n] -> views [n, count, 3, crop, crop]."""
        ...


@dataclass(frozen=True)
class Features:
    """Feature vectors of `views` views of each image, and the images' labels."""

    values: Float[Tensor, "images views dim"]
    labels: Int[Tensor, " images"]


def extract(
    source: ImageSource,
    backbone: Backbone,
    cut: Cut,
    *,
    batch: int = 64,
    progress: Progress = SILENT,
    task: str = "features",
    cache: bool = True,
) -> Features:
    """Features [images, views, dim] (float32, on the CPU) of all images of `source` through `backbone`.

    `batch` views go through the backbone at a time. The cache key covers the decoded images, the backbone's weights
    and preprocessing, its precision, and the cut. Raises BackboneError where features are not finite or all equal.
    """
    labels = torch.from_numpy(source.labels)
    key = digest(_VERSION, source.fingerprint, backbone.fingerprint, cut.fingerprint, str(backbone.dtype))
    shape = (len(source), cut.count, backbone.dim)
    values = read_cached(key, shape) if cache else None
    if values is None:
        values = torch.empty(shape)
        done = 0
        progress.advance(task, 0, len(source))
        for images, ids in _batches(source, cut.policy.canvas, max(1, batch // cut.count)):
            values[done : done + len(ids)] = _forward(backbone, cut, images, ids)
            if done == 0:
                _check(backbone, values[: len(ids)])
            done += len(ids)
            progress.advance(task, done, len(source))
        _check(backbone, values)
        if cache:
            write_cached(key, values)
    return Features(values, labels)


def square(image: np.ndarray, side: int) -> np.ndarray:
    """The centre `side` x `side` pixels of an image [3, h, w] whose shorter side is `side`."""
    height, width = image.shape[1:]
    top, left = round((height - side) / 2), round((width - side) / 2)
    return image[:, top : top + side, left : left + side]


def read_squares(source: ImageSource, side: int, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """Images `indices` as uint8 [n, 3, side, side]: shorter side resized to `side`, centre crop."""
    return np.stack([square(image, side) for _, image in source.read(indices, shorter_side=side)])


def _batches(source: ImageSource, side: int, size: int) -> Iterator[tuple[Tensor, np.ndarray]]:
    images, ids = [], []
    for index, image in source.read(np.arange(len(source)), shorter_side=side):
        images.append(square(image, side))
        ids.append(index)
        if len(ids) == size or index == len(source) - 1:
            yield torch.from_numpy(np.stack(images)).float() / 255, np.array(ids)
            images, ids = [], []


@torch.inference_mode()
def _forward(backbone: Backbone, cut: Cut, images: Tensor, ids: np.ndarray) -> Tensor:
    views = cut(images.to(backbone.device), ids)
    return backbone(views.flatten(0, 1)).reshape(len(ids), cut.count, -1).float().cpu()


def _check(backbone: Backbone, values: Tensor) -> None:
    if not torch.isfinite(values).all():
        raise BackboneError(
            f"Backbone {backbone.name} gives features that are not finite.", "Check its weights, mean and std."
        )
    flat = values.flatten(0, 1)
    if len(flat) > 1 and (flat == flat[0]).all():
        raise BackboneError(
            f"Backbone {backbone.name} gives the same features for every image.", "Check its weights, mean and std."
        )
