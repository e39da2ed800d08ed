"""How well finished images say what the real ones do, judged as they are shipped: 8 bits a channel, centre views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from attar.backbones.record import Backbone
from attar.features import RealFeatures
from attar.synthesis.objectives import Rows, StatisticalFlowMatching
from attar.synthesis.views import ViewPolicy, centre_crop


def scores_of(
    images: UInt8[np.ndarray, "n 3 side side"],
    labels: Int[Tensor, " n"],
    backbones: Sequence[Backbone],
    policy: ViewPolicy,
    reals: Sequence[RealFeatures],
    place: torch.device,
) -> dict[str, float]:
    """`quantised_scores`, of several backbones the lowest, and then each one's under its name."""
    scores = []
    for each, real in zip(backbones, reals, strict=True):
        with each.visiting(place):
            scores.append(quantised_scores(images, labels, each, policy, real))
    lowest = {name: min(each[name] for each in scores) for name in scores[0]}
    if len(backbones) == 1:
        return lowest
    named = zip(backbones, scores, strict=True)
    return lowest | {f"{one.name}.{name}": value for one, each in named for name, value in each.items()}


@torch.inference_mode()
def quantised_scores(
    images: UInt8[np.ndarray, "n 3 side side"],
    labels: Int[Tensor, " n"],
    backbone: Backbone,
    policy: ViewPolicy,
    real: RealFeatures,
) -> dict[str, float]:
    """Flow cosine and its worst class, on centre views of the images as shipped (8 bits a channel)."""
    features = [
        backbone(centre_crop(torch.from_numpy(part).float().to(backbone.device) / 255, policy.crop)).cpu()
        for part in np.array_split(images, -(-len(images) // 8))
    ]
    rows = Rows(torch.arange(len(images)), torch.zeros(len(images), dtype=torch.int64), labels)
    log = StatisticalFlowMatching(real.statistics.means).at(0)(torch.cat(features), rows).log
    return {"cosine": log["cosine"], "worst_class": log["worst_class"]}
