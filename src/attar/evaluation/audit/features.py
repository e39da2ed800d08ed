"""Nearest training images by a backbone's features (evaluation.md 11.3)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar.backbones.record import Backbone
from attar.features import extract
from attar.images.source import ImageSource
from attar.progress import Progress
from attar.synthesis.views import CentreView, ViewPolicy, canvas_side

_BLOCK = 2**14


def directions(source: ImageSource, backbone: Backbone, progress: Progress, task: str) -> Float[Tensor, "images dim"]:
    """Features of the centre crops, scaled to length 1; cached, as those of every command."""
    policy = ViewPolicy(canvas_side(backbone.image_size), backbone.image_size)
    values = extract(source, backbone, CentreView(policy), progress=progress, task=task).values[:, 0]
    return torch.nn.functional.normalize(values)


def nearest_directions(
    pictures: Float[Tensor, "pictures dim"], train: Float[Tensor, "images dim"]
) -> tuple[Int[Tensor, " pictures"], Float[Tensor, " pictures"]]:
    """(training image, cosine) with the largest cosine to each picture."""
    parts = [(pictures @ block.T).max(1) for block in train.split(_BLOCK)]
    cosine, part = torch.stack([values for values, _ in parts]).max(0)
    index = torch.stack([indices + number * _BLOCK for number, (_, indices) in enumerate(parts)])
    return index.gather(0, part[None])[0], cosine
