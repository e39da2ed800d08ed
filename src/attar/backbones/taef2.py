"""TAEF2, the tiny autoencoder of FLUX.2's latent space (https://github.com/madebyollin/taesd): images to and fro.

Encoder and decoder are flat: the names of the weights are positions, as in the published files.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn


@final
class Block(nn.Module):
    """Three 3x3 convolutions of 64 channels beside a shortcut; with `middle`, a grouped 1x1 branch comes first."""

    def __init__(self, middle: bool = False):
        super().__init__()
        self.conv = nn.Sequential(_conv(64, 64), nn.ReLU(), _conv(64, 64), nn.ReLU(), _conv(64, 64))
        self.pool = _grouped() if middle else None

    def forward(self, x: Float[Tensor, "n 64 h w"]) -> Float[Tensor, "n 64 h w"]:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(x + self.conv(x))


@final
class SoftClamp(nn.Module):
    """Latents bent into -3..3, as the decoder expects."""

    def forward(self, x: Float[Tensor, "n 32 h w"]) -> Float[Tensor, "n 32 h w"]:
        return torch.tanh(x / 3) * 3


@final
class PooledEncoder(nn.Sequential):
    """The encoder's layers under the encoder's names, and the mean of the latents over space."""

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 32"]:
        return super().forward(images).mean((2, 3))


def _conv(entering: int, leaving: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(entering, leaving, 3, stride, 1, bias=bias)


def _grouped() -> nn.Sequential:
    wide, narrow = nn.Conv2d(64, 256, 1, bias=False), nn.Conv2d(256, 64, 1, bias=False)
    return nn.Sequential(wide, nn.GroupNorm(4, 256), nn.ReLU(), narrow)


def _blocks(middle: bool = False) -> list[nn.Module]:
    return [Block(middle) for _ in range(3)]


def _encoder_layers() -> list[nn.Module]:
    def down() -> nn.Module:
        return _conv(64, 64, stride=2, bias=False)

    start = [_conv(3, 64), Block()]
    return [*start, down(), *_blocks(), down(), *_blocks(), down(), *_blocks(middle=True), _conv(64, 32)]


def encoder() -> nn.Sequential:
    """Images (n, 3, h, w) in 0..1, sides divisible by 8, to latents (n, 32, h/8, w/8)."""
    return nn.Sequential(*_encoder_layers())


def pooled_encoder() -> PooledEncoder:
    """Images (n, 3, h, w) in 0..1, sides divisible by 8, to the mean latent (n, 32)."""
    return PooledEncoder(*_encoder_layers())


def decoder() -> nn.Sequential:
    """Latents (n, 32, h, w) to images (n, 3, 8h, 8w); clamp them to 0..1."""

    def up() -> list[nn.Module]:
        return [nn.Upsample(scale_factor=2), _conv(64, 64, bias=False)]

    start = [SoftClamp(), _conv(32, 64), nn.ReLU(), *_blocks(middle=True)]
    return nn.Sequential(*start, *up(), *_blocks(), *up(), *_blocks(), *up(), Block(), _conv(64, 3))
