"""`attar evaluate`: what a distilled set is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attar.cli.options import (
    BackboneName,
    Device,
    ImageSize,
    Json,
    KeyMap,
    Mean,
    ModelArg,
    Precision,
    SkipCorrupt,
    Std,
    Weights,
    open_backbone,
)


def evaluate(
    sets: Annotated[list[Path], typer.Argument(help="Distilled sets; those that differ in seed alone make one row.")],
    test: Annotated[str, typer.Option(help="Test images: a folder of class folders, an .npz, 'digits:test', A+B.")],
    backbone: BackboneName,
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
    skip_corrupt: SkipCorrupt = False,
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
    network = open_backbone(backbone, weights, image_size, mean, std, key_map, model_arg, normalise)
    train = train or _training_images(sets[0])
    with Shown() as progress:
        result = attar.evaluate(
            opened,
            test=attar.open(test, skip_corrupt=skip_corrupt),
            train=attar.open(train, skip_corrupt=skip_corrupt) if train else None,
            backbone=network,
            protocols=names,
            device=device,
            precision=precision,
            drop_shared=drop_shared,
            progress=progress,
        )
    if json:
        print_json(result.as_json())
    else:
        show_evaluation(result)
        folder = str(sets[0] / "images")
        look = f"look at {sets[0] / 'preview.png'}, or train on it: torchvision.datasets.ImageFolder({folder!r})"
        sys.stdout.flush()
        print(f"Next: {look}", file=sys.stderr)


def _training_images(path: Path) -> str | None:
    """Where the set's run found its training images, if that is still there."""
    from attar.run import Run

    place = Run.beside(path).place("train")
    if place is None:
        return None
    there = place.startswith("digits") or all(Path(part).exists() for part in place.split("+"))
    return place if there else None
