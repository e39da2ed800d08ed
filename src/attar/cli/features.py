"""`attar features`: the one pass over the real images, ahead of a distillation or for its own sake."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attar.cli.names import PRESETS, offer
from attar.cli.options import (
    IMAGES,
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


def features(
    images: Annotated[str, typer.Argument(help=IMAGES)],
    backbone: BackboneNames,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the statistics there (.safetensors).")] = None,
    preset: Annotated[
        str, typer.Option(help="Whose views: attar, fast or paper.", autocompletion=offer(*PRESETS))
    ] = "attar",
    scatter: Annotated[str, typer.Option(help="Beside the means: none, pooled or class.")] = "none",
    weights: Weights = None,
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
    json: Json = False,
) -> None:
    """Compute the features of all images, keep them in the cache, and show their class statistics.

    **attar features photos/train --backbone vit_tiny_patch16_224 --out photos.safetensors**

    A distillation with the same preset and backbone finds its features there. A killed pass loses at most one shard,
    and several processes given the same command share the work, as do those of torchrun -m attar features ...
    """
    from typing import cast

    import attar
    from attar.cli.show import Shown, print_json, speaks
    from attar.errors import SettingsError
    from attar.features.statistics import Scatter

    if scatter not in ("none", "pooled", "class"):
        raise SettingsError(f"there is no scatter {scatter!r}", "use none, pooled or class")
    settings = attar.choose_settings(preset)
    described = BackboneOptions(backbone, weights, image_size, mean, std, key_map, model_arg, settings.normalise)
    if out is not None and len(backbone) > 1:
        raise SettingsError("--out holds the statistics of one backbone", "call once for each")
    networks = described.open()
    source = attar.open(
        images,
        classes=chosen_classes(classes),
        limit=limit,
        skip_corrupt=skip_corrupt,
        allow_download=allow_download,
    )
    told = []
    with Shown() as progress:
        for network in networks:
            statistics = attar.class_statistics(
                source,
                network,
                settings=settings,
                scatter=cast(Scatter, scatter),
                device=device,
                precision=precision,
                progress=progress,
            )
            if out is not None and speaks():
                statistics.save(out)
            about = {"images": len(source), "classes": len(source.classes), "dim": network.dim, **statistics.header}
            told.append({"backbone_name": network.name, **about})
            progress.note(
                f"{network.name}: {len(source):,} images of {len(source.classes)} classes, {network.dim} features each"
                + ("" if out is None else f"; statistics in {out}")
            )
    if json and speaks():
        print_json({"statistics": told})
