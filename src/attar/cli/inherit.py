"""`attar inherit`: a classifier of all training images, put into a distilled set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attar.cli.options import (
    AllowDownload,
    BackboneNames,
    BackboneOptions,
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
)


def inherit(
    distilled: Annotated[Path, typer.Argument(metavar="SET", help="A distilled set; heads are written into it.")],
    backbone: BackboneNames,
    train: Annotated[str | None, typer.Option(help="The training images (default: where the set's run says).")] = None,
    weights: Weights = None,
    normalise: Annotated[str, typer.Option(help="native or imagenet mean and std.")] = "native",
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    key_map: KeyMap = None,
    model_arg: ModelArg = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    limit: Limit = None,
    skip_corrupt: SkipCorrupt = False,
    allow_download: AllowDownload = False,
    json: Json = False,
) -> None:
    """Put a classifier of all training images into a distilled set, for `attar predict` and `attar export`.

    **attar inherit photos.attar --train photos/train --backbone vit_tiny_patch16_224 --backbone mobilenetv2_100**

    On the backbone that the set was distilled on it is trained on the real images' features; to other backbones it is
    carried over through the distilled images.
    """
    import shlex

    import attar
    from attar.cli.evaluate import training_images
    from attar.cli.show import Shown, print_json
    from attar.errors import ArtefactError, SettingsError

    made = attar.load(distilled)
    if not distilled.is_dir():
        message = f"{distilled} lies on the hub, and a classifier is written into the set"
        raise ArtefactError(message, f"Copy it first: cp -r {shlex.quote(str(made.path))} {distilled.name}.attar")
    place = train or training_images(distilled)
    if place is None:
        raise SettingsError(f"{distilled} doesn't say where its training images are", "name them by --train")
    options = BackboneOptions(backbone, weights, image_size, mean, std, key_map, model_arg, normalise)
    networks = options.open()
    source = attar.open(
        place,
        classes=None if train else list(made.classes),
        limit=limit,
        skip_corrupt=skip_corrupt,
        allow_download=allow_download,
    )
    with Shown() as progress:
        made = attar.inherit(
            made, train=source, backbones=networks, device=device, precision=precision, progress=progress
        )
    if json:
        print_json(
            {
                "heads": [
                    {
                        "backbone": head.backbone,
                        "protocol": head.protocol,
                        "teacher": head.teacher,
                        "held_out": head.accuracy,
                    }
                    for head in made.heads
                ],
                "parts": made.parts,
            }
        )
        return
    for head in made.heads:
        known = "" if head.accuracy is None else f", {head.accuracy:.1f} % of held-out training images right"
        taught = "" if head.teacher is None else f" from {head.teacher}"
        print(f"{head.backbone}: {head.protocol}{taught}{known}")
    print(f"{made.path}/heads: {made.parts.get('heads', 0):,} bytes beside {made.parts['images']:,} of images")
    print(f"Next: attar predict {shlex.join([str(made.path), 'PHOTOS', *options.words(last=True)])}")
