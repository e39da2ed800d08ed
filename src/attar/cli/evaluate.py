"""`attar evaluate`: what a distilled set is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attar.cli.options import (
    AllowDownload,
    BackboneNames,
    BackboneOptions,
    Classes,
    Device,
    ImageSize,
    Json,
    KeyMap,
    Limit,
    Mean,
    ModelArg,
    Precision,
    SkipCorrupt,
    Std,
    Weights,
    chosen_classes,
)

if TYPE_CHECKING:
    from attar.images import ImageSource


def evaluate(
    sets: Annotated[list[Path], typer.Argument(help="Distilled sets; those that differ in seed alone make one row.")],
    test: Annotated[str, typer.Option(help="Test images, of any kind that `attar distill` reads.")],
    backbone: BackboneNames,
    train: Annotated[
        str | None, typer.Option(help="Training images, for the rows to beat (default: where the set's run says).")
    ] = None,
    weights: Weights = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option("--protocol", "-p", help="probe-v1, probe-v1/std, lgm-probe, lgm-probe/bank64; repeatable."),
    ] = None,
    normalise: Annotated[str, typer.Option(help="native or imagenet mean and std.")] = "native",
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    key_map: KeyMap = None,
    model_arg: ModelArg = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    classes: Classes = None,
    limit: Limit = None,
    skip_corrupt: SkipCorrupt = False,
    allow_download: AllowDownload = False,
    drop_shared: Annotated[
        bool, typer.Option("--drop-shared", help="Leave out test images that are exact copies of training images.")
    ] = False,
    json: Json = False,
) -> None:
    """Measure distilled sets beside real images, class means and the full data.

    **attar evaluate photos.attar --test photos/val --train photos/train --backbone vit_tiny_patch16_224**
    """
    import sys

    import attar
    from attar.cli.show import Shown, print_json, show_evaluation
    from attar.evaluation import protocol as known

    names = protocol or ["probe-v1", "probe-v1/std"]
    for name in names:
        known(name)
    opened = [attar.load(path) for path in sets]
    networks = BackboneOptions(backbone, weights, image_size, mean, std, key_map, model_arg, normalise).open()

    def reading(spec: str, chosen: list[str] | Path | None, limit: int | None = None) -> ImageSource:
        return attar.open(spec, classes=chosen, limit=limit, skip_corrupt=skip_corrupt, allow_download=allow_download)

    test_images = reading(test, chosen_classes(classes))
    train_images = None
    if train is not None:
        train_images = reading(train, chosen_classes(classes), limit)
    elif (place := _training_images(sets[0])) is not None:
        train_images = reading(place, list(opened[0].classes), limit)
    with Shown() as progress:
        results = [
            attar.evaluate(
                opened,
                test=test_images,
                train=train_images,
                backbone=network,
                protocols=names,
                device=device,
                precision=precision,
                drop_shared=drop_shared,
                progress=progress,
            )
            for network in networks
        ]
    if json:
        print_json(_together([result.as_json() for result in results]))
        return
    for result in results:
        show_evaluation(result)
    folder = str(sets[0] / "images")
    look = f"look at {sets[0] / 'preview.png'}, or train on it: torchvision.datasets.ImageFolder({folder!r})"
    sys.stdout.flush()
    print(f"Next: {look}", file=sys.stderr)


def _together(documents: list[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """The documents of several backbones as one: their lists, one after the other."""
    return {name: [entry for document in documents for entry in document[name]] for name in documents[0]}


def _training_images(path: Path) -> str | None:
    """What the set's run read its training images from, if that is still there."""
    from attar.run import Run

    place = Run.beside(path).place("train")
    if place is None:
        return None
    known = all(part.startswith(("digits", "hf:")) or _is_there(part) for part in place.split("+"))
    return place if known else None


def _is_there(part: str) -> bool:
    return Path(part).exists() or (part.endswith(".tar") and Path(part).parent.is_dir())
