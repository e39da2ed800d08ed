"""A linear head for a frozen network: softmax regression on its cached features (scdd.md 2.3).

The whole network is in eval mode before the first image enters, and its state is compared bit by bit afterwards:
training the head must not move a single running statistic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from attar.backbones.record import Backbone, freeze
from attar.backbones.squeezed import state_hash
from attar.errors import BackboneError
from attar.features import extract
from attar.files import digest
from attar.images.source import ImageSource
from attar.linear import softmax_regression
from attar.progress import SILENT, Progress
from attar.synthesis.views import ViewPolicy, centre_crop

_HELD_OUT = 0.05
_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Head:
    """A linear head on raw features, with its accuracy in percent on images kept from its fit."""

    weights: Float[np.ndarray, "classes dim"]
    bias: Float[np.ndarray, " classes"]
    penalty: float
    accuracy: float

    def put_into(self, layer: nn.Linear) -> None:
        """Copy the weights into `layer`; BackboneError where it is of another width."""
        if tuple(layer.weight.shape) != self.weights.shape:
            shapes = f"{tuple(self.weights.shape)} doesn't fit {tuple(layer.weight.shape)}"
            raise BackboneError(f"a head of (classes, features) {shapes}", "Squeeze with the classes of the images.")
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(self.weights))
            layer.bias.copy_(torch.from_numpy(self.bias))


def hold_out(labels: Int[Tensor, " n"], seed: int = 0) -> tuple[Int[Tensor, " kept"], Int[Tensor, " held"]]:
    """Positions to learn from, and one in twenty of each class (at least one of two or more) to test on."""
    random = np.random.default_rng([seed, 20])
    held = []
    for label in np.unique(labels.numpy()):
        places = np.flatnonzero(labels.numpy() == label)
        count = min(len(places) - 1, max(1, round(_HELD_OUT * len(places))))
        held.append(random.permutation(places)[:count])
    chosen = np.sort(np.concatenate(held))
    kept = np.setdiff1d(np.arange(len(labels)), chosen)
    return torch.from_numpy(kept), torch.from_numpy(chosen)


def align(
    body: nn.Module,
    source: ImageSource,
    *,
    side: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    device: torch.device,
    progress: Progress = SILENT,
) -> Head:
    """Fit a head on the features of the centre crop and its mirror image of each image in `source`.

    Features are standardised, then softmax regression in float64 to a gradient of 1e-6; the penalty is the best of
    four on one in twenty of the images. `body` is frozen; BackboneError where its state has changed all the same.
    """
    before = state_hash(body)
    frozen = freeze(body, "body", image_size=side, mean=mean, std=std).to(device)
    values = _features(frozen, source, side, progress)
    if state_hash(body) != before or state_hash(frozen.module) != before:
        raise BackboneError("aligning changed the network's statistics", "This is a bug: please report it.")
    labels = torch.from_numpy(source.labels)
    kept, held = hold_out(labels)
    rows = values[kept].flatten(0, 1).double().numpy()
    shift, scale = rows.mean(0), rows.std(0) + 1e-6
    rows, targets = (rows - shift) / scale, labels[kept].repeat_interleave(2).numpy()
    tests = (values[held, 0].double().numpy() - shift) / scale
    fitted = []
    for penalty in _PENALTIES:
        classifier = softmax_regression(rows, targets, len(source.classes), penalty=penalty, tolerance=_TOLERANCE)
        right = classifier.predict(tests) == labels[held].numpy()
        fitted.append((100 * float(right.mean()), penalty, classifier))
    accuracy, penalty, best = max(fitted, key=lambda each: each[:2])
    weights = best.weights / scale
    return Head(weights, best.bias - weights @ shift, penalty, accuracy)


def _features(frozen: Backbone, source: ImageSource, side: int, progress: Progress) -> Float[Tensor, "n 2 dim"]:
    cut = _CentreAndMirror(ViewPolicy(canvas=side, crop=side, flip=False))
    return extract(source, frozen, cut, progress=progress, task="features for the head").values


@dataclass(frozen=True)
class _CentreAndMirror:
    """Two views an image: the centre crop, and the same mirrored."""

    policy: ViewPolicy
    count: int = 2

    @property
    def fingerprint(self) -> str:
        return digest("centre and mirror", self.policy.canvas, self.policy.crop)

    def __call__(
        self, images: Float[Tensor, "n 3 side side"], ids: Int[np.ndarray, " n"]
    ) -> Float[Tensor, "n 2 3 crop crop"]:
        del ids
        centre = centre_crop(images, self.policy.crop)
        return torch.stack([centre, centre.flip(-1)], dim=1)
