"""The training image in which a picture is found, whole or as a part, mirrored or not (evaluation.md 11.1).

All windows of all training images are correlated on 32 pixels; the 50 best images of a picture are aligned on 64, and
compared by structural similarity on 128. On one core a pair costs 30 µs, and a picture's 50 candidates 30 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attar.evaluation.audit.correlation import correlate, standardised, template_spectra, window_scale
from attar.evaluation.audit.ssim import equalised, ssim
from attar.evaluation.audit.thumbnails import LARGE, SMALL, Thumbnails, area_resize
from attar.progress import SILENT, Progress

_COARSE = 32
# Sides of windows on 32 pixels (scales 1, .875, .75, .5 and .35), and those on 64 that are tried where one was best.
_ALIGNED = {
    32: (64, 62, 60),
    28: (60, 58, 56, 54, 52),
    24: (52, 50, 48, 45, 42),
    16: (40, 37, 34, 32, 30, 28),
    11: (26, 24, 22, 20),
}
_CANDIDATES = 50
_BLOCK = 512


@dataclass(frozen=True)
class Found:
    """For each picture the training image that looks most like it."""

    index: Int[Tensor, " pictures"]
    similarity: Float[Tensor, " pictures"]
    """Structural similarity of the picture and the window."""
    window: Float[Tensor, "pictures 3"]
    """(top, left, side) of the window in fractions of the training image's centre square."""


@dataclass(frozen=True)
class _Candidates:
    """A picture and a training image that may hold it, one after the other."""

    picture: Int[Tensor, " pairs"]
    image: Int[Tensor, " pairs"]
    flipped: Bool[Tensor, " pairs"]
    coarse: Int[Tensor, " pairs"]
    """Side of the best window on 32 pixels."""


def search(
    pictures: Thumbnails,
    train: Thumbnails,
    *,
    device: torch.device,
    progress: Progress = SILENT,
    task: str = "windows",
) -> Found:
    """Look for each picture in all windows of all training images."""
    candidates = _shortlist(pictures, train, device, progress, task)
    windows = _align(candidates, pictures, train, device)
    similarities = _compare(candidates, windows, pictures, train, device)
    shape = (len(pictures), -1)
    similarity, best = similarities.view(shape).max(1)
    chosen = torch.arange(len(pictures)) * (len(similarities) // len(pictures)) + best
    return Found(candidates.image[chosen], similarity, windows[chosen].float() / SMALL)


def _shortlist(
    pictures: Thumbnails, train: Thumbnails, device: torch.device, progress: Progress, task: str
) -> _Candidates:
    """The 50 training images whose best window correlates most with a picture."""
    count, kept = len(pictures), min(_CANDIDATES, len(train))
    both = _unit(pictures.small, device)
    both = torch.cat([both, both.flip(-1)])
    templates = {side: standardised(area_resize(both, side)) for side in _ALIGNED}
    best = torch.full((count, 0), 0.0)
    image = poses = torch.empty(count, 0, dtype=torch.int64)
    for start in range(0, len(train), _BLOCK):
        block = area_resize(_unit(train.small[start : start + _BLOCK], device), _COARSE)
        scores = torch.stack([_best_of_windows(block, templates[side]) for side in _ALIGNED])
        score, pose = scores.view(-1, len(block), 2, count).permute(3, 1, 0, 2).flatten(2).max(-1)
        here = torch.arange(start, start + len(block)).expand(count, -1)
        best, order = torch.cat([best, score.cpu()], 1).topk(min(kept, best.shape[1] + len(block)), dim=1)
        image = torch.cat([image, here], 1).gather(1, order)
        poses = torch.cat([poses, pose.cpu()], 1).gather(1, order)
        progress.advance(task, start + len(block), len(train))
    sides = torch.tensor(list(_ALIGNED))
    picture = torch.arange(count).repeat_interleave(kept)
    return _Candidates(picture, image.flatten(), poses.flatten() % 2 == 1, sides[poses.flatten() // 2])


def _best_of_windows(
    images: Float[Tensor, "images 32 32"], templates: Float[Tensor, "templates side side"]
) -> Float[Tensor, "images templates"]:
    side = templates.shape[-1]
    if side == _COARSE:
        return standardised(images).flatten(1) @ templates.flatten(1).T
    wanted = template_spectra(templates, _COARSE)
    spectra, scale = torch.fft.rfft2(images), window_scale(images, side)
    best = torch.empty(len(images), len(templates), device=images.device)
    columns = _pairs(images.device)
    rows = max(1, columns // len(templates))
    for row in range(0, len(images), rows):
        some = slice(row, row + rows)
        for column in range(0, len(templates), columns):
            part = slice(column, column + columns)
            best[some, part] = correlate(spectra[some, None], wanted[None, part], scale[some, None]).amax(-1)
    return best


def _align(
    candidates: _Candidates, pictures: Thumbnails, train: Thumbnails, device: torch.device
) -> Int[Tensor, "pairs 3"]:
    """(top, left, side) on 64 pixels of the window of each candidate that correlates most with the picture."""
    upright = _unit(pictures.small, device)
    both = torch.stack([upright, upright.flip(-1)])
    best = torch.full((len(candidates.image),), -2.0)
    windows = torch.zeros(len(best), 3, dtype=torch.int64)
    for side in sorted({side for sides in _ALIGNED.values() for side in sides}):
        tried = torch.tensor([coarse for coarse, sides in _ALIGNED.items() if side in sides])
        templates = standardised(area_resize(both, side).flatten(0, 1))
        wanted = template_spectra(templates, SMALL).unflatten(0, (2, -1))
        for some in torch.isin(candidates.coarse, tried).nonzero()[:, 0].split(_pairs(device)):
            images = _unit(train.small[candidates.image[some]], device)
            templates_of = wanted[candidates.flipped[some].long(), candidates.picture[some]]
            scores = correlate(torch.fft.rfft2(images), templates_of, window_scale(images, side))
            score, position = (values.cpu() for values in scores.max(-1))
            places = SMALL - side + 1
            here = torch.stack([position // places, position % places, torch.full_like(position, side)], 1)
            better = score > best[some]
            best[some] = torch.where(better, score, best[some])
            windows[some] = torch.where(better[:, None], here, windows[some])
    return windows


def _compare(
    candidates: _Candidates,
    windows: Int[Tensor, "pairs 3"],
    pictures: Thumbnails,
    train: Thumbnails,
    device: torch.device,
) -> Float[Tensor, " pairs"]:
    """Structural similarity of each candidate's picture and window, on 128 pixels."""
    large = equalised(pictures.large(range(len(pictures))))
    similarities = torch.empty(len(windows))
    for block in candidates.image.unique().split(_BLOCK):
        images = train.large(block.tolist())
        for some in torch.isin(candidates.image, block).nonzero()[:, 0].split(_pairs(device) // 4):
            seen = images[torch.searchsorted(block, candidates.image[some])].to(device)
            wanted = large[candidates.picture[some]]
            wanted = torch.where(candidates.flipped[some, None, None], wanted.flip(-1), wanted).to(device)
            similarities[some] = ssim(equalised(_cut(seen, windows[some].to(device) / SMALL)), wanted).cpu()
    return similarities


def _cut(images: Float[Tensor, "n 128 128"], windows: Float[Tensor, "n 3"]) -> Float[Tensor, "n 128 128"]:
    """Windows (top, left, side in fractions) of images, enlarged to 128 pixels (bilinear)."""
    pixels = torch.arange(LARGE, device=images.device)

    def weights(start: Tensor, extent: Tensor) -> Tensor:
        points = LARGE * (start[:, None] + extent[:, None] * (pixels + 0.5) / LARGE) - 0.5
        return (1 - (points.clamp(0, LARGE - 1)[..., None] - pixels).abs()).clamp(min=0)

    top, left, side = windows.unbind(1)
    return weights(top, side) @ images @ weights(left, side).mT


def _unit(small: Tensor, device: torch.device) -> Tensor:
    return small.to(device).float() / 255


def _pairs(device: torch.device) -> int:
    """How many pairs are transformed at a time: on a CPU what fits into its cache."""
    return 64 if device.type == "cpu" else 2**13
