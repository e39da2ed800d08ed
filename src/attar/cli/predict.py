"""`attar predict`: classes and probabilities of photos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attar.cli.names import offer
from attar.cli.options import (
    BackboneNames,
    BackboneOptions,
    Device,
    ImageSize,
    KeyMap,
    Mean,
    ModelArg,
    Precision,
    SkipCorrupt,
    Std,
    Weights,
)
from attar.errors import SettingsError

if TYPE_CHECKING:
    from attar.evaluation.classifier import Classifier
    from attar.evaluation.predict import Prediction
    from attar.progress import Progress

Head = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        "-p",
        help="full or inherit-ridge-v1 (heads that the set carries), probe-v1 or probe-v1/std (fitted on its images). "
        "Default: the set's head for this backbone, else probe-v1.",
        autocompletion=offer("full", "inherit-ridge-v1", "probe-v1", "probe-v1/std"),
    ),
]


def predict(
    distilled: Annotated[Path, typer.Argument(metavar="SET", help="A distilled set.")],
    photos: Annotated[list[str], typer.Argument(help="Photos, folders of them, or patterns 'a/**/*.jpg'.")],
    backbone: BackboneNames,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A .csv or .jsonl file (default: CSV on stdout).")
    ] = None,
    unknown: Annotated[
        float,
        typer.Option(
            help="Below this probability the class is 'unknown': 0.5 with a head of `attar inherit`, less without one, "
            "as probes on distilled images are cautious (of ten classes 0.25)."
        ),
    ] = 0.0,
    protocol: Head = None,
    weights: Weights = None,
    normalise: Annotated[str, typer.Option(help="native or imagenet mean and std.")] = "native",
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    key_map: KeyMap = None,
    model_arg: ModelArg = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    skip_corrupt: SkipCorrupt = False,
) -> None:
    """Classify photos by a distilled set: no training data needed.

    **attar predict photos.attar new-photos/ --backbone vit_tiny_patch16_224 --out predictions.csv**

    Probabilities fit held-out photos where the set has a head for the backbone (`attar inherit`); else they only
    compare within one file.
    """
    import sys
    import time

    import attar
    from attar.cli.show import Shown
    from attar.evaluation.predict import FORMATS, as_lines, write_lines
    from attar.images.photos import find_photos

    form = ".csv" if out is None else out.suffix.lower()
    if form not in FORMATS:
        raise SettingsError(f"{out} ends in neither .csv nor .jsonl", "name a file such as predictions.csv")
    files = find_photos(photos)
    options = BackboneOptions(backbone, weights, image_size, mean, std, key_map, model_arg, normalise)
    counts: dict[str, int] = {}
    with Shown() as progress:
        made = open_classifier(distilled, options, protocol, device, precision, progress)
        results = attar.predict(made, files, unknown=unknown, skip_corrupt=skip_corrupt, progress=progress)
        lines = as_lines(_counted(results, counts), form)
        started = time.monotonic()
        if out is None:
            for line in lines:
                print(line, flush=True)
        else:
            write_lines(out, lines)
        rate = len(files) / (time.monotonic() - started)
    told = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    place = "" if out is None else f" in {out}"
    print(f"{told}{place}; {made.protocol} on {made.backbone.name}, {rate:,.1f} photos a second", file=sys.stderr)


def open_classifier(
    distilled: Path, options: BackboneOptions, protocol: str | None, device: str, precision: str, progress: Progress
) -> Classifier:
    """The classifier that the options describe; SettingsError for several backbones."""
    import attar

    if len(options.names) > 1:
        raise SettingsError(
            f"{len(options.names)} backbones are given", "give one: a classifier stands on one backbone"
        )
    opened = attar.load(distilled)
    (network,) = options.open()
    return attar.classifier(opened, network, protocol=protocol, device=device, precision=precision, progress=progress)


def _counted(predictions: Iterator[Prediction], counts: dict[str, int]) -> Iterator[Prediction]:
    """`predictions` as they come, counted by what became of them."""
    from attar.evaluation.predict import UNKNOWN

    for each in predictions:
        kind = "unreadable" if each.error is not None else UNKNOWN if each.label == UNKNOWN else "classified"
        counts[kind] = counts.get(kind, 0) + 1
        yield each
