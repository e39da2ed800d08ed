"""Tiny images and networks that several tests use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from attar.backbones import Backbone
from attar.backbones.record import freeze
from attar.backbones.squeezed import SqueezeRecord
from attar.distilled import Manifest, Origin
from attar.images import ArraySource

CLASSES = ("ant", "bee", "cow")


def network() -> nn.Module:
    """A convolution, pooled to 2 x 2 places: 28 features of 8 x 8 pixels."""
    module = nn.Sequential(nn.Conv2d(3, 7, 3, stride=2), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    module.image_size = 8
    return module


def small_backbone(seed: int = 0) -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return freeze(network(), f"small-{seed}", image_size=8, mean=(0.5, 0.5, 0.5), std=(0.3, 0.3, 0.3))


def coloured(per_class: int, *, seed: int = 0, classes: tuple[str, ...] = CLASSES, grey: bool = False) -> ArraySource:
    """Noise of 9 x 11 pixels, in each class around a colour of its own (if grey: around a shade)."""
    shades = np.random.default_rng(99).uniform(60, 200, (len(classes), 1, 1, 1 if grey else 3))
    labels = np.tile(np.arange(len(classes)), per_class)
    noise = np.random.default_rng(seed).normal(0, 40, (len(labels), 9, 11, 1 if grey else 3))
    images = np.clip(shades[labels] + noise, 0, 255).astype(np.uint8)
    return ArraySource(images, labels, classes, location="coloured")


def write_folder(source: ArraySource, folder) -> None:
    """The source's images as PNG files in one folder a class."""
    for index, image in source.read(range(len(source))):
        file = folder / source.classes[source.labels[index]] / f"{index:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(file)


def save_npz(source: ArraySource, path: Path) -> Path:
    """The source's images in an .npz file."""
    images = np.stack([image for _, image in source.read(range(len(source)))])
    np.savez(path, images=images, labels=source.labels, names=np.array(source.classes))
    return path


def manifest(classes=CLASSES, titles=None, **changes) -> Manifest:
    """What a distilled set says of itself, before it is written."""
    values = {
        "attar_version": "0",
        "created": "2026-01-01T00:00:00+00:00",
        "method": "sfm",
        "classes": list(classes),
        "titles": list(titles or classes),
        "folders": [],
        "ipc": 2,
        "image_side": 7,
        "settings": {"steps": 3, "lr": 0.1, "flip": True, "none": None, "mean": [0.5]},
        "seeds": {"distill": 3407},
        "backbones": [Origin(name="small", fingerprint="f" * 64)],
        "data": Origin(name="pets", fingerprint="d" * 64),
        "train_images": 30,
        "scores": {"cosine": 0.5},
        "files": {},
    }
    return Manifest(**(values | changes))


def squeeze_record(classes=CLASSES, **changes) -> SqueezeRecord:
    """What a squeezed network for images of 8 pixels says of itself."""
    values = {
        "architecture": "convnet3",
        "stem": "native",
        "side": 8,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.3, 0.3, 0.3),
        "classes": tuple(classes),
        "titles": tuple(classes),
        "ssl": "none",
        "epochs": 1,
        "data": "coloured",
        "data_fingerprint": "d" * 64,
        "head": "trained",
        "held_out_accuracy": None,
        "attar_version": "0",
    }
    return SqueezeRecord(**(values | changes))
