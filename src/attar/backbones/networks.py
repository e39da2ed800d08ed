"""Networks without their classifier, from timm, torchvision or a function of the user's."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from attar.backbones.catalogue import ENTRIES
from attar.backbones.record import IMAGENET_MEAN, IMAGENET_STD
from attar.errors import BackboneError, nearest

_HEADS = ("classifier.", "fc.", "head.", "heads.", "linear.")  # what classifiers are mostly called


@dataclass(frozen=True)
class Order:
    """What to build: `target` is the name without its prefix."""

    target: str
    image_size: int | None
    """Side in pixels that the user asked for."""
    pretrained: bool
    """Whether to fetch published weights."""
    feature: Literal["pooled", "projected"]
    model_args: Mapping[str, object]


@dataclass(frozen=True)
class Network:
    """A network as built, and what its makers say about it."""

    module: nn.Module
    image_size: int | None = None
    """Side in pixels; None where nobody says."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    licence: str = "unknown"
    """Of the published weights."""
    is_head: Callable[[str], bool] = lambda key: key.startswith(_HEADS)
    """Whether a name of a weight belongs to the classifier that was left out."""


def from_timm(order: Order) -> Network:
    """A network of timm; its head stays where the projected feature is asked for (CLIP's projector is its head)."""
    import timm
    from timm.models import PretrainedCfg

    if not timm.is_model(order.target):
        known = [*timm.list_models(), *ENTRIES]
        raise BackboneError(f"timm has no network {order.target!r}", nearest(order.target, known))
    try:
        published = timm.get_pretrained_cfg(order.target) or PretrainedCfg()
    except (RuntimeError, KeyError) as error:
        known = timm.list_models(f"{order.target.partition('.')[0]}.*", pretrained=True)
        raise BackboneError(f"timm has no weights {order.target!r}", nearest(order.target, known)) from error
    native = published.input_size[1]
    settings: dict[str, Any] = {"num_classes": 0} if order.feature == "pooled" else {}
    if published.fixed_input_size and order.image_size not in (None, native):
        settings["img_size"] = order.image_size
    settings.update(order.model_args)
    module = _build(order, lambda: timm.create_model(order.target, pretrained=order.pretrained, **settings))
    heads = published.classifier or ()
    prefixes = tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))
    return Network(
        module,
        image_size=native,
        mean=_three(published.mean),
        std=_three(published.std),
        licence=published.license or "unknown",
        is_head=lambda key: key.startswith(prefixes),
    )


def _three(numbers: Iterable[float]) -> tuple[float, float, float]:
    red, green, blue = numbers
    return float(red), float(green), float(blue)


def from_torchvision(order: Order) -> Network:
    """A classifier of torchvision, up to the features that enter its last layer."""
    from torchvision import models

    known = models.list_models(module=models)
    if order.target not in known:
        raise BackboneError(f"torchvision has no network {order.target!r}", nearest(order.target, known))
    if order.feature == "projected":
        raise BackboneError(f"torchvision's {order.target!r} has no projected features", "Ask for pooled ones.")
    weights = "DEFAULT" if order.pretrained else None
    module = _build(order, lambda: models.get_model(order.target, weights=weights, **order.model_args))
    whole = set(module.state_dict())
    _behead(module)
    head = whole - set(module.state_dict())
    return Network(module, image_size=224, is_head=lambda key: key in head)


def from_python(order: Order) -> Network:
    """Whatever module the function `package.module:function` returns, with the attribute `image_size` if it has one."""
    place, _, function_name = order.target.partition(":")
    try:
        function = getattr(importlib.import_module(place), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        message = f"can't import 'py:{order.target}': {error}"
        raise BackboneError(message, "Write py:package.module:function, and install the package.") from error
    try:
        with _seeded():
            module = function(**order.model_args)
    except Exception as error:  # the user's own code, which can raise anything
        message = f"'py:{order.target}' fails: {type(error).__name__}: {error}"
        raise BackboneError(message, "Check the function, and model_args.") from error
    if not isinstance(module, nn.Module):
        message = f"'py:{order.target}' returned a {type(module).__name__}"
        raise BackboneError(message, "It must return a torch.nn.Module.")
    return from_module(module)


def from_module(module: nn.Module) -> Network:
    """The module as it is, with its attribute `image_size` if it has one."""
    size = getattr(module, "image_size", None)
    return Network(module, image_size=size if isinstance(size, int) else None)


@contextmanager
def _seeded() -> Iterator[None]:
    """Random numbers from seed 0 on the CPU, without a trace in the global state."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        yield


def _build(order: Order, make: Callable[[], nn.Module]) -> nn.Module:
    try:
        with _seeded():
            return make()
    except TypeError as error:
        message = f"{order.target!r} can't be built with these arguments: {error}"
        raise BackboneError(message, "Check model_args, and the image size.") from error
    except Exception as error:  # each hub client has exceptions of its own
        if not order.pretrained:
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        message = f"can't download weights of {order.target!r}: {reason}"
        raise BackboneError(message, "Pass a file: --weights FILE.") from error


def _behead(module: nn.Module) -> None:
    for name in ("fc", "heads", "head"):
        if isinstance(getattr(module, name, None), nn.Module):
            setattr(module, name, nn.Identity())
            return
    last = module.classifier
    if not isinstance(last, nn.Sequential):
        module.classifier = nn.Identity()
    elif any(isinstance(layer, nn.Conv2d) for layer in last):  # SqueezeNet classifies pixels, and flattens afterwards
        module.classifier = nn.AdaptiveAvgPool2d(1)
    else:
        linear = max(place for place, layer in enumerate(last) if isinstance(layer, nn.Linear))
        module.classifier = last[:linear]
