"""`attar report`: a page of HTML that shows distilled sets, runs and evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attar.cli.names import BACKBONES, offer
from attar.cli.options import (
    BackboneOptions,
    Device,
    ImageSize,
    Json,
    KeyMap,
    Mean,
    ModelArg,
    Std,
    Weights,
)

if TYPE_CHECKING:
    from attar.distilled import DistilledSet
    from attar.images import ImageSource


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="SET_OR_RUN...",
            help="Distilled sets (also hf:OWNER/NAME), runs, and folders of attar evaluate --out.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for index.html.")] = Path("report"),
    serve: Annotated[bool, typer.Option("--serve", help="Then show it on 127.0.0.1, until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="For --serve; 0 is any free one.")] = 8000,
    title: Annotated[str | None, typer.Option(help="Heading of the page (default: the sets' names).")] = None,
    train: Annotated[
        str | None,
        typer.Option(
            help="Training images, for the nearest of them and confidences (default: where the set's run says)."
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            "-b",
            help="In whose features images are compared and judged.",
            autocompletion=offer(*BACKBONES),
            rich_help_panel="Backbone",
        ),
    ] = None,
    weights: Weights = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    key_map: KeyMap = None,
    model_arg: ModelArg = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Write one HTML file that shows sets, how they were made and what they are worth, and opens without a network.

    **attar report photos.attar results --backbone vit_tiny_patch16_224 --out report**

    Several sets stand side by side. With a backbone each image also has its nearest training images and, view by view,
    the confidence of a probe on all training images.
    """
    import attar
    from attar.cli.show import Shown, print_json
    from attar.report.arguments import tell_apart

    given = tell_apart(paths)
    names = [] if backbone is None else [backbone]
    networks = BackboneOptions(names, weights, image_size, mean, std, key_map, model_arg).open()
    images = None if backbone is None and train is None else _training_images(train, given.sets)
    with Shown() as progress:
        page = attar.write_report(
            given.sets,
            given.runs,
            given.evaluations,
            out=out,
            train=images,
            backbone=networks[0] if networks else None,
            title=title,
            device=device,
            progress=progress,
        )
    counts = {"sets": len(given.sets), "runs": len(given.runs), "evaluations": len(given.evaluations)}
    if json:
        print_json({"report": {"path": str(page), "bytes": page.stat().st_size, **counts}})
    else:
        print(f"{page}: {page.stat().st_size:,} bytes; open it in a browser")
    if serve:
        _show(page, port)


def _training_images(train: str | None, sets: list[DistilledSet]) -> ImageSource | None:
    """The images given, or those that the first set's run tells of, of the sets' classes; None where there are none."""
    import attar
    from attar.cli.evaluate import training_images

    if not sets:
        return None
    place = training_images(sets[0].path) if train is None else train
    return None if place is None else attar.open(place, classes=list(sets[0].classes))


def _show(page: Path, port: int) -> None:
    import sys

    from attar.report.serve import serve

    serve(page, port=port, ready=lambda address: print(f"{address} (Ctrl-C ends)", file=sys.stderr, flush=True))
