"""Files that pages name and readers bring: distilled sets, checkpoints, captions, models of the hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import nn

import tiny_diffusion
from attar.backbones import cifar_resnet
from attar.backbones.architectures import make_classifier
from attar.backbones.squeezed import write_squeezed
from attar.diffusion import stock
from attar.distilled import write
from docs.sandbox import CLASSES, narrow_body, photos
from small import manifest, squeeze_record, write_folder

_DIGITS = tuple("0123456789")
_CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_DIT, _VAE = "facebook/DiT-XL-2-256", "stabilityai/sd-vae-ft-mse"
_SD, _CLIP = "stable-diffusion-v1-5/stable-diffusion-v1-5", "openai/clip-vit-base-patch32"
MODELS = {"refine": (_DIT, _VAE), "edits": (_SD, _CLIP)}
"""What a command opens where it names no model: folders of these names stand for the hub's."""


def supply(name: str, folder: Path) -> None:
    """Make what no command of the page has made, where the table below knows how."""
    if name in _MAKERS and not (folder / name).exists():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            _MAKERS[name](folder / name)


def _set(path: Path, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> None:
    images = np.random.default_rng(crc32(path.name.encode())).integers(0, 256, (len(classes), 3, 16, 16), np.uint8)
    record = manifest(classes, ipc=1, image_side=16, settings={"seed": seed}, seeds={"distill": seed})
    write(path, images, np.arange(len(classes)), manifest=record)


def _two_seeds(path: Path) -> None:
    """Two sets whose names fit the pattern."""
    for seed in range(2):
        _set(path.with_name(path.name.replace("?", str(seed)).replace("*", f"row-{seed}")), seed=seed)


def _squeezed(path: Path) -> None:
    network = _with_statistics(make_classifier("convnet3", len(CLASSES), side=16))
    write_squeezed(path, network, squeeze_record(CLASSES, side=16), frozenset())


def _with_statistics(network: Any) -> Any:
    """Its BatchNorm layers have seen noise."""
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.randn(8, 3, 16, 16))
    return network


def _moco(path: Path) -> None:
    """A checkpoint as MoCo v2's script writes it."""
    body = _with_statistics(narrow_body("resnet50")).state_dict()
    weights = {f"module.encoder_q.{key}": tensor for key, tensor in body.items()}
    torch.save({"epoch": 800, "arch": "resnet50", "state_dict": weights}, path)


def _weights(make: Callable[[], nn.Module]) -> Callable[[Path], None]:
    from safetensors.torch import save_file

    return lambda path: save_file(_with_statistics(make()).state_dict(), path)


def _dc(path: Path) -> None:
    """DC's file: repetitions of [images, labels], and accuracies."""
    images, labels = torch.randn(20, 3, 32, 32), torch.arange(10).repeat_interleave(2)
    torch.save({"data": [[images, labels]], "accs_all_exps": {"ConvNet": [0.4]}}, path)


def _arrays(per_class: int) -> Callable[[Path], None]:
    """CIFAR-10 in small: noise around a colour of each class."""

    def make(path: Path) -> None:
        labels = np.tile(np.arange(10), per_class)
        colours = np.random.default_rng(99).uniform(40, 215, (10, 3))[labels][:, None, None]
        noise = np.random.default_rng(per_class).normal(0, 20, (len(labels), 32, 32, 3))
        images = np.clip(colours + noise, 0, 255).astype(np.uint8)
        np.savez(path, images=images, labels=labels, names=np.array(_CIFAR))

    return make


def _captions(path: Path) -> None:
    """One for each photo."""
    images = sorted((path.parent / "photos/train").glob("*/*.png"))
    names = [f"{image.parent.name}/{image.name}" for image in images]
    lines = [json.dumps({"file_name": name, "text": f"a photo of a {name[:3]}"}) for name in names]
    path.write_text("\n".join(lines) + "\n")


def _model(make: Callable[[], Any]) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        with stock.quiet():
            make().save_pretrained(path)

    return save


def _dit(*names: str) -> Callable[[Path], None]:
    return _model(lambda: tiny_diffusion.dit_pipeline(dict(enumerate(names))))


def _clip(path: Path) -> None:
    with stock.quiet():
        tiny_diffusion.save_clip(path)


_MAKERS: dict[str, Callable[[Path], None]] = {
    "photos.attar": _set,
    "small.attar": _set,
    "fruit.attar": _set,
    "recovered.attar": _set,
    "photos-?": _two_seeds,
    "runs/transfer/*-0": _two_seeds,
    "runs/demo/digits-0.attar": lambda path: _set(path, _DIGITS),
    "net.safetensors": _squeezed,
    "OUT/simclr.safetensors": _squeezed,
    "OUT/supervised.safetensors": _squeezed,
    "moco_v2_800ep_pretrain.pth.tar": _moco,
    "cifar_resnet20.safetensors": _weights(cifar_resnet.resnet20),
    "cifar10/train.npz": _arrays(12),
    "cifar10/test.npz": _arrays(2),
    "DATA/imagewoof224/train": lambda path: write_folder(photos(12, seed=0), path),
    "DATA/imagewoof224/val": lambda path: write_folder(photos(7, seed=1), path),
    "res_DC_CIFAR10_ConvNet_10ipc.pt": _dc,
    "captions.jsonl": _captions,
    "tiny-dit": _dit(*CLASSES),
    "runs/tiny-digits": _dit(*_DIGITS),
    _DIT: _dit(*CLASSES),
    _VAE: _model(tiny_diffusion.vae),
    _SD: _model(tiny_diffusion.stable_diffusion),
    _CLIP: _clip,
}
