"""Differentiable views of images: flip, random resized crop, noise (lgm.md 5), and the plain centre crop.

A crop with its bilinear resize is one small matrix per axis, `rows @ image @ columns.T`, with the zero padding that
`grid_sample(align_corners=False)` has. Matrix products are deterministic on every device, forward and backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar.files import digest
from attar.images.source import ImageSource
from attar.synthesis.draws import Stream, generator


@dataclass(frozen=True)
class ViewPolicy:
    """How views are cut; part of the fingerprint of everything that was computed through it.

    `canvas` is the side of the square images in pixels, `crop` the side of a view. A window covers a share drawn from
    `scale` of the area, with an aspect ratio drawn log-uniformly from `ratio`; it may leave the image, and is black
    there. With probability `noise` Gaussian noise of mean `noise_mean` and deviation `noise_std` is added, unclamped.
    """

    canvas: int
    crop: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True
    noise: float = 0.0
    noise_mean: float = 0.0
    noise_std: float = 0.2

    @property
    def fingerprint(self) -> str:
        return digest("views", *astuple(self))


def canvas_side(crop: int) -> int:
    """The published 256 px for a crop of 224, in proportion for other sides; small images are not cropped."""
    return crop if crop <= 64 else round(crop * 8 / 7)


def smallest_crop(canvas: int) -> float:
    """The published smallest share of the area for large images; small ones are cropped less."""
    return 0.5 if canvas <= 64 else 0.08


def may_mirror(source: ImageSource, canvas: int) -> bool:
    """Digits and letters change their meaning in a mirror: small grey images are taken for such."""
    # The order matters: whether a source is grey is known once all its images are decoded.
    return not ((canvas <= 64 or source.location.startswith("digits")) and source.grey)


def probe_policy(crop: int, *, flip: bool) -> ViewPolicy:
    """How views of `crop` pixels are cut for probes: the published way, without noise."""
    side = canvas_side(crop)
    return ViewPolicy(side, crop, scale=(smallest_crop(side), 1.0), flip=flip)


@dataclass(frozen=True)
class Windows:
    """Where each of `n` views lies, in fractions of the image's side; a noise seed of 0 means no noise."""

    left: Float[Tensor, " n"]
    top: Float[Tensor, " n"]
    width: Float[Tensor, " n"]
    height: Float[Tensor, " n"]
    flipped: Float[Tensor, " n"]
    noise_seeds: tuple[int, ...]


def draw_windows(
    policy: ViewPolicy, seed: int, stream: Stream, step: int, images: Sequence[int], views: Sequence[int]
) -> Windows:
    """The windows of views `views[i]` of images `images[i]` at `step`."""
    drawn = np.empty((len(images), 6))
    noise_seeds = []
    for row, (image, view) in enumerate(zip(images, views, strict=True)):
        random = generator(seed, stream, step=step, image=image, view=view)
        drawn[row] = random.random(6)
        noise_seeds.append(int(random.integers(1, 2**63)) if drawn[row, 5] < policy.noise else 0)
    scale = policy.scale[0] + (policy.scale[1] - policy.scale[0]) * drawn[:, 1]
    low, high = np.log(policy.ratio)
    ratio = np.exp(low + (high - low) * drawn[:, 2])
    width, height = np.sqrt(scale * ratio), np.sqrt(scale / ratio)
    left, top = drawn[:, 3] * (1 - width), drawn[:, 4] * (1 - height)
    flipped = (drawn[:, 0] < 0.5) & policy.flip
    return Windows(
        left=torch.from_numpy(left),
        top=torch.from_numpy(top),
        width=torch.from_numpy(width),
        height=torch.from_numpy(height),
        flipped=torch.from_numpy(flipped.astype(np.float64)),
        noise_seeds=tuple(noise_seeds),
    )


def cut_views(
    images: Float[Tensor, "n 3 side side"], windows: Windows, policy: ViewPolicy
) -> Float[Tensor, "n 3 crop crop"]:
    """The windows of the images, resized to the crop side; differentiable with respect to the images."""
    side = images.shape[-1]
    rows = _resampling(windows.top, windows.height, side, policy.crop).to(images)
    left = windows.left + windows.flipped * windows.width
    width = windows.width * (1 - 2 * windows.flipped)
    columns = _resampling(left, width, side, policy.crop).to(images)
    views = rows[:, None] @ images @ columns[:, None].mT
    noisy = [row for row, noise_seed in enumerate(windows.noise_seeds) if noise_seed]
    if not noisy:
        return views
    noise = torch.zeros_like(views)
    for row in noisy:
        random = torch.Generator(views.device).manual_seed(windows.noise_seeds[row])
        noise[row].normal_(policy.noise_mean, policy.noise_std, generator=random)
    return views + noise


def _resampling(
    start: Float[Tensor, " n"], extent: Float[Tensor, " n"], side: int, size: int
) -> Float[Tensor, "n {size} {side}"]:
    """Bilinear weights of `size` equidistant points of each window on `side` pixels; a negative extent mirrors."""
    offsets = (torch.arange(size, dtype=start.dtype) + 0.5) / size
    points = (start[:, None] + extent[:, None] * offsets) * side - 0.5
    pixels = torch.arange(side, dtype=start.dtype)
    return (1 - (points[..., None] - pixels).abs()).clamp(min=0)


def centre_crop(images: Float[Tensor, "*n 3 h w"], side: int) -> Float[Tensor, "*n 3 {side} {side}"]:
    """The middle `side` x `side` pixels, rounded as torchvision's CenterCrop does."""
    height, width = images.shape[-2:]
    top, left = round((height - side) / 2), round((width - side) / 2)
    return images[..., top : top + side, left : left + side]


@dataclass(frozen=True)
class CentreView:
    """One view an image: the centre crop (`views=center` of sfm.md 3)."""

    policy: ViewPolicy
    count: int = 1

    @property
    def fingerprint(self) -> str:
        return digest("centre", self.policy.canvas, self.policy.crop)

    def __call__(
        self, images: Float[Tensor, "n 3 side side"], ids: Int[np.ndarray, " n"]
    ) -> Float[Tensor, "n 1 3 crop crop"]:
        del ids
        return centre_crop(images, self.policy.crop)[:, None]


@dataclass(frozen=True)
class RandomViews:
    """`count` views an image, drawn by (seed, image, view); with `centre_first` the first is the centre crop."""

    policy: ViewPolicy
    count: int
    seed: int
    stream: Stream
    centre_first: bool = False

    @property
    def fingerprint(self) -> str:
        return digest("random", self.policy.fingerprint, self.count, self.seed, int(self.stream), self.centre_first)

    def __call__(
        self, images: Float[Tensor, "n 3 side side"], ids: Int[np.ndarray, " n"]
    ) -> Float[Tensor, "n views 3 crop crop"]:
        views = []
        for view in range(self.count):
            if view == 0 and self.centre_first:
                views.append(centre_crop(images, self.policy.crop))
                continue
            windows = draw_windows(self.policy, self.seed, self.stream, 0, ids.tolist(), [view] * len(ids))
            views.append(cut_views(images, windows, self.policy))
        return torch.stack(views, dim=1)
