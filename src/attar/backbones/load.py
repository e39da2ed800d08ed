"""A backbone from its name: a library's, the hub's, attar's catalogue's, a function of the user's, or a module."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import nn

from attar.backbones.catalogue import ENTRIES, Entry
from attar.backbones.networks import MAKERS, Order, from_module
from attar.backbones.record import IMAGENET_MEAN, IMAGENET_STD, Backbone, freeze
from attar.backbones.squeezed import Squeezed
from attar.backbones.weights import fit_weights, one_tower, read_weights, rename_keys
from attar.errors import BackboneError

_NORMALISE = ("native", "imagenet")


def backbone(
    name: str | nn.Module,
    *,
    weights: str | Path | None = None,
    image_size: int | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    normalise: Literal["native", "imagenet"] = "native",
    key_map: Mapping[str, str] | None = None,
    model_args: Mapping[str, object] | None = None,
    feature: Literal["pooled", "projected"] | None = None,
) -> Backbone:
    """A frozen network, without its classifier, with its preprocessing.

    >>> backbone("dinov2_vits14").dim                                # a name of the catalogue; weights from the hub
    384
    >>> backbone("timm:resnet18.a1_in1k").dim                         # any network of timm, any of its weights
    512
    >>> backbone("resnet18", weights="simclr.safetensors", image_size=64).image_size       # weights of your own
    64
    >>> backbone("torchvision:squeezenet1_1").dim
    512
    >>> backbone("openclip:ViT-B-16/laion2b_s34b_b88k").feature       # pip install attar[clip]
    'projected'
    >>> backbone("hf:owner/repository", image_size=384)               # timm's layout; hf:FOLDER is one on the disk
    >>> backbone("hf:owner/repository:vit_base_patch16_224")          # weights alone, for that network of timm
    >>> backbone("cifar_resnet20", weights="cifar_resnet20.pth", key_map={"module.": ""})
    >>> backbone("py:mine.networks:small", image_size=48, model_args={"width": 32})
    >>> backbone("net.safetensors").image_size                        # what attar squeeze made
    32
    >>> backbone(torch.nn.Sequential(...), image_size=48)
    >>> backbone("dinov2_vits14", weights="random")(torch.rand(2, 3, 96, 96)).shape        # any size goes in
    torch.Size([2, 384])

    Arguments:

    - `name`: a name of attar's catalogue (`list_backbones()`), any other name (timm's), one with a prefix as above,
      the file of a squeezed network, or a module, which is copied.
    - `weights`: a `.safetensors`, `.pth`, `.pt` or `.bin` file; "random" for an untrained network (seed 0), to time
      and test with; None for the published weights, fetched once, or what a function or module brings.
    - `image_size`: side in pixels of what the network is fed; the network's own where None.
    - `mean`, `std`: per channel, of RGB in 0..1; those of `normalise` where None: the network's own or ImageNet's.
    - `key_map`: prefixes of names in the file, and what replaces them.
    - `model_args`: passed on to timm, torchvision, open_clip or the function.
    - `feature`: "pooled", or "projected" where the network has a projector; None for what the catalogue and open_clip
      give, else pooled. A function or a module does what it does: there it is only a label.

    Raises BackboneError where the name is unknown, where weights can't be had or don't fit, or where the network
    doesn't give finite features (n, dim) that depend on the image.
    """
    if normalise not in _NORMALISE:
        raise BackboneError(f"unknown normalise {normalise!r}", f"Choose one of {', '.join(_NORMALISE)}.")
    if image_size is not None and image_size < 1:
        raise BackboneError(f"images can't have a side of {image_size} pixels", "Pass an image_size of 1 or more.")
    entry = ENTRIES.get(name) if isinstance(name, str) else None
    if entry is not None and weights is None and entry.loader.startswith("py:"):
        raise BackboneError(f"no hub has weights for {name!r}", f"Pass a file, from {entry.source}: --weights FILE.")
    prefix, target = _loader(name, entry)
    label = _label(name, prefix)
    feature = _feature(label, prefix, entry, feature)
    if isinstance(name, nn.Module):
        network = from_module(copy.deepcopy(name))
    else:
        size = entry.image_size if entry is not None and image_size is None else image_size
        network = MAKERS[prefix](Order(target, size, weights is None, feature, model_args or {}))
    path = network.weights if weights is None else None if weights == "random" else Path(weights)
    if path is not None:
        content = one_tower(rename_keys(read_weights(path), key_map or {}), network.tower)
        fit_weights(network.module, content, name=label, path=path, is_head=network.is_head)
    about = entry or network
    native = (about.mean, about.std) if normalise == "native" else (IMAGENET_MEAN, IMAGENET_STD)
    return freeze(
        network.module,
        label,
        image_size=_size(label, about.image_size if image_size is None else image_size),
        mean=mean or native[0],
        std=std or native[1],
        feature=feature,
        licence=about.licence if weights is None or prefix == "py" else "unknown",
        normalise=normalise,
        made_by=_maker(prefix, model_args or {}),
        train_hashes=network.train_hashes if weights is None else frozenset(),
        architecture=network.architecture,
    )


def body_of(squeezed: Squeezed) -> Backbone:
    """The squeezed network without its head, as `backbone` opens its file: with the same fingerprint."""
    record = squeezed.record
    return freeze(
        copy.deepcopy(squeezed.network.body),
        Path(squeezed.name).name,
        image_size=record.side,
        mean=record.mean,
        std=record.std,
        made_by=_maker("squeezed", {}),
        train_hashes=squeezed.train_hashes,
        architecture=record.architecture,
    )


def _maker(prefix: str, model_args: Mapping[str, object]) -> str:
    """What decides the features beside weights and structure."""
    return f"{prefix} {sorted(model_args.items())}"


def _label(name: str | nn.Module, prefix: str) -> str:
    """What the record calls it: of a squeezed network the file, wherever it lies."""
    if isinstance(name, nn.Module):
        return type(name).__name__
    return Path(name).name if prefix == "squeezed" else name


def _loader(name: str | nn.Module, entry: Entry | None) -> tuple[str, str]:
    """Who builds the network, and under which name: ("timm", "resnet18")."""
    if isinstance(name, nn.Module):
        return "module", ""
    if name.endswith(".safetensors"):
        return "squeezed", name
    prefix, colon, target = (entry.loader if entry else name).partition(":")
    if not colon:
        prefix, target = "timm", name
    if prefix not in MAKERS:
        known = ", ".join(f"{known}:" for known in MAKERS if known != "squeezed")
        raise BackboneError(f"unknown prefix {prefix + ':'!r} in {name!r}", f"Known prefixes: {known}.")
    return prefix, target


def _feature(
    label: str, prefix: str, entry: Entry | None, asked: Literal["pooled", "projected"] | None
) -> Literal["pooled", "projected"]:
    given = entry.feature if entry is not None else "projected" if prefix == "openclip" else None
    if asked is not None and given is not None and asked != given:
        hint = f"{entry.loader!r} may have the other." if entry is not None else "timm has CLIP's networks too."
        raise BackboneError(f"{label!r} gives {given} features, not {asked} ones", hint)
    return asked or given or "pooled"


def _size(label: str, image_size: int | None) -> int:
    if image_size is None:
        raise BackboneError(
            f"{label!r} doesn't say which image size it wants", "Pass it in pixels: --image-size N (image_size=N)."
        )
    return image_size
