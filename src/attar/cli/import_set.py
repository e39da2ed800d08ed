"""`attar import`: a distilled set that others published, as one of attar's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attar.cli.options import Json


def import_set(
    path: Annotated[Path, typer.Argument(metavar="FILE_OR_FOLDER", help="What was published.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The set to write.")],
    mean: Annotated[
        str | None, typer.Option(help="What images in 0..1 were normalised with, e.g. .49,.48,.45.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="Three numbers.")] = None,
    labels: Annotated[Path | None, typer.Option(help="The labels' file; default: the one beside images*.pt.")] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Names in label order: A,B,..., a file with one a line, or WordNet ids by imagenet-1k, imagenette, "
            "imagewoof, imagenet-birds and the like. Folders called so are found by name, numbered ones by number. "
            "Default: a folder's own, else 0,1,..."
        ),
    ] = None,
    index: Annotated[int, typer.Option(min=0, help="Which of several sets in one file.")] = 0,
    clip: Annotated[bool, typer.Option("--clip", help="Cut off what lies outside of 0..1.")] = False,
    method: Annotated[
        str, typer.Option(help="What made the set, for tables; attar push takes it for photos unless told.")
    ] = "imported",
    architecture: Annotated[
        str, typer.Option(metavar="NAME", help="The network it was distilled on, as students are called: convnet3.")
    ] = "",
    restart: Annotated[bool, typer.Option("--restart", help="Replace a set that is there.")] = False,
    json: Json = False,
) -> None:
    """Turn a published distilled set into one of attar's, to show, evaluate, audit or refine.

    **attar import res_DC_CIFAR10_ConvNet_10ipc.pt --mean .491,.482,.447 --std .202,.199,.201 --clip --out dc.attar**

    It takes a folder of class folders (SRe2L, RDED), a .pt file of DC, DSA, DM (all sets of an experiment in one) or
    MTT (images and labels in two), LGM's data.pth, and images with labels in a .pt, .pth, .safetensors or .npz file.
    Nothing in a file is run.
    """
    import shlex
    import sys

    import attar
    from attar.cli.options import chosen_classes, three
    from attar.cli.show import print_json

    made = attar.import_set(
        path,
        out,
        mean=three(mean, "--mean"),
        std=three(std, "--std"),
        labels=labels,
        classes=chosen_classes(classes),
        index=index,
        clip=clip,
        method=method,
        architecture=architecture,
        restart=restart,
    )
    side = made.manifest.image_side
    about = f"{len(made)} images of {len(made.classes)} classes, {side} x {side} pixels"
    if "clipped" in made.manifest.scores:
        print(f"Clipped: {made.manifest.scores['clipped']:.1%} of the numbers lay outside of 0..1.", file=sys.stderr)
    if classes is None and not path.is_dir():
        print(
            "Classes are called by their numbers; --classes names them, as test images and models do.", file=sys.stderr
        )
    print(f"{out}: {about}; look at {out / 'preview.png'}", file=sys.stderr)
    print(f"Next: attar evaluate {shlex.quote(str(out))} --test TEST_IMAGES --backbone NAME", file=sys.stderr)
    if json:
        print_json({"set": {"path": str(made.path), **made.manifest.model_dump(exclude={"files"})}})
