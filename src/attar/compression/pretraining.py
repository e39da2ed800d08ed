"""A network learns images from scratch, with their labels or by itself, and is watched on images kept from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from attar.backbones.architectures import SMALL_SIDE, Classifier
from attar.compression.align import Head, hold_out
from attar.compression.squeeze_settings import SqueezeSettings
from attar.compression.ssl import nearest_neighbours, self_supervised
from attar.compression.training import Lesson, train
from attar.compression.views import Recipe, make_batch
from attar.devices import free_bytes
from attar.errors import SettingsError
from attar.features import read_squares
from attar.images.source import ImageSource
from attar.progress import Progress
from attar.run import Run
from attar.synthesis.views import canvas_side

_AT_ONCE = 512  # images in a pass without gradient

Pixels = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and standard deviation of RGB in 0..1."""


def pretrain(
    network: Classifier,
    source: ImageSource,
    settings: SqueezeSettings,
    side: int,
    pixels: Pixels,
    run: Run,
    place: torch.device,
    precision: str,
    progress: Progress,
) -> Head | None:
    """Train `network` in place on images of `side` pixels; the head it has learned, or None where that is yet to come.

    Supervised training leaves one in twenty of the images out; self-supervised sees all of them, and no label.
    SettingsError where the images don't fit into memory.
    """
    images = _in_memory(source, canvas_side(side))
    labels = torch.from_numpy(source.labels)
    kept, held = hold_out(labels)
    normalise = partial(_normalised, pixels=pixels, device=place)
    network.to(memory_format=torch.channels_last)
    supervised = settings.ssl == "none"
    learned = kept if supervised else torch.arange(len(labels))
    course = settings.course(len(learned))
    lesson: Lesson
    if supervised:
        lesson = _Supervised(network, images[kept], labels[kept], normalise, side, settings.seed)
    else:
        dim = network.head.in_features
        lesson = self_supervised(settings.ssl, network.body, dim, images, normalise, side, settings.seed).to(place)
    progress.plan(
        f"{settings.epochs} epochs of {len(learned):,} images in batches of {course.batch}, "
        f"{'supervised' if supervised else settings.ssl}; to {run.folder}"
    )

    def features(part: nn.Module, ids: Int[Tensor, " n"]) -> Float[Tensor, "n out"]:
        with torch.no_grad():
            chunks = images[ids].split(_AT_ONCE)
            return torch.cat([part(normalise(_centre(chunk, side))).float().cpu() for chunk in chunks])

    def accuracy() -> Mapping[str, float]:
        lesson.eval()
        if supervised:
            predicted = features(network, held).argmax(1)
        else:
            bank = features(network.body, kept)
            predicted = nearest_neighbours(features(network.body, held), bank, labels[kept], len(source.classes))
        return {"held_out" if supervised else "knn": 100 * float((predicted == labels[held]).float().mean())}

    train(lesson, course, len(learned), run, precision=precision, device=place, monitor=accuracy, progress=progress)
    if not supervised:
        return None
    weights, bias = (each.detach().cpu().double().numpy() for each in (network.head.weight, network.head.bias))
    return Head(weights, bias, 0.0, accuracy()["held_out"])


class _Supervised(Lesson):
    """Cross-entropy on cropped and mirrored images."""

    def __init__(
        self,
        network: Classifier,
        images: UInt8[Tensor, "n 3 s s"],
        labels: Int[Tensor, " n"],
        normalise: Callable,
        side: int,
        seed: int,
    ):
        super().__init__()
        self.network = network
        self._images, self._labels, self._normalise, self._seed = images, labels, normalise, seed
        self._recipe = Recipe(side=side, crop="pad4" if side <= SMALL_SIDE else "rrc", mix="none")

    def loss(self, ids: Int[Tensor, " b"], epoch: int, number: int) -> Float[Tensor, ""]:
        batch = make_batch(self._images, ids, self._recipe, seed=self._seed, epoch=epoch, number=number)
        logits = self.network(self._normalise(batch.images))
        return F.cross_entropy(logits.float(), self._labels[ids].to(logits.device))


def _normalised(
    images: Float[Tensor, "n 3 h w"],
    pixels: Pixels,
    device: torch.device,
) -> Float[Tensor, "n 3 h w"]:
    """Images in 0..1 as the network takes them, on its device."""
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in pixels)
    return ((images.to(device) - mean) / std).contiguous(memory_format=torch.channels_last)


def _centre(images: UInt8[Tensor, "n 3 s s"], side: int) -> Float[Tensor, "n 3 side side"]:
    images = images.float() / 255
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)


def _in_memory(source: ImageSource, side: int) -> UInt8[Tensor, "n 3 s s"]:
    """All images as squares; SettingsError where they take over half of the free memory."""
    needed, free = len(source) * 3 * side**2, free_bytes(torch.device("cpu"))
    if needed > free // 2:
        raise SettingsError(
            f"{len(source):,} images of {side} pixels take {needed / 2**30:.0f} GB of {free / 2**30:.0f} free",
            "choose a smaller --side or --limit, or import a checkpoint: --weights FILE",
        )
    return torch.from_numpy(read_squares(source, side, range(len(source))))
