"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from attar.cli.names import BACKBONES, DEVICES, offer
from attar.errors import SettingsError

if TYPE_CHECKING:
    from attar.backbones import Backbone

_BACKBONE = "Backbone"
_WHERE = "Where to run"
_IMAGES = "Images"
IMAGES = (
    "A folder of class folders (or with a labels.csv), tar shards 'train-{0..7}.tar', hf:NAME, an .npz, 'digits', or "
    "several joined by +."
)

BackboneNames = Annotated[
    list[str],
    typer.Option(
        "--backbone",
        "-b",
        help="A name of `attar backbones`, timm:NAME, torchvision:NAME, openclip:NAME/TAG, hf:ID, "
        "py:package.module:function, or a file of attar squeeze. Repeat it for several; options below are then given "
        "once for each, in order.",
        autocompletion=offer(*BACKBONES),
        rich_help_panel=_BACKBONE,
    ),
]
Weights = Annotated[
    list[str] | None,
    typer.Option(help="A .safetensors or .pth file, 'random', or 'hub' (the default).", rich_help_panel=_BACKBONE),
]
ImageSize = Annotated[list[int] | None, typer.Option(help="Side of the backbone's input.", rich_help_panel=_BACKBONE)]
Mean = Annotated[list[str] | None, typer.Option(help="Three numbers, e.g. .5,.5,.5.", rich_help_panel=_BACKBONE)]
Std = Annotated[list[str] | None, typer.Option(help="Three numbers.", rich_help_panel=_BACKBONE)]
KeyMap = Annotated[
    list[str] | None,
    typer.Option(help="OLD=NEW: a prefix of the file's keys to replace; repeatable.", rich_help_panel=_BACKBONE),
]
ModelArg = Annotated[
    list[str] | None,
    typer.Option(help="NAME=VALUE passed to the model's constructor; repeatable.", rich_help_panel=_BACKBONE),
]


def _known_device(name: str) -> str:
    """SettingsError for a device of another name, before images are read and weights fetched for it."""
    if name.partition(":")[0] not in DEVICES:
        raise SettingsError(f"device {name!r} can't be used here", "Use --device auto, cpu, cuda or mps.")
    return name


Device = Annotated[
    str,
    typer.Option(
        help="auto, cpu, cuda or mps.", autocompletion=offer(*DEVICES), callback=_known_device, rich_help_panel=_WHERE
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        help="fp32 or bf16 (the backbone alone).", autocompletion=offer("fp32", "bf16"), rich_help_panel=_WHERE
    ),
]
ClassNames = Annotated[
    Path | None,
    typer.Option(help="JSON or text file of names for people, in class order.", rich_help_panel=_IMAGES),
]
Classes = Annotated[
    str | None,
    typer.Option(
        help="Only these: names or titles A,B,..., a file with one a line, or by WordNet ids imagenet-100, "
        "imagenet-a to -e, imagenet-birds, -cats, -fruits, imagenette, imagewoof.",
        rich_help_panel=_IMAGES,
    ),
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="At most so many images of a class, drawn once.", rich_help_panel=_IMAGES)
]
Groups = Annotated[
    str | None,
    typer.Option(
        help="FILE.csv[:COLUMN]: a group for each image, for --set group_balanced=true --set target=means.",
        rich_help_panel=_IMAGES,
    ),
]
SkipCorrupt = Annotated[
    bool, typer.Option("--skip-corrupt", help="Leave out images that can't be read.", rich_help_panel=_IMAGES)
]
AllowDownload = Annotated[
    bool, typer.Option("--allow-download", help="Also fetch over 1 GB of images from the hub.", rich_help_panel=_IMAGES)
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; everything else on stderr.")]


@dataclass(frozen=True)
class BackboneOptions:
    """What was typed of one or several backbones."""

    names: list[str]
    weights: list[str] | None = None
    image_size: list[int] | None = None
    mean: list[str] | None = None
    std: list[str] | None = None
    key_map: list[str] | None = None
    model_arg: list[str] | None = None
    normalise: str = "native"

    def open(self) -> list[Backbone]:
        """The backbones, in the order of their names."""
        from attar.backbones import backbone

        if len(self.names) > 1 and (self.key_map or self.model_arg):
            raise SettingsError(
                "--key-map and --model-arg fit one backbone", "convert the file, or use attar.distill in Python"
            )
        return [
            backbone(
                name,
                weights=None if weights == "hub" else weights,
                image_size=image_size,
                mean=three(mean, "--mean"),
                std=three(std, "--std"),
                normalise=cast(Literal["native", "imagenet"], self.normalise),  # backbone() refuses others
                key_map=dict(pair(text, "--key-map") for text in self.key_map or []),
                model_args={key: value(text) for key, text in (pair(e, "--model-arg") for e in self.model_arg or [])},
            )
            for name, weights, image_size, mean, std in self._rows()
        ]

    def words(self, *, last: bool = False) -> list[str]:
        """The arguments that say the same again, of all backbones or of the last alone."""
        words = []
        for name, *values in self._rows()[-1:] if last else self._rows():
            options = zip(("--weights", "--image-size", "--mean", "--std"), values, strict=True)
            words += [
                "--backbone",
                name,
                *(str(part) for option in options if option[1] is not None for part in option),
            ]
        words += [] if self.normalise == "native" else ["--normalise", self.normalise]
        words += [part for text in self.key_map or [] for part in ("--key-map", text)]
        return words + [part for text in self.model_arg or [] for part in ("--model-arg", text)]

    def _rows(self) -> list[tuple[str, str | None, int | None, str | None, str | None]]:
        """(name, weights, image size, mean, std) of each backbone."""
        columns = [
            _for_each(values, len(self.names), option)
            for option, values in (
                ("--weights", self.weights),
                ("--image-size", self.image_size),
                ("--mean", self.mean),
                ("--std", self.std),
            )
        ]
        return list(zip(self.names, *columns, strict=True))


def chosen_classes(text: str | None) -> list[str] | Path | None:
    """What `--classes` says: a file where there is one, else names of classes or subsets between commas."""
    if text is None:
        return None
    return Path(text) if Path(text).is_file() else [name.strip() for name in text.split(",")]


def _for_each(values: Sequence[Any] | None, count: int, option: str) -> Sequence[Any]:
    if not values:
        return [None] * count
    if len(values) != count:
        raise SettingsError(
            f"{option} is given {len(values)} times for {count} backbones",
            "give it once for each, in their order (--weights hub stands for the hub's)",
        )
    return values


def three(text: str | None, option: str) -> tuple[float, float, float] | None:
    """'.5,.5,.5' as three numbers."""
    if text is None:
        return None
    try:
        first, second, third = (float(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(f"{option} {text!r} is not three numbers.", f"{option} .5,.5,.5 for example.") from error
    return first, second, third


def pair(text: str, option: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise SettingsError(f"{option} {text!r} has no '='.", f"Write {option} NAME=VALUE.")
    return key, value


def setting(text: str) -> tuple[str, object]:
    """'NAME=VALUE' of `--set`."""
    name, typed = pair(text, "--set")
    if name in ("preset", "file"):
        raise SettingsError(f"there is no setting {name!r}", "Use --preset NAME or --settings FILE.")
    return name, value(typed)


def bytes_of(text: str | None) -> int | None:
    """'4GB' or '500M' as a number of bytes."""
    if text is None:
        return None
    units = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
    body = text.lower().removesuffix("b").removesuffix("i")
    try:
        size = int(float(body[:-1]) * units[body[-1]]) if body[-1:] in units else int(body)
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise SettingsError(f"--memory {text!r} is not a size", "For example --memory 4GB.")
    return size


def value(text: str) -> object:
    """A number or true/false where the text is one, else the text."""
    import json

    try:
        return json.loads(text.lower())
    except json.JSONDecodeError:
        return text
