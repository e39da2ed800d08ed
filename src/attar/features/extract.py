"""Features of images: read, cut views, run the frozen backbone; cached on disk by everything that matters.

The work is cut into shards of consecutive images. Each is cached once it is done, so a kill loses at most one, and
processes that want the same features share the shards between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar import processes
from attar.backbones.record import Backbone
from attar.errors import BackboneError, ImageError
from attar.features.cache import claimed, is_cached, read_cached, write_cached
from attar.files import cache_folder, digest, sweep
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress

_VERSION = "features-3"  # counts up when the same key would give other features, rounding apart
_SHARD_BYTES = 2**26  # of decoded squares
_SHARD_IMAGES = 4096


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

    @property
    def dim(self) -> int:
        return self.values.shape[2]

    def parts(self) -> Iterator[tuple[range, Float[Tensor, "images views dim"]]]:
        """Which images, and theirs: all of them at once, or this process' share where it is one of several."""
        own = processes.share(len(self.labels))
        yield own, self.values[own.start : own.stop]


@dataclass(frozen=True)
class CachedFeatures:
    """`Features` that stay in the cache: `parts` reads a shard at a time, `values` has them all in memory."""

    source: ImageSource
    backbone: Backbone
    cut: Cut
    progress: Progress = SILENT
    task: str = "features"

    @property
    def labels(self) -> Int[Tensor, " images"]:
        return torch.from_numpy(self.source.labels)

    @property
    def dim(self) -> int:
        return self.backbone.dim

    @cached_property
    def values(self) -> Float[Tensor, "images views dim"]:
        return extract(self.source, self.backbone, self.cut, progress=self.progress, task=self.task).values

    def parts(self) -> Iterator[tuple[range, Float[Tensor, "images views dim"]]]:
        """Which images, and theirs, shard by shard; the shards that this process owns where it is one of several."""
        work = _Extraction(self.source, self.backbone, self.cut, self.progress, self.task)
        shards = work.shards()
        mine = shards[processes.number() :: processes.count()]  # in turns: the first ones may be cached already
        yield from zip(mine, work.all_of(mine), strict=True)


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

    The cache key covers the decoded images, the backbone's weights and preprocessing, its precision, and the cut.
    `batch` views go through the backbone at a time. Raises BackboneError where features are not finite or all equal.
    """
    values = torch.empty(len(source), cut.count, backbone.dim)
    done = 0
    for part in stream(source, backbone, cut, batch=batch, progress=progress, task=task, cache=cache):
        values[done : done + len(part)] = part
        done += len(part)
    _check_distinct(backbone, values)
    return Features(values, torch.from_numpy(source.labels))


def stream(
    source: ImageSource,
    backbone: Backbone,
    cut: Cut,
    *,
    batch: int = 64,
    progress: Progress = SILENT,
    task: str = "features",
    cache: bool = True,
) -> Iterator[Float[Tensor, "images views dim"]]:
    """What `extract` returns, shard by shard in the order of `source`: memory holds one shard at a time.

    Where the cache can't be written, or isn't wanted, it holds them all.
    """
    work = _Extraction(source, backbone, cut, progress, task, batch=batch, cache=cache)
    yield from work.all_of(work.shards())


class _Extraction:
    """The shards of one job; a shard is a range of positions in the source."""

    def __init__(
        self,
        source: ImageSource,
        backbone: Backbone,
        cut: Cut,
        progress: Progress,
        task: str,
        *,
        batch: int = 64,
        cache: bool = True,
    ):
        self._source, self._backbone, self._cut, self._batch = source, backbone, cut, max(1, batch // cut.count)
        self._progress, self._task, self._cache = progress, task, cache
        self._job = digest(_VERSION, backbone.fingerprint, cut.fingerprint, str(backbone.dtype))
        if cache:
            sweep(cache_folder() / "features" / self._job)
        self._held: dict[range, Tensor] = {}  # what no cache could take
        self._done = 0

    def shards(self) -> list[range]:
        """All positions; whole batches but for the last, as sums over a batch may depend on its size."""
        most = min(_SHARD_IMAGES, max(1, _SHARD_BYTES // (3 * self._cut.policy.canvas**2)))
        size = -(-most // self._batch) * self._batch
        count = len(self._source)
        return [range(start, min(start + size, count)) for start in range(0, count, size)]

    def all_of(self, shards: Sequence[range]) -> Iterator[Float[Tensor, "images views dim"]]:
        """Features of the shards in order, once all are finished, here or by other processes."""
        busy = [shard for shard in shards if not self.finish(shard, wait=False)]
        if busy:
            text = f"Other processes are at {len(busy)} of {len(shards)} shards of {self._task}; waiting for them."
            self._progress.note(text)
        for shard in busy:
            self.finish(shard, wait=True)
        for shard in shards:
            yield self.values(shard)

    def finish(self, shard: range, *, wait: bool) -> bool:
        """Have the shard's features in the cache (or held); False where another process is at it and not to wait."""
        if not self._is_finished(shard):
            with claimed(digest(self._job, self._source.location, shard), wait=wait) as mine:
                if not mine:
                    return False
                if not self._is_finished(shard):  # nobody did it meanwhile
                    self._compute(shard)
        self._done += len(shard)
        self._progress.advance(self._task, self._done, len(self._source))
        return True

    def values(self, shard: range) -> Tensor:
        """Features of a finished shard; computed again where the cache has lost or damaged them since."""
        if shard in self._held:
            return self._held.pop(shard)
        values = read_cached(self._job, self._key(shard), self._shape(shard))
        return self._compute(shard) if values is None else values

    def _is_finished(self, shard: range) -> bool:
        if shard in self._held:
            return True
        # The key needs the hashes of the images. Where they aren't known yet, they come with the features.
        return self._cache and self._source.examined(shard) and is_cached(self._job, self._key(shard))

    def _compute(self, shard: range) -> Tensor:
        values = torch.empty(self._shape(shard))
        done = 0
        try:
            for images, ids in _batches(self._source, self._cut.policy.canvas, shard, self._batch):
                values[done : done + len(ids)] = _forward(self._backbone, self._cut, images, ids)
                done += len(ids)
                self._progress.advance(self._task, min(self._done + done, len(self._source)), len(self._source))
        except ImageError:
            self._source.hashes()  # lists all that can't be read, where the first was met just now
            raise
        _check_finite(self._backbone, values)
        if not (self._cache and write_cached(self._job, self._key(shard), values)):
            self._held[shard] = values
        return values

    def _key(self, shard: range) -> str:
        """The images are part of it, and where they stand: random views are drawn by position."""
        hashes = [fact.sha256 for fact in self._source.facts(shard) if not isinstance(fact, ImageError)]
        return digest(shard.start, *hashes)

    def _shape(self, shard: range) -> tuple[int, int, int]:
        return len(shard), self._cut.count, self._backbone.dim


def square(image: np.ndarray, side: int) -> np.ndarray:
    """The centre `side` x `side` pixels of an image [3, h, w] whose shorter side is `side`."""
    height, width = image.shape[1:]
    top, left = round((height - side) / 2), round((width - side) / 2)
    return image[:, top : top + side, left : left + side]


def read_squares(source: ImageSource, side: int, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """Images `indices` as uint8 [n, 3, side, side]: shorter side resized to `side`, centre crop."""
    return np.stack([square(image, side) for _, image in source.read(indices, shorter_side=side)])


def _batches(source: ImageSource, side: int, shard: range, size: int) -> Iterator[tuple[Tensor, np.ndarray]]:
    images, ids = [], []
    for index, image in source.read(shard, shorter_side=side, examine=True):
        images.append(square(image, side))
        ids.append(index)
        if len(ids) == size or index == shard[-1]:
            yield torch.from_numpy(np.stack(images)).float() / 255, np.array(ids)
            images, ids = [], []


@torch.inference_mode()
def _forward(backbone: Backbone, cut: Cut, images: Tensor, ids: np.ndarray) -> Tensor:
    views = cut(images.to(backbone.device), ids)
    return backbone(views.flatten(0, 1)).reshape(len(ids), cut.count, -1).float().cpu()


def _check_finite(backbone: Backbone, values: Float[Tensor, "images views dim"]) -> None:
    if not torch.isfinite(values).all():
        raise BackboneError(
            f"backbone {backbone.name} gives features that are not finite", "Check its weights, mean and std."
        )


def _check_distinct(backbone: Backbone, values: Float[Tensor, "images views dim"]) -> None:
    flat = values.flatten(0, 1)
    if len(flat) > 1 and (flat == flat[0]).all():
        raise BackboneError(
            f"backbone {backbone.name} gives the same features for every image", "Check its weights, mean and std."
        )
