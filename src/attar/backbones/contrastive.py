"""A small encoder trained on the images at hand, without labels, for data that no published network knows.

SimCLR (Chen et al. 2020, arXiv:2002.05709): two views of an image must be nearer to each other than to the views of
all other images of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attar.backbones.record import Backbone, freeze
from attar.errors import BackboneError

_BATCH = 256
_TEMPERATURE = 0.2
_RATE = 2e-3
_HALF = (0.5, 0.5, 0.5)


def train_encoder(
    images: Float[Tensor, "n c h w"],
    *,
    dim: int = 128,
    epochs: int = 30,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Backbone:
    """A frozen convolutional encoder with `dim` features, trained on `images` (grey or RGB, square, in 0..1).

    Views are turned and cropped, never mirrored or recoloured, so digits and letters stay what they are. The same
    images and seed give the same encoder; global random numbers aren't touched. `progress` hears (epochs done, epochs).
    Raises BackboneError for fewer than two images or images that aren't square.
    """
    if len(images) < 2 or images.shape[2] != images.shape[3]:
        message = f"can't train an encoder on images of shape {tuple(images.shape)}"
        raise BackboneError(message, "Pass at least two images, as high as they are wide.")
    images = images.expand(-1, 3, -1, -1)
    encoder, projector = (part.to(images.device) for part in _networks(dim, seed))
    parameters = [*encoder.parameters(), *projector.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=_RATE)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        for chosen in _batches(len(images), generator):
            batch = images[chosen.to(images.device)]
            views = torch.cat([_view(batch, generator), _view(batch, generator)])
            loss = nt_xent(projector(encoder((views - 0.5) / 0.5)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if progress is not None:
            progress(epoch + 1, epochs)
    return freeze(encoder, "contrastive", image_size=images.shape[2], mean=_HALF, std=_HALF)


def nt_xent(z: Float[Tensor, "views dim"]) -> Float[Tensor, ""]:
    """Normalised temperature-scaled cross entropy; the views of image i are rows i and i + views/2 (equation 1)."""
    z = F.normalize(z)
    similarity = z @ z.T / _TEMPERATURE
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    partner = torch.arange(len(z), device=z.device).roll(len(z) // 2)
    return F.cross_entropy(similarity.masked_fill(itself, -torch.inf), partner)


def _networks(dim: int, seed: int) -> tuple[nn.Sequential, nn.Sequential]:
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        layers = [*_layer(3, 32), *_layer(32, 64), *_layer(64, 64)]
        encoder = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64 * 16, dim))
        projector = nn.Sequential(nn.Linear(dim, 128), nn.ReLU(), nn.Linear(128, 64))
    return encoder, projector


def _layer(entering: int, leaving: int) -> list[nn.Module]:
    return [nn.Conv2d(entering, leaving, 3, 2, 1, bias=False), nn.BatchNorm2d(leaving), nn.GELU()]


def _batches(count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """All images in random order, in nearly equal batches: one image left over would have nothing to differ from."""
    return torch.randperm(count, generator=generator).tensor_split(math.ceil(count / _BATCH))


def _view(images: Float[Tensor, "n 3 h w"], generator: torch.Generator) -> Float[Tensor, "n 3 h w"]:
    """A random square of half to all of each image's area, turned by up to 15 degrees."""
    chance = torch.rand(4, len(images), generator=generator)
    side = (0.5 + 0.5 * chance[0]).sqrt()
    angle = (2 * chance[1] - 1) * math.radians(15)
    x, y = (1 - side) * (2 * chance[2:] - 1)
    rows = [side * angle.cos(), -side * angle.sin(), x, side * angle.sin(), side * angle.cos(), y]
    affine = torch.stack(rows, dim=1).view(-1, 2, 3).to(images)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
