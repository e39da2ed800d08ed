"""A frozen network with its preprocessing, and the checks that every such network passes."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attar.errors import BackboneError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen network with its preprocessing: call it with RGB images in 0..1 to get their features.

    >>> features = backbone("timm:resnet18", weights="random")(torch.rand(2, 3, 96, 96))
    >>> features.shape
    torch.Size([2, 512])
    """

    name: str
    """As the user typed it, such as `timm:vit_tiny_patch16_224`."""
    module: nn.Module
    """In eval mode; no parameter requires a gradient."""
    dim: int
    """Number of features per image."""
    image_size: int
    """Side in pixels of the square images that the module is fed."""
    mean: tuple[float, float, float]
    """Subtracted from each channel of images in 0..1."""
    std: tuple[float, float, float]
    """Divides each channel afterwards."""
    feature: Literal["pooled", "projected"]
    licence: str
    """Of the weights; `unknown` where nobody says."""
    fingerprint: str
    """Hex SHA-256 of weights, structure, what made it, and preprocessing."""
    normalise: Literal["native", "imagenet"]
    train_hashes: frozenset[bytes] = frozenset()
    """First 8 bytes of the SHA-256 of the pixels of images that it was trained on, as far as is known."""
    architecture: str = ""
    """What `attar squeeze` calls it, where it made it; what other networks are called says their `name`."""
    channels_last: bool = False
    """Whether the module is fed images whose channels lie side by side in memory: convolutions are faster so."""

    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n dim"]:
        """Features of RGB images in 0..1 of any size, differentiable with respect to the images.

        Images are resized (bilinear, antialiased) only where their sides differ from `image_size`. The features are
        float64 where the module is, else float32, also where the module computes in bfloat16.
        """
        outside = torch.float64 if self.dtype == torch.float64 else torch.float32
        images = images.to(outside)
        side = (self.image_size, self.image_size)
        if images.shape[2:] != side:
            images = F.interpolate(images, side, mode="bilinear", antialias=True, align_corners=False)
        return self._forward(images).to(outside)

    def _forward(self, images: Float[Tensor, "n 3 h w"]) -> Tensor:
        return self.module(self._normalised(images).to(self.dtype))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """What the module computes in."""
        return next((parameter.dtype for parameter in self.module.parameters()), torch.float32)

    def _normalised(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        # Plain numbers, channel by channel: a tensor of means would be copied to the device, and waited for, each time.
        channels = zip(images.unbind(1), self.mean, self.std, strict=True)
        normalised = [(channel - mean) / std for channel, mean, std in channels]
        if self.channels_last:
            return torch.stack(normalised, dim=-1).permute(0, 3, 1, 2)
        return torch.stack(normalised, dim=1)

    @contextmanager
    def visiting(self, place: torch.device) -> Iterator[None]:
        """The weights on `place`; those that live elsewhere, to save room there, go home afterwards."""
        home = self.device
        if home == place:
            yield
            return
        self.module.to(place)
        try:
            yield
        finally:
            self.module.to(home)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Backbone:
        """A copy of this record on `device`, computing in `dtype`; name and fingerprint stay."""
        return replace(self, module=copy.deepcopy(self.module).to(device=device, dtype=dtype))

    def checkpointed(self) -> Backbone | None:
        """A copy of this record that keeps only what enters each block, and computes the rest again for the gradient.

        Features and gradients are the same, and so are name, fingerprint and the weights themselves, which aren't
        copied. None where the module doesn't know its blocks; networks of timm and transformers of open_clip do.
        """
        if not hasattr(self.module, "set_grad_checkpointing"):
            return None
        shared = {id(tensor): tensor for tensor in (*self.module.parameters(), *self.module.buffers())}
        module: Any = copy.deepcopy(self.module, shared)
        try:
            module.set_grad_checkpointing(True)
        except AssertionError:  # timm's networks without it have the method too
            return None
        return replace(self, module=module)


def freeze(
    module: nn.Module,
    name: str,
    *,
    image_size: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    feature: Literal["pooled", "projected"] = "pooled",
    licence: str = "unknown",
    normalise: Literal["native", "imagenet"] = "native",
    made_by: str = "",
    train_hashes: frozenset[bytes] = frozenset(),
    architecture: str = "",
) -> Backbone:
    """Freeze `module` in place, try it on two images, and return its record.

    `made_by` says what decides the features and shows neither in the weights nor in the module's `repr`;
    `train_hashes` and `architecture` decide nothing.
    Raises BackboneError where the features aren't one finite vector per image, or don't depend on the image.
    """
    module.eval().requires_grad_(False)
    frozen = Backbone(
        name=name,
        module=module,
        dim=0,
        image_size=image_size,
        mean=mean,
        std=std,
        feature=feature,
        licence=licence,
        fingerprint=_fingerprint(module, made_by, image_size, mean, std, feature, normalise),
        normalise=normalise,
        train_hashes=train_hashes,
        architecture=architecture,
    )
    frozen = replace(frozen, dim=_count_features(frozen))
    return _channels_last(frozen) if _convolves(module) else frozen


def _convolves(module: nn.Module) -> bool:
    """Whether it is a convolutional network; a transformer cuts patches that don't overlap."""
    convolutions = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    return any(part.kernel_size > part.stride for part in convolutions)  # type: ignore[operator]


def _channels_last(frozen: Backbone) -> Backbone:
    """The record fed with channels side by side, where the module takes that: one that calls `view` may not."""
    images = torch.zeros(2, 3, frozen.image_size, frozen.image_size, device=frozen.device)
    other = replace(frozen, channels_last=True)
    try:
        with torch.no_grad():
            other(images)
    except RuntimeError:
        return frozen
    return other


def _count_features(frozen: Backbone) -> int:
    size = frozen.image_size
    noise = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    images = (noise * torch.tensor([0.4, 1.0]).view(2, 1, 1, 1)).to(frozen.device)  # one dim, one bright
    try:
        with torch.no_grad():
            features = _features_of(frozen, images)
    except BackboneError:
        raise
    except Exception as error:  # whatever a foreign module raises, its user learns which network and size it was
        reason = str(error).strip().partition("\n")[0]
        message = f"{frozen.name!r} fails on images of {size} x {size} pixels: {reason}"
        raise BackboneError(message, "Pass the image size that the network was made for.") from error
    if not features.isfinite().all():
        raise BackboneError(f"{frozen.name!r} gives features that aren't finite", "Look for damage in its weights.")
    if torch.allclose(features[0], features[1], rtol=1e-6, atol=0.0):
        message = f"{frozen.name!r} gives the same features for different images"
        raise BackboneError(message, "Check its weights, mean and std.")
    return features.shape[1]


def _features_of(frozen: Backbone, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n dim"]:
    features = frozen.module(frozen._normalised(images).to(frozen.dtype))
    wanted = f"but attar needs floats of shape ({len(images)}, dim) for {len(images)} images"
    if not isinstance(features, Tensor):
        raise BackboneError(f"{frozen.name!r} returns a {type(features).__name__}, {wanted}", "Wrap it in a module.")
    if features.ndim != 2 or len(features) != len(images) or not features.is_floating_point():
        got = f"{str(features.dtype).removeprefix('torch.')} of shape {tuple(features.shape)}"
        raise BackboneError(f"{frozen.name!r} returns {got}, {wanted}", "Pool over space and flatten in the module.")
    return features


def _fingerprint(module: nn.Module, made_by: str, *preprocessing: object) -> str:
    """Hex SHA-256 of names, shapes, dtypes and bytes of the weights, of the structure and of the preprocessing.

    Counters of batches seen in training are left out: they change no feature, and some files lack them.
    """
    structure = re.sub(r" at 0x[0-9a-f]+", "", f"{made_by}\n{module!r}")  # addresses differ from process to process
    sha = hashlib.sha256(repr((structure, *preprocessing)).encode())
    for key, tensor in sorted(module.state_dict().items()):
        if not key.endswith("num_batches_tracked"):
            sha.update(repr((key, tuple(tensor.shape), str(tensor.dtype))).encode())
            sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def told_apart(backbones: Sequence[Backbone]) -> list[Backbone]:
    """The backbones under names that are all different: the second resnet18 is resnet18#2."""
    names = [each.name for each in backbones]
    counts = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [
        each if count == 1 else replace(each, name=f"{each.name}#{count}")
        for each, count in zip(backbones, counts, strict=True)
    ]
