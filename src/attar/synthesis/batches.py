"""Batches of real images, encoded anew in each step, as the published loops take them (lgm.md 1, 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from attar import processes
from attar.backbones.record import Backbone
from attar.images.source import ImageSource
from attar.synthesis.draws import Stream, generator
from attar.synthesis.views import ViewPolicy, cut_views, draw_windows

_AT_ONCE = 64


@dataclass(frozen=True)
class FreshBatches:
    """One view each of the images whose turn it is: a random square of the image, then a view of the policy.

    All draws are named by (seed, step, place in the batch), so a resumed run sees the same batches. Each process of a
    job encodes its share of them.
    """

    source: ImageSource
    backbone: Backbone
    policy: ViewPolicy
    seed: int

    def __call__(
        self, step: int, size: int, *, balanced: bool
    ) -> tuple[Float[Tensor, "size dim"], Int[Tensor, " size"]]:
        order = np.array(self._members(step, size, balanced), dtype=np.int64)
        own = np.array(processes.share(size), dtype=np.int64)
        none = torch.empty(0, self.backbone.dim, device=self.backbone.device)
        with torch.inference_mode():
            parts = np.split(own, range(_AT_ONCE, len(own), _AT_ONCE))
            features = [self._encode(step, places, order[places]) for places in parts if len(places)]
        return processes.gather(torch.cat([none, *features]), things=size), torch.from_numpy(self.source.labels[order])

    def _members(self, step: int, size: int, balanced: bool) -> list[int]:
        """Positions in the source: `size` of them from where step - 1 ended, one shuffle after the other."""
        if not balanced:
            return _turn(np.arange(len(self.source)), step * size, size, self.seed, 0)
        members: list[int] = []
        for label, own in enumerate(self._classes):
            share = len(range(label, size, len(self._classes)))
            members += _turn(own, step * share, share, self.seed, 1 + label)
        return members

    @cached_property
    def _classes(self) -> list[Int[np.ndarray, " members"]]:
        """Positions in the source of each class' images."""
        return np.split(self.source.labels.argsort(kind="stable"), self.source.counts.cumsum()[:-1])

    def _encode(self, step: int, places: Int[np.ndarray, " n"], members: Int[np.ndarray, " n"]) -> Tensor:
        squares = np.stack(list(self._squares(step, places, members)))
        images = torch.from_numpy(squares).to(self.backbone.device).float() / 255
        windows = draw_windows(self.policy, self.seed, Stream.BATCH, step, places.tolist(), [0] * len(places))
        return self.backbone(cut_views(images, windows, self.policy)).float()

    def _squares(
        self, step: int, places: Int[np.ndarray, " n"], members: Int[np.ndarray, " n"]
    ) -> Iterator[UInt8[np.ndarray, "3 side side"]]:
        side = self.policy.canvas
        for place, (_, image) in zip(places, self.source.read(members, shorter_side=side), strict=True):
            free = np.array(image.shape[1:]) - side
            top, left = generator(self.seed, Stream.ORDER, step=step, image=int(place), view=1).integers(free + 1)
            yield image[:, top : top + side, left : left + side]


def _turn(members: Int[np.ndarray, " n"], start: int, size: int, seed: int, which: int) -> list[int]:
    """`size` of the members from place `start` on in an endless row of shuffles; `which` names the row."""
    taken: list[int] = []
    while len(taken) < size:
        shuffle, place = divmod(start + len(taken), len(members))
        order = generator(seed, Stream.ORDER, step=shuffle, image=which).permutation(members)
        taken += order[place : place + size - len(taken)].tolist()
    return taken
