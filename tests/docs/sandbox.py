"""The world that the pages' commands find: photos, tiny networks under every name, runs of a few steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import attar
from attar.backbones import architectures, contrastive, load, networks
from attar.backbones.catalogue import ENTRIES
from attar.backbones.networks import Network, Order
from attar.compression import recover, squeeze
from attar.diffusion.edits import stages
from attar.errors import BackboneError
from attar.evaluation import probes
from attar.evaluation.student_protocols import StudentProtocol
from attar.images import ArraySource, DigitsSource
from attar.synthesis import distillation
from small import write_folder

CLASSES = ("cat", "dog", "owl")
_COLOURS = ((190, 90, 70), (80, 170, 90), (90, 90, 190))
_STEPS = 2
_FEWEST_EDITS = 4  # of which strength .7 leaves two


def furnish(folder: Path) -> None:
    """The photos that every page may name."""
    write_folder(photos(12, seed=0), folder / "photos/train")
    write_folder(photos(7, seed=1), folder / "photos/val")
    (folder / "new-photos").mkdir()
    for index, image in photos(2, seed=2).read(range(6)):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"new-photos/{index}.png")


def photos(per_class: int, *, seed: int) -> ArraySource:
    """Noise of 20 x 22 pixels around a colour of each class."""
    labels = np.tile(np.arange(3), per_class)
    noise = np.random.default_rng(seed).normal(0, 40, (len(labels), 20, 22, 3))
    images = np.clip(np.array(_COLOURS)[labels][:, None, None] + noise, 0, 255).astype(np.uint8)
    return ArraySource(images, labels, CLASSES, location="photos")


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Make networks tiny, runs short and the digits fewer, for the command line and Python alike."""
    own = networks.from_python
    patch.setitem(networks.MAKERS, "timm", _of_timm)
    patch.setitem(networks.MAKERS, "torchvision", _of_torchvision)
    patch.setitem(networks.MAKERS, "openclip", _tiny)
    patch.setitem(networks.MAKERS, "hf", _tiny)
    patch.setitem(networks.MAKERS, "py", lambda order: (_tiny if order.target.startswith("attar.") else own)(order))
    patch.setattr(architectures, "_of_timm", narrow_body)
    patch.setattr(load, "ENTRIES", {name: replace(entry, image_size=16) for name, entry in ENTRIES.items()})
    patch.setattr(load, "read_weights", lambda path: {})
    patch.setattr(load, "fit_weights", lambda *given, **options: None)
    patch.setattr("attar.images.specs.DigitsSource", lambda part: DigitsSource(part).subset(range(200)))
    _shorten_synthesis(patch)
    _shorten_training(patch)


def _of_timm(order: Order) -> Network:
    networks._published(order.target)  # refuses what timm doesn't have
    return _tiny(order)


def _of_torchvision(order: Order) -> Network:
    from torchvision import models

    if order.target not in models.list_models(module=models):
        raise BackboneError(f"torchvision has no network {order.target!r}", "Name one that it has.")
    return _tiny(order)


def _tiny(order: Order) -> Network:
    """32 features of a convolution that the name draws, of 16 pixels where nobody asks for more."""
    with torch.random.fork_rng():
        torch.manual_seed(crc32(order.target.encode()))
        module = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return Network(module, image_size=16, licence="Apache-2.0")


def narrow_body(name: str, stem: str = "native", norm: str = "batch") -> nn.Module:
    """A residual network of four blocks, for any name that timm has."""
    from timm.models.resnet import Bottleneck, ResNet

    del stem, norm
    networks._published(name)
    stages: dict[str, Any] = {"layers": (1, 1, 1, 1), "channels": (4, 4, 8, 8), "stem_width": 4}
    return ResNet(Bottleneck, num_classes=0, **stages)


def _shorten_synthesis(patch: pytest.MonkeyPatch) -> None:
    recover_all, draw_all = recover.recover, stages.edits

    def distilled(*given: Any, settings: Any = None, **options: Any) -> Any:
        settings = settings or attar.choose_settings()
        fewer = {"steps": min(settings.steps, _STEPS), "statistics_views": min(settings.statistics_views, 1)}
        return distillation.distill(*given, settings=settings.model_copy(update=fewer), **options)

    def recovered(*given: Any, settings: Any = None, **options: Any) -> Any:
        settings = settings or attar.choose_recovery()
        fewer = {"steps": min(settings.steps, _STEPS)}
        return recover_all(*given, settings=settings.model_copy(update=fewer), **options)

    def drawn(*given: Any, settings: Any = None, **options: Any) -> Any:
        settings = settings or attar.choose_edits()
        fewer = {"steps": min(settings.steps, _FEWEST_EDITS)}
        return draw_all(*given, settings=settings.model_copy(update=fewer), **options)

    patch.setattr("attar.synthesis.distill", distilled)
    patch.setattr(recover, "recover", recovered)
    patch.setattr(stages, "edits", drawn)


def _shorten_training(patch: pytest.MonkeyPatch) -> None:
    squeeze_all, schedule_all, train_all = squeeze.squeeze, StudentProtocol.schedule, probes.train

    def squeezed(source: Any, out: Any, settings: Any, **options: Any) -> Any:
        return squeeze_all(source, out, replace(settings, epochs=1), **options)

    def scheduled(self: StudentProtocol, *given: Any, **options: Any) -> Any:
        return replace(schedule_all(self, *given, **options), epochs=1, warm_up=0)

    def trained(*given: Any, epochs: int, **options: Any) -> Any:
        return train_all(*given, epochs=min(epochs, _STEPS), **options)

    def encoder(images: Any, **options: Any) -> Any:
        return contrastive.train_encoder(images[:64], **options | {"epochs": 1})

    patch.setattr(squeeze, "squeeze", squeezed)
    patch.setattr(StudentProtocol, "schedule", scheduled)
    patch.setattr("attar.evaluation.probes.train", trained)
    patch.setattr("attar.evaluation.inheritance.train", trained)
    patch.setattr("attar.backbones.train_encoder", encoder)
