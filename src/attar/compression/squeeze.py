"""Squeeze: a network with BatchNorm learns the images, with labels or without; then comes a linear head (scdd.md 2)."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from torch import nn

from attar.backbones.architectures import SMALL_SIDE, Stem, default_stem, make_classifier
from attar.backbones.networks import HEADS
from attar.backbones.record import IMAGENET_MEAN, IMAGENET_STD
from attar.backbones.squeezed import Squeezed, SqueezeRecord, Squeezing, is_squeezed, read_squeezed, write_squeezed
from attar.backbones.weights import fit_weights, read_weights
from attar.compression.align import align
from attar.compression.batch_norm import norm_layers, norm_modules
from attar.compression.checkpoints import body_weights
from attar.compression.pretraining import Pixels, pretrain
from attar.compression.squeeze_settings import SqueezeSettings
from attar.devices import keep_freed_memory, pick_device, pick_dtype
from attar.errors import SettingsError, expect
from attar.files import sha256
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress
from attar.run import Run, Value
from attar.synthesis.distillation import data_name


def squeeze(
    source: ImageSource,
    out: str | Path,
    settings: SqueezeSettings,
    *,
    weights: str | Path | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    device: str = "auto",
    precision: str = "fp32",
    restart: bool = False,
    progress: Progress = SILENT,
) -> Squeezed:
    """Train `settings.arch` on `source`, or take its body from the checkpoint `weights`, and write it to `out`.

    A supervised network (`ssl` "none") keeps the head it was trained with; the others get one by softmax regression on
    their frozen features. A tenth of the epochs apart the log gets an accuracy on one in twenty of the images: their
    labels are fitted by nothing, and choose the penalty of a head that is fitted afterwards. `mean` and `std` default
    to ImageNet's, but for a checkpoint that nobody knows them of. `precision` "bf16" trains under autocast. The run in
    `<out>.run` continues where it was interrupted.

    Raises BackboneError where the network has no BatchNorm, or the checkpoint is of another layout; SettingsError where
    the images don't fit into memory, or a run with other settings is in the way and `restart` is not set.

    >>> import attar
    >>> flowers = attar.open("flowers/train")                                               # doctest: +SKIP
    >>> attar.squeeze(flowers, "net.safetensors", SqueezeSettings("resnet18", "simclr"))    # doctest: +SKIP
    """
    expect(source, ImageSource, "source")
    expect(settings, SqueezeSettings, "settings")
    out = Path(out)
    side = settings.side or _usual_side(source)
    stem = cast(Stem, settings.stem or ("native" if weights else default_stem(settings.arch, side)))
    _check(source, out, settings, weights)
    pick_dtype(precision)
    keep_freed_memory()
    place = pick_device(device)
    network = make_classifier(settings.arch, len(source.classes), side=side, stem=stem, seed=settings.seed)
    norm_modules(network.body)  # refuses what has none
    run = Run.beside(out)
    with run.alone():
        layout = None if weights is None else _import(network.body, settings.arch, Path(weights))
        pixels = _preprocessing(layout, mean, std, published=layout is None or (side > SMALL_SIDE and stem == "native"))
        identity = _identity(settings, source, side, stem, weights, pixels, precision)
        if not restart and (finished := _finished(out, identity)) is not None:
            progress.note(f"{out} is finished; nothing to do.")
            return finished
        run = Run.begin(out, identity, restart=restart)
        run.note_place(process=str(os.getpid()))
        network.to(place)
        head = None
        if weights is None:
            head = pretrain(network, source, settings, side, pixels, run, place, precision, progress)
        network.eval().requires_grad_(False)
        norm_layers(network.body)
        if head is None:
            head = align(
                network.body, source, side=side, mean=pixels[0], std=pixels[1], device=place, progress=progress
            )
            head.put_into(network.head)
        record = SqueezeRecord(
            architecture=settings.arch,
            stem=stem,
            side=side,
            mean=pixels[0],
            std=pixels[1],
            classes=source.classes,
            titles=source.titles,
            ssl=cast(Squeezing, settings.ssl if weights is None else "imported"),
            epochs=0 if weights else settings.epochs,
            settings={**identity, "layout": layout},
            data=data_name(source.location),
            data_fingerprint=source.fingerprint,
            head="trained" if weights is None and settings.ssl == "none" else f"softmax regression, {head.penalty:g}",
            held_out_accuracy=head.accuracy,
            attar_version=version("attar"),
        )
        return write_squeezed(out, network.cpu(), record, frozenset(source.hashes()))


def _check(source: ImageSource, out: Path, settings: SqueezeSettings, weights: str | Path | None) -> None:
    if len(source.classes) < 2 or int(source.counts.min()) < 2:
        raise SettingsError("squeezing needs two classes of two images each", "give a folder with a subfolder a class")
    if out.suffix != ".safetensors":
        raise SettingsError(f"{out} should end in .safetensors", "name a file such as net.safetensors")
    if out.exists() and not is_squeezed(out):
        raise SettingsError(f"{out} exists and is no squeezed network", "choose another --out")
    if weights is not None and settings.ssl != "none":
        raise SettingsError("--ssl trains a network, and --weights brings a trained one", "leave one of them out")


def _usual_side(source: ImageSource) -> int:
    """The side of small images; 224 pixels for others."""
    _, first = next(iter(source.read([0])))
    side = min(first.shape[1:])
    return side if side <= SMALL_SIDE else 224


def _import(body: nn.Module, arch: str, weights: Path) -> str:
    """Fill `body` from the checkpoint; the name of its layout."""
    layout, found = body_weights(read_weights(weights))
    fit_weights(body, found, name=arch, path=weights, is_head=lambda key: key.startswith(HEADS))
    for name, part in norm_modules(body).items():
        if f"{name}.num_batches_tracked" not in found and part.num_batches_tracked is not None:
            part.num_batches_tracked.fill_(1)  # many files lack the counters; the statistics are there
    return layout


def _preprocessing(
    layout: str | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    *,
    published: bool,
) -> Pixels:
    """What is given, else ImageNet's: for training, and for `published` sizes of self-supervised checkpoints."""
    if (mean is None) != (std is None):
        raise SettingsError("mean and std go together", "give both, or neither")
    if mean is not None and std is not None:
        if not all(map(math.isfinite, mean)) or not all(0 < value < math.inf for value in std):
            message = f"mean {mean} and std {std} can't be right"
            raise SettingsError(message, "give those of RGB in 0..1, with a std above 0")
        return mean, std
    if layout == "plain" or not published:
        message = "this checkpoint doesn't say which mean and std its images had"
        imagenet = f"--mean {_words(IMAGENET_MEAN)} --std {_words(IMAGENET_STD)}"
        raise SettingsError(
            message,
            f"give both: ImageNet's are {imagenet}, and of CIFAR's there are several, so look in its training code",
        )
    return IMAGENET_MEAN, IMAGENET_STD


def _words(values: tuple[float, float, float]) -> str:
    return ",".join(f"{value:g}" for value in values)


def _identity(
    settings: SqueezeSettings,
    source: ImageSource,
    side: int,
    stem: Stem,
    weights: str | Path | None,
    pixels: Pixels,
    precision: str,
) -> dict[str, Any]:
    trained: dict[str, Value] = {"ssl": settings.ssl, "seed": settings.seed, "precision": precision}
    trained |= {"epochs": settings.epochs, **vars(settings.course(len(source)))}
    own = {"weights_sha256": sha256(Path(weights))} if weights is not None else trained
    return {
        "arch": settings.arch,
        "side": side,
        "stem": stem,
        **own,
        "pixels": " ".join(f"{value:g}" for part in pixels for value in part),
        "data_fingerprint": source.fingerprint,
    }


def _finished(out: Path, identity: Mapping[str, Value]) -> Squeezed | None:
    """The network at `out` where it is what is asked for; SettingsError where another one is."""
    if not out.exists():
        return None
    found = read_squeezed(out)
    known = {name: value for name, value in found.record.settings.items() if name != "layout"}
    if known != dict(identity):
        differing = sorted(name for name in known.keys() | identity.keys() if known.get(name) != identity.get(name))
        changes = ", ".join(f"{name} {known.get(name)!r} -> {identity.get(name)!r}" for name in differing)
        raise SettingsError(f"{out} was squeezed otherwise: {changes}", "use --restart, or another --out")
    return found
