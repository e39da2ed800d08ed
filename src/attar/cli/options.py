"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from attar.errors import SettingsError

if TYPE_CHECKING:
    from attar.backbones import Backbone

_BACKBONE = "Backbone"
_WHERE = "Where to run"

BackboneName = Annotated[
    str,
    typer.Option(
        "--backbone",
        "-b",
        help="timm:NAME or NAME, torchvision:NAME, py:package.module:function.",
        rich_help_panel=_BACKBONE,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(help="A .safetensors or .pth file, or 'random'; default: the hub's.", rich_help_panel=_BACKBONE),
]
ImageSize = Annotated[int | None, typer.Option(help="Side of the backbone's input.", rich_help_panel=_BACKBONE)]
Mean = Annotated[str | None, typer.Option(help="Three numbers, e.g. .5,.5,.5.", rich_help_panel=_BACKBONE)]
Std = Annotated[str | None, typer.Option(help="Three numbers.", rich_help_panel=_BACKBONE)]
KeyMap = Annotated[
    list[str] | None,
    typer.Option(help="OLD=NEW: a prefix of the file's keys to replace; repeatable.", rich_help_panel=_BACKBONE),
]
ModelArg = Annotated[
    list[str] | None,
    typer.Option(help="NAME=VALUE passed to the model's constructor; repeatable.", rich_help_panel=_BACKBONE),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel=_WHERE)]
Precision = Annotated[str, typer.Option(help="fp32 or bf16 (the backbone alone).", rich_help_panel=_WHERE)]
ClassNames = Annotated[Path | None, typer.Option(help="JSON or text file of names for people, in class order.")]
SkipCorrupt = Annotated[bool, typer.Option("--skip-corrupt", help="Leave out images that can't be read.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; everything else on stderr.")]


def open_backbone(
    name: str,
    weights: str | None,
    image_size: int | None,
    mean: str | None,
    std: str | None,
    key_map: list[str] | None,
    model_arg: list[str] | None,
    normalise: str,
) -> Backbone:
    """The backbone that the options describe."""
    from attar.backbones import backbone

    return backbone(
        name,
        weights=weights,
        image_size=image_size,
        mean=_three(mean, "--mean"),
        std=_three(std, "--std"),
        normalise=cast(Literal["native", "imagenet"], normalise),  # backbone() refuses others
        key_map=dict(_pair(text, "--key-map") for text in key_map or []),
        model_args={key: _value(text) for key, text in (_pair(each, "--model-arg") for each in model_arg or [])},
    )


def backbone_options(
    name: str,
    weights: str | None,
    image_size: int | None,
    mean: str | None,
    std: str | None,
    key_map: list[str] | None,
    model_arg: list[str] | None,
    normalise: str,
) -> list[str]:
    """What `open_backbone` was given, as the arguments that say it again."""
    once = {"weights": weights, "image-size": image_size, "mean": mean, "std": std}
    once["normalise"] = None if normalise == "native" else normalise
    often = [("key-map", key_map or []), ("model-arg", model_arg or [])]
    pairs = [(option, value) for option, value in once.items() if value is not None]
    pairs += [(option, value) for option, values in often for value in values]
    return ["--backbone", name, *(part for option, value in pairs for part in (f"--{option}", str(value)))]


def _three(text: str | None, option: str) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        first, second, third = (float(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(f"{option} {text!r} is not three numbers.", f"{option} .5,.5,.5 for example.") from error
    return first, second, third


def _pair(text: str, option: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise SettingsError(f"{option} {text!r} has no '='.", f"Write {option} NAME=VALUE.")
    return key, value


def _value(text: str) -> object:
    """A number or true/false where the text is one, else the text."""
    import json

    try:
        return json.loads(text.lower())
    except json.JSONDecodeError:
        return text
