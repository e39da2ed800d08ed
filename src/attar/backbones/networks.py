"""Networks without their classifier, from timm, torchvision, open_clip, the hub or a function of the user's."""

from __future__ import annotations

import difflib
import importlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from attar.backbones.architectures import make_classifier
from attar.backbones.catalogue import AMBIGUOUS, ENTRIES
from attar.backbones.hub import fetching
from attar.backbones.record import IMAGENET_MEAN, IMAGENET_STD
from attar.backbones.squeezed import read_squeezed
from attar.errors import BackboneError, nearest
from attar.hush import silence

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

HEADS = ("classifier.", "fc.", "head.", "heads.", "linear.")  # what classifiers are mostly called
_LISTED = 5


@dataclass(frozen=True)
class Order:
    """What to build: `target` is the name without its prefix."""

    target: str
    image_size: int | None
    """Side in pixels that the user or the catalogue asks for."""
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
    is_head: Callable[[str], bool] = lambda key: key.startswith(HEADS)
    """Whether a name of a weight belongs to the classifier that was left out, or to what only pretraining used."""
    weights: Path | None = None
    """Published weights that lie in a file, yet to be loaded; None where they are loaded, or weren't asked for."""
    train_hashes: frozenset[bytes] = frozenset()
    """First 8 bytes of the SHA-256 of the pixels of images that the weights were trained on, as far as is known."""
    architecture: str = ""
    """What `attar squeeze` calls it, where it made it."""
    tower: str = ""
    """What names of this network's weights start with in files that hold other networks too, such as `visual.`."""


def from_timm(order: Order) -> Network:
    """A network of timm; its head stays where the projected feature is asked for (CLIP's projector is its head)."""
    import timm

    published = _published(order.target)
    return _timm_network(order, published, partial(timm.create_model, order.target), {})


def from_hf(order: Order) -> Network:
    """A network of timm whose weights are in a repository of the Hugging Face hub, or in a folder laid out like one.

    The target is ID, where `config.json` names the network as timm writes it, or ID:NETWORK. Weights are read by attar
    rather than by timm, which leaves at random what a file lacks.
    """
    place, _, name = order.target.partition(":")
    is_folder = place != "" and Path(place).is_dir()
    if not is_folder and not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", place):
        message = f"'hf:{order.target}' names neither a folder nor a repository"
        raise BackboneError(message, "Write hf:OWNER/NAME or hf:FOLDER, and :NETWORK behind it where need be.")
    from timm.models import model_entrypoint

    arguments: Mapping[str, object] = {}
    if name:  # timm knows the network, but not how these weights were trained
        published = replace(_published(name), mean=IMAGENET_MEAN, std=IMAGENET_STD, license=None)
    else:
        name, published, arguments = _timm_config(place)
    # Not timm.create_model: one of its arguments is a file to load, and these may come from a stranger.
    create = partial(model_entrypoint(name), pretrained_cfg=published)
    network = _timm_network(replace(order, pretrained=False), published, create, arguments)
    file = _hub_file(place, "model.safetensors", "pytorch_model.bin") if order.pretrained else None
    return replace(network, weights=file)


def _published(name: str) -> PretrainedCfg:
    """What timm says about `name` and its weights."""
    import timm
    from timm.models import PretrainedCfg

    if not timm.is_model(name):
        raise BackboneError(f"timm has no network {name!r}", nearest_network(name))
    try:
        return timm.get_pretrained_cfg(name) or PretrainedCfg()
    except (RuntimeError, KeyError) as error:
        known = timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True)
        raise BackboneError(f"timm has no weights {name!r}", nearest(name, known)) from error


def nearest_network(name: str) -> str:
    """A hint: the networks of attar's catalogue and of timm that are called nearly so, or where names are listed."""
    import timm

    known = [*ENTRIES, *timm.list_models()]
    if name in AMBIGUOUS:
        return AMBIGUOUS[name]
    if difflib.get_close_matches(name, known, n=1, cutoff=0.5):
        return nearest(name, known)
    within = [each for each in known if name.lower() in each]
    if within:
        more = f" and {len(within) - _LISTED:,} more" if len(within) > _LISTED else ""
        return f"Names with {name!r} in them: {', '.join(within[:_LISTED])}{more}."
    return "`attar backbones` (attar.list_backbones()) lists attar's names, timm.list_models() timm's."


def _timm_network(
    order: Order, published: PretrainedCfg, create: Callable[..., nn.Module], arguments: Mapping[str, object]
) -> Network:
    native = published.input_size[1]
    settings: dict[str, Any] = {**arguments, **({"num_classes": 0} if order.feature == "pooled" else {})}
    if published.fixed_input_size and order.image_size not in (None, native):
        settings["img_size"] = order.image_size
    settings.update(order.model_args)
    with fetching(order.pretrained):
        module = _build(order, lambda fetch: create(pretrained=fetch, **settings))
    heads = published.classifier or ()
    prefixes = tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))
    return Network(
        module,
        image_size=native,
        mean=_three(published.mean),
        std=_three(published.std),
        licence=published.license or "unknown",
        is_head=lambda key: key.startswith(prefixes) or key == "mask_token",
    )


def _timm_config(place: str) -> tuple[str, PretrainedCfg, Mapping[str, object]]:
    """What `config.json` tells: the network's name, how its weights were trained, and its arguments."""
    from timm.models import PretrainedCfg, is_model

    try:
        content = json.loads(_hub_file(place, "config.json").read_text("utf-8"))
        about = {**content.get("pretrained_cfg", {}), **content}  # older files are flat
        known = {field.name: about[field.name] for field in fields(PretrainedCfg) if field.name in about}
        if not is_model(about["architecture"]):
            raise ValueError(f"{about['architecture']} isn't one of timm's networks")
        return about["architecture"], PretrainedCfg(**known), dict(about.get("model_args", {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"config.json of {place!r} isn't as timm writes it: {type(error).__name__}: {error}"
        raise BackboneError(message, f"Name the network: hf:{place}:vit_base_patch16_224, for example.") from error


def _hub_file(place: str, *names: str) -> Path:
    """The first of the files `names` that the folder or repository `place` holds."""
    if Path(place).is_dir():
        found = [path for name in names if (path := Path(place) / name).is_file()]
        if not found:
            raise BackboneError(
                f"folder {place!r} holds no {' or '.join(names)}",
                "A folder written by timm's save_for_hf has them all.",
            )
        return found[0]
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import EntryNotFoundError, LocalEntryNotFoundError

    repository, _, revision = place.partition("@")
    for name in names:
        try:
            with fetching():
                return Path(hf_hub_download(repository, name, revision=revision or None))
        except LocalEntryNotFoundError as error:  # offline
            raise _download_failed(place, error) from error
        except EntryNotFoundError:
            continue
        except Exception as error:  # the hub client's exceptions share no base
            raise _download_failed(place, error) from error
    raise BackboneError(f"repository {place!r} holds no {' or '.join(names)}", "Pass a file: --weights FILE.")


def from_openclip(order: Order) -> Network:
    """The image tower of one of open_clip's networks, with its projection; the target is NAME/TAG, or NAME.

    TAG says which weights are meant: they are fetched, or lie in a file. They decide the activation, and how pixels
    are normalised.
    """
    name, _, tag = order.target.partition("/")
    try:
        import open_clip
    except ImportError as error:
        message = f"'openclip:{order.target}' needs open_clip: {error}"
        raise BackboneError(message, "Install it: pip install attar[clip].") from error
    if name not in open_clip.list_models():
        raise BackboneError(f"open_clip has no network {name!r}", nearest(name, open_clip.list_models()))
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags and (tag or order.pretrained):
        fault = f"open_clip has no weights {tag!r} of {name!r}" if tag else f"'openclip:{name}' names no weights"
        raise BackboneError(fault, nearest(f"{name}/{tag}", [f"{name}/{known}" for known in tags]))
    published = open_clip.get_pretrained_cfg(name, tag) if tag else {}
    settings = {
        "pretrained_text": False,
        "force_image_size": order.image_size,
        "force_quick_gelu": published.get("quick_gelu", False),
        **order.model_args,
    }
    with silence(), fetching(order.pretrained):  # it warns of random weights where attar's own reader fills them
        tower = _build(order, lambda fetch: open_clip.create_model(name, tag if fetch else None, **settings).visual)
    size: Any = tower.image_size
    return Network(
        tower,
        image_size=size if isinstance(size, int) else size[0],
        mean=_three(published.get("mean", open_clip.OPENAI_DATASET_MEAN)),
        std=_three(published.get("std", open_clip.OPENAI_DATASET_STD)),
        tower="visual.",
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
    module = _build(
        order, lambda fetch: models.get_model(order.target, weights="DEFAULT" if fetch else None, **order.model_args)
    )
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


def from_squeezed(order: Order) -> Network:
    """The body of the squeezed network in the file `target`, without its head."""
    squeezed = read_squeezed(order.target)
    record, body = squeezed.record, squeezed.network.body
    if not order.pretrained:
        classes = len(record.classes)
        body = make_classifier(record.architecture, classes, side=record.side, stem=record.stem, norm=record.norm).body
    known = squeezed.train_hashes if order.pretrained else frozenset()
    about: dict[str, Any] = {"mean": record.mean, "std": record.std, "architecture": record.architecture}
    return Network(body, image_size=record.side, train_hashes=known, **about)


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


def _build(order: Order, make: Callable[[bool], nn.Module]) -> nn.Module:
    """What `make` gives, told whether to fetch published weights."""
    try:
        with _seeded():
            return make(order.pretrained)
    except Exception as error:  # libraries and hub clients raise anything, assertions included
        if not order.pretrained:
            message = f"{order.target!r} can't be built with these arguments: {_reason(error)}"
            raise BackboneError(message, "Check model_args, and the image size.") from error
        _build(replace(order, pretrained=False), make)  # refused here where the weights aren't what is wrong
        if order.model_args and not isinstance(error, OSError):
            message = f"the published weights of {order.target!r} don't fit these arguments: {_reason(error)}"
            raise BackboneError(message, "Check model_args, or pass a file: --weights FILE.") from error
        raise _download_failed(order.target, error) from error


def _download_failed(target: str, error: Exception) -> BackboneError:
    return BackboneError(f"can't download weights of {target!r}: {_reason(error)}", "Pass a file: --weights FILE.")


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


MAKERS = {
    "timm": from_timm,
    "torchvision": from_torchvision,
    "openclip": from_openclip,
    "hf": from_hf,
    "py": from_python,
    "squeezed": from_squeezed,
}
"""By the prefix of a name."""


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
