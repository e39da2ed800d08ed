"""`attar export`: a classifier as an ONNX or .pt2 file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attar.cli.options import BackboneNames, BackboneOptions, ImageSize, KeyMap, Mean, ModelArg, Std, Weights
from attar.cli.predict import Head, open_classifier


def export(
    distilled: Annotated[Path, typer.Argument(metavar="SET", help="A distilled set.")],
    out: Annotated[Path, typer.Argument(help="model.onnx (needs attar[onnx]) or model.pt2 (torch.export).")],
    backbone: BackboneNames,
    protocol: Head = None,
    weights: Weights = None,
    normalise: Annotated[str, typer.Option(help="native or imagenet mean and std.")] = "native",
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    key_map: KeyMap = None,
    model_arg: ModelArg = None,
) -> None:
    """Write a classifier made from a distilled set as one file for other runtimes.

    **attar export photos.attar photos.onnx --backbone vit_tiny_patch16_224**

    Input: RGB in 0..1, float32 [n, 3, side, side]; output: logits. Class names, sizes and preprocessing are inside.
    """
    import sys

    import attar
    from attar.cli.show import Shown
    from attar.evaluation.export import check_format

    check_format(out)
    options = BackboneOptions(backbone, weights, image_size, mean, std, key_map, model_arg, normalise)
    with Shown() as progress:
        made = open_classifier(distilled, options, protocol, "cpu", "fp32", progress)
        attar.export(made, out)
    about = f"{len(made.classes)} classes, {made.protocol} on {made.backbone.name}"
    print(f"{out}: {out.stat().st_size:,} bytes, {about}", file=sys.stderr)
