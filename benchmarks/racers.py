"""Who takes part in benchmarks/race.py: attar's loop, and linear gradient matching as its authors run it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch.utils.data import TensorDataset

import attar
from attar.evaluation.protocols import PROTOCOLS
from attar.features import RealFeatures, extract, read_squares
from attar.linear import converged_probe
from attar.synthesis.canvas import Pyramid
from attar.synthesis.draws import Stream
from attar.synthesis.matching import Matching, Schedule, Term
from attar.synthesis.memory import peak_bytes
from attar.synthesis.objectives import find_objective
from attar.synthesis.settings import Settings
from attar.synthesis.views import RandomViews, ViewPolicy, probe_policy
from authors_lgm import AuthorsLoop

FORWARD, BACKWARD, WITH_WEIGHTS = 1.0, 2.2, 3.1  # in forwards: baselines.md 10
PROBE = PROTOCOLS["probe-v1"]


@dataclass(frozen=True)
class Track:
    """What all runs share: data, network, how views are cut, and what the pass over the real images costs."""

    train: attar.ImageSource
    test_labels: np.ndarray
    test_features: np.ndarray
    backbone: attar.Backbone
    policy: ViewPolicy
    real: RealFeatures
    pass_seconds: float
    pass_forwards: float

    @property
    def classes(self) -> int:
        return len(self.train.classes)

    @cached_property
    def squares(self) -> TensorDataset:
        """The real images in memory, as the authors' loop takes them; small ones are not cropped."""
        pixels = read_squares(self.train, self.policy.canvas, range(len(self.train)))
        return TensorDataset(torch.from_numpy(pixels).float() / 255, torch.from_numpy(self.train.labels))

    def correct(self, images: torch.Tensor) -> np.ndarray:
        """Which test images `probe-v1` gets right that learnt from `images`, as they would be stored."""
        pixels = (images.detach() * 255).round().clamp(0, 255).byte().cpu().numpy()
        labels = np.arange(self.classes)
        policy = probe_policy(self.backbone.image_size, flip=self.policy.flip)
        cut = RandomViews(policy, PROBE.views, 0, Stream.PROBE, centre_first=True)
        found = extract(attar.open((pixels, labels)), self.backbone, cut, cache=False)
        probe = converged_probe(
            found.values, found.labels, self.classes, transform=PROBE.transform, penalty=PROBE.penalty
        )
        return probe.predict(self.test_features) == self.test_labels


class Ours:
    """A run of attar's loop."""

    def __init__(self, track: Track, settings: Settings, *, grown: bool):
        side, grow_every = track.policy.canvas, settings.grow_every
        canvas = Pyramid(track.classes, side, seed=settings.seed, grow_every=grow_every, start=side if grown else 1)
        made = find_objective(settings.method)
        assert made is not None  # methods that aren't there don't start
        objective = made.build(track.real, settings.options, ipc=1, seed=settings.seed)
        schedule = Schedule(settings.steps, settings.lr, settings.tail)
        self._backbone, self._canvas = track.backbone, canvas
        self._loop = Matching(
            canvas,
            torch.arange(track.classes),
            [Term(track.backbone, objective)],
            track.policy,
            schedule,
            views=settings.views,
            seed=settings.seed,
        )

    def step(self, number: int) -> None:
        self._loop.step(number)

    def images(self) -> torch.Tensor:
        return self._canvas.images(torch.arange(self._canvas.count))

    def forwards(self) -> float:
        """Work of one step in the backbone, counted while it takes one."""
        with counted(self._backbone) as work:
            self._loop.gradient(0)
        return sum(work)

    def peak(self) -> int:
        levels = list(self._canvas.parameters().values())
        gradients = [level.grad for level in levels if level.grad is not None]
        known = [*self._backbone.module.state_dict().values(), *levels, *gradients]
        return peak_bytes(lambda: self._loop.gradient(0), known, self._backbone.device)


class Theirs:
    """A run of the authors' loop under the same schedule; its growth starts Adam anew, and its views have noise."""

    def __init__(self, track: Track, settings: Settings, *, grown: bool):
        self._schedule = Schedule(settings.steps, settings.lr, settings.tail)
        self._loop = AuthorsLoop(
            track.backbone,
            track.squares,
            track.classes,
            side=track.policy.canvas,
            copies=settings.views,
            smallest_crop=track.policy.scale[0],
            grow_every=settings.grow_every,
            start=track.policy.canvas if grown else 1,
            seed=settings.seed,
        )

    def step(self, number: int) -> None:
        self._loop.lr = self._schedule.rate(number)
        self._loop.step(number)

    def images(self) -> torch.Tensor:
        return self._loop.images()

    def forwards(self) -> float:
        return (WITH_WEIGHTS + FORWARD) * len(self._loop.labels) * self._loop.copies

    def peak(self) -> int:
        self._loop.backward()
        weights = [*self._loop.network.parameters(), *self._loop.levels]
        known = [*self._loop.network.buffers(), *weights, *(each.grad for each in weights if each.grad is not None)]
        return peak_bytes(self._loop.backward, known, self._loop.device)


@contextmanager
def counted(backbone: attar.Backbone) -> Iterator[list[float]]:
    """A list that gets the work of each call of the backbone, in forwards of one image."""
    work: list[float] = []

    def note(module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> None:
        del module
        work.append(len(inputs[0]) * (BACKWARD if torch.is_grad_enabled() else FORWARD))

    handle = backbone.module.register_forward_pre_hook(note)
    try:
        yield work
    finally:
        handle.remove()
