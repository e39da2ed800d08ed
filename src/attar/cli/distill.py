"""`attar distill`: images in, a distilled set out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attar.cli.names import PRESETS, RECOVERY_PRESETS, offer, offer_methods
from attar.cli.options import (
    IMAGES,
    AllowDownload,
    BackboneNames,
    BackboneOptions,
    Classes,
    ClassNames,
    Device,
    Groups,
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
    bytes_of,
    chosen_classes,
    setting,
)

if TYPE_CHECKING:
    from attar.cli.recover import Recovery
    from attar.cli.select import Selection
    from attar.cli.synthesis import Synthesis
    from attar.progress import Progress

_SETTINGS = "Settings (later wins: preset, file, flags)"


def distill(
    images: Annotated[str, typer.Argument(help=IMAGES)],
    backbone: BackboneNames,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the distilled set; its run is kept in OUT.run.")],
    weights: Weights = None,
    ipc: Annotated[int | None, typer.Option(help="Images per class (1).", rich_help_panel=_SETTINGS)] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="sfm; sfm-sub: a sub-centre an image; its rivals lgm, clp, dm-mean, dm-batch; an objective of another "
            "package. From a file of attar squeeze: scdd, sre2l, cda. Or real images: random, centroids, neighbours, "
            "herding, kcenter, kmeans, rded (tiled crops), jpeg (as many as fit); or noise.",
            autocompletion=offer_methods,
            rich_help_panel=_SETTINGS,
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(help="For neighbours and jpeg: the distilled set to be like.", rich_help_panel=_SETTINGS),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="attar, fast, paper, or another of attar presets.",
            autocompletion=offer(*PRESETS, *RECOVERY_PRESETS),
            rich_help_panel=_SETTINGS,
        ),
    ] = "attar",
    settings: Annotated[Path | None, typer.Option(help="A TOML file of settings.", rich_help_panel=_SETTINGS)] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE for any setting, e.g. noise=0.5.", rich_help_panel=_SETTINGS),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the optimiser.", rich_help_panel=_SETTINGS)] = None,
    views: Annotated[int | None, typer.Option(help="Views of an image in a step.", rich_help_panel=_SETTINGS)] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", rich_help_panel=_SETTINGS)] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.", rich_help_panel=_SETTINGS)] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Make N sets, OUT-0 to OUT-(N-1), with consecutive seeds.")] = 1,
    normalise: Annotated[
        str | None, typer.Option(help="native or imagenet mean and std.", rich_help_panel=_SETTINGS)
    ] = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    key_map: KeyMap = None,
    model_arg: ModelArg = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    memory: Annotated[
        str | None, typer.Option(help="Budget for activations, e.g. 4GB.", rich_help_panel="Where to run")
    ] = None,
    chunk: Annotated[
        int | None, typer.Option(min=1, help="Views at a time (default: fitted).", rich_help_panel="Where to run")
    ] = None,
    class_names: ClassNames = None,
    classes: Classes = None,
    limit: Limit = None,
    groups: Groups = None,
    skip_corrupt: SkipCorrupt = False,
    allow_download: AllowDownload = False,
    tensorboard: Annotated[
        Path | None,
        typer.Option(help="Keep curves and pictures for TensorBoard, in a folder of the set's name in this one."),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Start afresh, also over another run.")] = False,
    json: Json = False,
) -> None:
    """Distil a labelled image dataset into a few synthetic images per class, or choose real ones to compare with.

    **attar distill photos/train --backbone vit_tiny_patch16_224 --out photos.attar**

    The same command again continues an interrupted run. Next: attar evaluate photos.attar --test photos/val ...
    On several GPUs: torchrun --nproc-per-node 8 -m attar distill ...
    """
    import shlex
    import sys

    import attar
    from attar.cli.recover import open_recovery
    from attar.cli.select import is_selection, open_selection
    from attar.cli.show import Shown, print_json, speaks
    from attar.cli.synthesis import open_synthesis
    from attar.compression.recovery_settings import is_recovery

    budget = bytes_of(memory)
    named = {
        "method": method,
        "ipc": ipc,
        "steps": steps,
        "views": views,
        "lr": lr,
        "seed": seed,
        "normalise": normalise,
    }
    flags = dict(setting(text) for text in set_ or []) | {k: v for k, v in named.items() if v is not None}
    given = {
        "--preset": None if preset == "attar" else preset,
        "--settings": settings,
        "--set": set_,
        "--steps": steps,
        "--views": views,
        "--lr": lr,
        "--weights": weights,
        "--image-size": image_size,
        "--mean": mean,
        "--std": std,
        "--key-map": key_map,
        "--model-arg": model_arg,
        "--memory": memory,
        "--chunk": chunk,
        "--groups": groups,
        "--like": like,
    }
    maker: Recovery | Selection | Synthesis
    if is_recovery(preset, settings, flags.get("method")):
        maker = open_recovery(preset, settings, flags, backbone, given)
    else:
        chosen = attar.choose_settings(preset, settings, **flags)
        described = BackboneOptions(backbone, weights, image_size, mean, std, key_map, model_arg, chosen.normalise)
        if is_selection(chosen.method):
            maker = open_selection(
                chosen.method, chosen.ipc, described, seed=seed or 0, seeds=seeds, like=like, given=given
            )
        else:
            maker = open_synthesis(
                chosen, described, preset=preset, like=like, groups=groups, memory=budget, chunk=chunk
            )
    source = attar.open(
        images,
        class_names=class_names,
        classes=chosen_classes(classes),
        limit=limit,
        groups=groups,
        skip_corrupt=skip_corrupt,
        allow_download=allow_download,
    )
    notes = list(maker.notes)
    if source.skipped:
        names = ", ".join(source.skipped[:5]) + (", ..." if len(source.skipped) > 5 else "")
        notes.append(f"Left out, because they can't be read: {len(source.skipped)} images ({names}).")
    made = []
    with Shown() as progress:
        for note in notes:
            progress.note(note)
        for number in range(seeds):
            target = out if seeds == 1 else Path(f"{out}-{number}")
            with _watched(progress, tensorboard, target) as watched:
                where = {"device": device, "precision": precision, "restart": restart, "progress": watched}
                made.append(maker.make(source, target, number, **where))
        for one in made:
            progress.note(
                f"{one.path}: {len(one)} images, {one.bytes:,} bytes{_quality(one.manifest.scores)}; "
                f"look at {one.path / 'preview.png'}"
            )
    if not speaks():
        return
    command = [*(str(one.path) for one in made), "--test", "TEST_IMAGES", *maker.words]
    command += ["--classes", classes] if classes else []
    command += ["--skip-corrupt"] if skip_corrupt else []
    command += [] if precision == "fp32" else ["--precision", precision]
    print(f"Next: attar evaluate {shlex.join(command)}", file=sys.stderr)  # unwrapped, to be copied
    if json:
        print_json({"sets": [{"path": str(one.path), **one.manifest.model_dump(exclude={"files"})} for one in made]})


@contextlib.contextmanager
def _watched(shown: Progress, folder: Path | None, target: Path) -> Iterator[Progress]:
    """The bars, with TensorBoard beside them where its folder is given."""
    from attar.cli.show import speaks
    from attar.progress import Together
    from attar.tensorboard import TensorBoard

    if folder is None or not speaks():
        yield shown
        return
    with TensorBoard(folder / target.name) as board:
        yield Together(shown, board)


def _quality(scores: Mapping[str, float]) -> str:
    """What there is to say of a finished set: its flow cosine, how far `jpeg` filled its bytes, or what a squeezed
    network makes of it."""
    if "cosine" in scores:
        return f", flow cosine to the class means {scores['cosine']:.3f} (worst class {scores['worst_class']:.3f})"
    if "jpeg_bytes" in scores:
        stored = f"{scores['jpeg_bytes']:,.0f} as JPEG at quality {scores['jpeg_quality']:.0f}"
        return f" ({stored} and {scores['jpeg_side']:.0f} pixels)"
    if "mismatch" in scores:
        return f", the squeezed network is right about {scores['right']:.1%} of them"
    return ""
