"""Networks to train from scratch, by name: a body that gives features, and a linear head.

    convnet3 ... convnet6    that many times: 3x3 convolution with 128 filters, norm, ReLU, average pool 2
    resnetap10               four residual stages of one block, average pools in place of strides (evaluation.md 6)
    cifar_resnet20, -56      He et al.'s for 32 pixels
    any network of timm      such as resnet18, mobilenetv2_100

Residual networks of timm have a "small" stem for small images: 3x3, stride 1, no max-pool.
"""

from __future__ import annotations

import re
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attar.errors import BackboneError, nearest

Stem = Literal["native", "small"]
Norm = Literal["batch", "instance"]

_WIDTH = 128

SMALL_SIDE = 64
"""Images up to this side, CIFAR's and Tiny-ImageNet's, are seen whole and through a small stem."""

_OWN = ("convnet3", "convnet4", "convnet5", "convnet6", "resnetap10", "cifar_resnet20", "cifar_resnet56")


@final
class Classifier(nn.Module):
    """`head(body(images))`: logits of normalised images; `body` gives `dim` features, `head` is linear."""

    def __init__(self, body: nn.Module, dim: int, classes: int):
        super().__init__()
        self.body = body
        self.head = nn.Linear(dim, classes)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n classes"]:
        return self.head(self.body(images))


def make_classifier(
    name: str, classes: int, *, side: int, stem: Stem | None = None, norm: Norm = "batch", seed: int = 0
) -> Classifier:
    """A classifier with random weights (drawn by `seed`) for images of `side` pixels, in training mode.

    `stem` is small up to 64 pixels and native above, where not given; networks without such a choice have "native"
    alone. `norm` "instance" is GroupNorm with a channel a group. Raises BackboneError where there is no network
    `name`, or it doesn't go with `side`, `stem` or `norm`.
    """
    stem = stem or default_stem(name, side)
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        body = _body(name, side, stem, norm)
        return Classifier(body, _features(body, name, side), classes)


def default_stem(name: str, side: int) -> Stem:
    """The stem that `name` has for images of `side` pixels unless one is asked for."""
    return "small" if side <= SMALL_SIDE and _has_choice(name) else "native"


def _has_choice(name: str) -> bool:
    return re.fullmatch(r"(resnet|resnext|wide_resnet|seresnet)\d+(_\d+(x\d+d)?)?(\..*)?", name) is not None


def _body(name: str, side: int, stem: Stem, norm: Norm) -> nn.Module:
    if stem == "small" and not _has_choice(name):
        raise BackboneError(f"{name!r} has no small stem", "Residual networks of timm do, such as resnet18.")
    if match := re.fullmatch(r"convnet([3-6])", name):
        return _convnet(int(match[1]), side, norm)
    if name == "resnetap10":
        return _ResNetAP(norm)
    if name in _OWN:
        from attar.backbones import cifar_resnet

        _only_batch(name, norm)
        return cifar_resnet.resnet20() if name.endswith("20") else cifar_resnet.resnet56()
    return _of_timm(name, stem, norm)


def _of_timm(name: str, stem: Stem, norm: Norm) -> nn.Module:
    import timm

    if not timm.is_model(name):
        raise BackboneError(f"there is no network {name!r} to train", nearest(name, [*_OWN, *timm.list_models()]))
    options: dict[str, Any] = {} if norm == "batch" else {"norm_layer": _instance_norm}
    try:
        body: Any = timm.create_model(name, num_classes=0, **options)
    except TypeError as error:
        raise BackboneError(f"{name!r} can't have {norm} norm", "Use batch norm, or resnet18.") from error
    if stem == "small":
        body.conv1 = nn.Conv2d(3, body.conv1.out_channels, 3, 1, 1, bias=False)
        body.maxpool = nn.Identity()
    return body


def _only_batch(name: str, norm: Norm) -> None:
    if norm != "batch":
        raise BackboneError(f"{name!r} can't have {norm} norm", "Use batch norm, or a convnet.")


def _features(body: nn.Module, name: str, side: int) -> int:
    body.eval()
    try:
        with torch.no_grad():
            features = body(torch.zeros(2, 3, side, side))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise BackboneError(f"{name!r} doesn't take images of {side} pixels: {reason}", "Choose another.") from error
    body.train()
    return features.shape[1]


def _instance_norm(channels: int, **options: object) -> nn.Module:
    del options  # timm passes what only BatchNorm has
    return nn.GroupNorm(channels, channels)


def _norm(kind: Norm, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else _instance_norm(channels)


def _convnet(depth: int, side: int, norm: Norm) -> nn.Sequential:
    if side >> depth < 1:
        raise BackboneError(f"images of {side} pixels are too small for convnet{depth}", "Choose a shallower one.")
    layers: list[nn.Module] = []
    for level in range(depth):
        layers += [nn.Conv2d(_WIDTH if level else 3, _WIDTH, 3, padding=1), _norm(norm, _WIDTH), nn.ReLU()]
        layers += [nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten())


@final
class _Stage(nn.Module):
    """A residual block whose `pool` stands behind its first convolution and in its shortcut."""

    def __init__(self, entering: int, leaving: int, pool: int, norm: Norm):
        super().__init__()
        self.conv1 = nn.Conv2d(entering, leaving, 3, padding=1, bias=False)
        self.norm1 = _norm(norm, leaving)
        self.conv2 = nn.Conv2d(leaving, leaving, 3, padding=1, bias=False)
        self.norm2 = _norm(norm, leaving)
        self.pool = nn.AvgPool2d(pool)
        self.shortcut: nn.Module = nn.Identity()
        if entering != leaving:
            self.shortcut = nn.Sequential(
                nn.Conv2d(entering, leaving, 1, bias=False), nn.AvgPool2d(pool), _norm(norm, leaving)
            )

    def forward(self, x: Float[Tensor, "n entering h w"]) -> Float[Tensor, "n leaving smaller_h smaller_w"]:
        y = self.pool(F.relu(self.norm1(self.conv1(x))))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


@final
class _ResNetAP(nn.Module):
    """ResNetAP-10: the stem has stride 1 and an average pool 4."""

    def __init__(self, norm: Norm):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 7, padding=3, bias=False), _norm(norm, 64), nn.ReLU())
        self.stages = nn.Sequential(
            _Stage(64, 64, 1, norm), _Stage(64, 128, 2, norm), _Stage(128, 256, 2, norm), _Stage(256, 512, 2, norm)
        )
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 512"]:
        return self.stages(F.avg_pool2d(self.stem(images), 4)).mean((2, 3))
