"""`attar audit`: copies of training images in a distilled set, and test images that leak."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attar.cli.names import BACKBONES, offer
from attar.cli.options import (
    AllowDownload,
    BackboneOptions,
    Device,
    ImageSize,
    Json,
    KeyMap,
    Limit,
    Mean,
    ModelArg,
    SkipCorrupt,
    Std,
    Weights,
)
from attar.errors import SettingsError

if TYPE_CHECKING:
    from rich.table import Table

    from attar.evaluation.audit import Audit
    from attar.images import ImageSource

_PAIRS = 10


def audit(
    distilled: Annotated[Path, typer.Argument(metavar="SET", help="A distilled set.")],
    train: Annotated[
        str | None, typer.Option(help="Training images (default: those of the set's run, where they are still there).")
    ] = None,
    test: Annotated[
        str | None, typer.Option(help="Test images: the scale for likeness, and searched for leaks.")
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            "--backbone",
            "-b",
            help="Also search by its features; repeatable, at best one that didn't distil the set.",
            autocompletion=offer(*BACKBONES),
            rich_help_panel="Backbone",
        ),
    ] = None,
    weights: Weights = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for audit.json and sheet.png (default: SET.audit).")
    ] = None,
    normalise: Annotated[str, typer.Option(help="native or imagenet mean and std.")] = "native",
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    key_map: KeyMap = None,
    model_arg: ModelArg = None,
    device: Device = "auto",
    limit: Limit = None,
    skip_corrupt: SkipCorrupt = False,
    allow_download: AllowDownload = False,
    json: Json = False,
) -> None:
    """Look for copies of training images in a distilled set, and for test images among the training images.

    **attar audit photos.attar --train photos/train --test photos/val --backbone mobilenetv2_100**

    Writes audit.json and a contact sheet of the nearest pairs. Copies are a finding, not an error: exit code 0.
    """
    import sys

    import attar
    from attar.cli.evaluate import training_images
    from attar.cli.show import Shown, print_json
    from attar.distilled import encode_png
    from attar.evaluation.audit import contact_sheet
    from attar.files import write_bytes, write_text

    place = train or training_images(distilled)
    made = attar.load(distilled)
    if place is None:
        raise SettingsError(f"{distilled} doesn't say where its training images are", "give them with --train")
    networks = BackboneOptions(backbone or [], weights, image_size, mean, std, key_map, model_arg, normalise).open()

    def reading(spec: str, limit: int | None = None) -> ImageSource:
        chosen = list(made.classes)
        return attar.open(spec, classes=chosen, limit=limit, skip_corrupt=skip_corrupt, allow_download=allow_download)

    train_images = reading(place, limit)
    test_images = None if test is None else reading(test)
    with Shown() as progress:
        done = attar.audit(
            made, train=train_images, test=test_images, backbones=networks, device=device, progress=progress
        )
    folder = out or Path(f"{distilled if distilled.is_dir() else made.path.name}.audit")  # of the hub's: here
    write_text(folder / "audit.json", _text(done))
    write_bytes(folder / "sheet.png", encode_png(contact_sheet(done, made, train_images)))
    if json:
        print_json(done.as_json())
    else:
        _show(done)
    sys.stdout.flush()
    print(f"Next: look at {folder / 'sheet.png'}; everything is in {folder / 'audit.json'}", file=sys.stderr)


def _text(done: Audit) -> str:
    import json

    return json.dumps(done.as_json(), indent=1)


def _show(done: Audit) -> None:
    """The searches, the nearest pairs and the verdict, on stdout."""
    from rich.console import Console

    from attar.evaluation.audit import NO_GUARANTEE
    from attar.evaluation.audit.sheet import verdict

    console = Console()
    console.print(_searches(done))
    nearest = [f"  {pair.name} = {pair.train_name}: {verdict(pair)}" for pair in done.pairs[:_PAIRS]]
    for text in ("Nearest pairs:", *nearest, *_findings(done), *done.remarks, NO_GUARANTEE):
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _searches(done: Audit) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from attar.evaluation.audit.record import quantiles

    title = f"{done.set}: {done.images} images searched for in {done.train_images:,} training images"
    table = Table(title=escape(title), title_justify="left", caption="likeness: median, 95 % quantile, largest")
    for heading in ("search", "flagged", "beyond real", "distilled", "held-out real"):
        table.add_column(heading, justify="left" if heading == "search" else "right")
    used = {True: " (distilled it)", False: " (impartial)", None: ""}
    for search in done.searches:
        likeness = [
            " ".join(f"{value:.2f}" for value in quantiles(scores).values()) for scores in (search.scores, search.null)
        ]
        name = f"{escape(search.name)}{used[search.distilled_through]}"
        table.add_row(name, str(int(search.flagged.sum())), str(search.beyond), *likeness)
    return table


def _findings(done: Audit) -> list[str]:
    """What must not be overlooked."""
    found = [f"Contains training images: yes, {done.real_images} by its own record."] if done.real_images else []
    copies = len(done.copies)
    found.append(
        f"COPIES FOUND: {copies} of {done.images} distilled images are near-copies of training images."
        if copies
        else f"No copies found among {done.images} distilled images."
    )
    if done.leaks is not None:
        found.append(
            f"LEAK: {len(done.leaks)} test images repeat training images, such as "
            f"{done.leaks[0].name} = {done.leaks[0].train_name}."
            if done.leaks
            else "No test image repeats a training image."
        )
    if done.test_copies:
        found.append(f"LEAK: {len(done.test_copies)} distilled images repeat test images.")
    found += [
        f"Membership by {each.backbone}: AUC {each.auc:.3f} ({each.low:.3f} to {each.high:.3f}); 0.5 is no signal."
        for each in done.memberships
    ]
    return found
