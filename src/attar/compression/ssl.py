"""Self-supervised pre-training by lightly (`pip install attar[ssl]`): SimCLR and MoCo v2 (scdd.md 2.2)."""

from __future__ import annotations

import copy
import importlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor, nn

from attar.backbones.architectures import SMALL_SIDE
from attar.compression.training import Lesson
from attar.errors import SettingsError
from attar.files import digest

_GROUPS = 8  # of MoCo's keys, whose batch statistics are their own
_QUEUE = 4096
_MOMENTUM = 0.99
_TEMPERATURES = {"simclr": 0.2, "moco-v2": 0.1}


def self_supervised(
    kind: str, body: nn.Module, dim: int, images: UInt8[Tensor, "n 3 s s"], normalise: Callable, side: int, seed: int
) -> Lesson:
    """The lesson `kind` ("simclr" or "moco-v2") for `body`, whose features number `dim`.

    Raises SettingsError where lightly isn't installed.
    """
    views = _Views(images, _transform(kind, side), normalise, seed)
    with _seeded(seed):
        return _SimCLR(body, dim, views) if kind == "simclr" else _MoCo(body, dim, views)


def nearest_neighbours(
    features: Float[Tensor, "n dim"],
    bank: Float[Tensor, "m dim"],
    labels: Int[Tensor, " m"],
    classes: int,
) -> Int[Tensor, " n"]:
    """The class that the 200 nearest of `bank` vote for, by cosine at temperature 0.1: the usual monitor."""
    knn = _lightly("lightly.utils.benchmarking.knn")
    unit, keys = nn.functional.normalize(features), nn.functional.normalize(bank).T.contiguous()
    return knn.knn_predict(unit, keys, labels, classes, knn_k=min(200, len(bank)))[:, 0]


class _Views:
    """Two views of each image by lightly's transform, drawn by (seed, epoch, image)."""

    def __init__(self, images: UInt8[Tensor, "n 3 s s"], transform: Callable, normalise: Callable, seed: int):
        self._images, self._transform, self._normalise, self._seed = images, transform, normalise, seed

    def __call__(self, ids: Int[Tensor, " b"], epoch: int) -> list[Float[Tensor, "b 3 side side"]]:
        pairs = [self._pair(number, epoch) for number in ids.tolist()]
        return [self._normalise(torch.stack(views)) for views in zip(*pairs, strict=True)]

    def _pair(self, number: int, epoch: int) -> list[Tensor]:
        picture = Image.fromarray(self._images[number].permute(1, 2, 0).contiguous().numpy())
        with _seeded(int(digest(self._seed, epoch, number)[:15], 16)):
            return self._transform(picture)


class _SimCLR(Lesson):
    """NT-Xent over the two views of a batch; the other views are the negatives."""

    def __init__(self, body: nn.Module, dim: int, views: _Views):
        super().__init__()
        self._views = views
        self.body = body
        self.projector = _lightly("lightly.models.modules.heads").SimCLRProjectionHead(dim, 2048, 256)
        self._criterion = _lightly("lightly.loss").NTXentLoss(temperature=_TEMPERATURES["simclr"])

    def loss(self, ids: Int[Tensor, " b"], epoch: int, number: int) -> Float[Tensor, ""]:
        first, second = self._views(ids, epoch)
        projected = self.projector(self.body(torch.cat([first, second])))
        return self._criterion(*projected.float().chunk(2))


class _MoCo(Lesson):
    """Queries against keys of a slowly following encoder, old keys as negatives.

    Keys are computed on the permuted batch in groups, so that a query's batch statistics don't betray its key; the
    queries, whose encoder is the one that is kept, have those of the whole batch.
    """

    def __init__(self, body: nn.Module, dim: int, views: _Views):
        super().__init__()
        self._views = views
        head = _lightly("lightly.models.modules.heads").MoCoProjectionHead
        self.body, self.projector = body, head(dim, dim, 128)
        self.key_body, self.key_projector = copy.deepcopy(self.body), copy.deepcopy(self.projector)
        self.key_body.requires_grad_(False)
        self.key_projector.requires_grad_(False)
        self.criterion = _lightly("lightly.loss").NTXentLoss(_TEMPERATURES["moco-v2"], memory_bank_size=(_QUEUE, 128))
        bank = self.criterion.memory_bank
        for name in ("bank", "bank_ptr"):  # lightly leaves the queue out of the state
            bank.register_buffer(name, getattr(bank, name))

    def loss(self, ids: Int[Tensor, " b"], epoch: int, number: int) -> Float[Tensor, ""]:
        first, second = self._views(ids, epoch)
        queries = self.projector(self.body(torch.cat([first, second]))).float()
        order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(epoch * 100_003 + number))
        keys = torch.cat([self._keys(second, order), self._keys(first, order)])
        return self.criterion(queries, keys)

    @torch.no_grad()
    def _keys(self, images: Float[Tensor, "b 3 s s"], order: Int[Tensor, " b"]) -> Float[Tensor, "b 128"]:
        groups = images[order].chunk(max(1, min(_GROUPS, len(images) // 2)))
        keys = torch.cat([self.key_projector(self.key_body(group)).float() for group in groups])
        return keys[order.argsort()]

    def after_step(self) -> None:
        follow = _lightly("lightly.models.utils").update_momentum
        follow(self.body, self.key_body, _MOMENTUM)
        follow(self.projector, self.key_projector, _MOMENTUM)


def _transform(kind: str, side: int) -> Callable[[Image.Image], list[Tensor]]:
    transforms = _lightly("lightly.transforms")
    blur = 0.0 if side <= SMALL_SIDE else 0.5
    made = {"simclr": transforms.SimCLRTransform, "moco-v2": transforms.MoCoV2Transform}[kind]
    strength = {"cj_strength": 0.5} if kind == "simclr" else {}
    small = {"min_scale": 0.2} if side <= SMALL_SIDE else {}
    return made(input_size=side, gaussian_blur=blur, normalize=None, **strength, **small)


def _lightly(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SettingsError(
            f"self-supervised squeezing needs lightly: {error}",
            "Install it: pip install attar[ssl]; or import a checkpoint: --weights FILE.",
        ) from error


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """lightly draws from three global generators: seed them, and put them back."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed % 2**63)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
