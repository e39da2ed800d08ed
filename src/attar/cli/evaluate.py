"""`attar evaluate`: what a distilled set is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attar.cli.names import BACKBONES, HARD_PROTOCOLS, NETWORKS, PROBES, SOFT_PROTOCOLS, offer
from attar.cli.options import (
    AllowDownload,
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
from attar.errors import EvaluationError

if TYPE_CHECKING:
    from attar.evaluation import Evaluation
    from attar.images import ImageSource

_STUDENTS = "Students"


def evaluate(
    sets: Annotated[list[Path], typer.Argument(help="Distilled sets; those that differ in seed alone make one row.")],
    test: Annotated[str, typer.Option(help="Test images, of any kind that `attar distill` reads.")],
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            "--backbone",
            "-b",
            help="As `attar distill` takes them; repeatable. Students alone need none.",
            autocompletion=offer(*BACKBONES),
            rich_help_panel="Backbone",
        ),
    ] = None,
    train: Annotated[
        str | None, typer.Option(help="Training images, for the rows to beat (default: where the set's run says).")
    ] = None,
    weights: Weights = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            "--protocol",
            "-p",
            help="Repeatable; by default probe-v1 and probe-v1/std. Others: probe-v1/centre, probe-v1/tuned, ridge-v1, "
            "knn-v1, lgm-probe, lgm-probe/bank64; with a classifier of all images inherited: inherit-ridge-v1, "
            "inherit-authors/bank20, kd/bank20, joint/bank20. Networks trained from scratch: hard- or soft- and one of "
            "minimax, fkd, kd-in1k, cda-in1k, scdd-in1k, sre2l-cifar, scdd-cifar, tiny, rded; /epochs=N shortens it.",
            autocompletion=offer(*PROBES, *SOFT_PROTOCOLS, *HARD_PROTOCOLS),
        ),
    ] = None,
    student: Annotated[
        list[str] | None,
        typer.Option(
            help="A network to train from scratch, repeatable: convnet3 to convnet6, resnetap10, cifar_resnet20, or "
            "any of timm (default: resnet18).",
            autocompletion=offer(*NETWORKS),
            rich_help_panel=_STUDENTS,
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="A file of `attar squeeze` that gives the soft labels.", rich_help_panel=_STUDENTS),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Students trained on each set (3).", rich_help_panel=_STUDENTS)
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
    groups: Annotated[
        str | None,
        typer.Option(help="FILE.csv[:COLUMN]: a group for each test image, for the worst group's accuracy."),
    ] = None,
    train_groups: Annotated[str | None, typer.Option(help="The same of the training images.")] = None,
    skip_corrupt: SkipCorrupt = False,
    allow_download: AllowDownload = False,
    drop_shared: Annotated[
        bool, typer.Option("--drop-shared", help="Leave out test images that are exact copies of training images.")
    ] = False,
    controls: Annotated[
        bool, typer.Option("--controls", help="Also JPEG files in the same bytes, noise and wrong labels.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for results.json, results.csv, a heat map a protocol, log.jsonl."),
    ] = None,
    json: Json = False,
) -> None:
    """Measure distilled sets beside real images, class means and the full data.

    **attar evaluate photos.attar --test photos/val --train photos/train --backbone vit_tiny_patch16_224**

    **attar evaluate photos.attar --test photos/val -p soft-rded --student resnet18 --teacher net.safetensors**

    With several backbones it prints a matrix. The same command again continues an interrupted one: no cell is computed
    twice.
    """
    import sys

    import attar
    from attar.cli.show import Shown, print_json, show_evaluation
    from attar.evaluation import protocol as known
    from attar.evaluation.student_protocols import is_student_protocol, student_protocol

    names = protocol or ["probe-v1", "probe-v1/std"]
    for name in names:
        student_protocol(name) if is_student_protocol(name) else known(name)
    if not any(map(is_student_protocol, names)):
        _refuse_unused(names, {"--student": student, "--teacher": teacher, "--seeds": seeds})
    opened = [attar.load(path) for path in sets]
    networks = BackboneOptions(backbone or [], weights, image_size, mean, std, key_map, model_arg, normalise).open()

    def reading(spec: str, chosen: list[str] | Path | None, **options: Any) -> ImageSource:
        return attar.open(spec, classes=chosen, skip_corrupt=skip_corrupt, allow_download=allow_download, **options)

    test_images = reading(test, chosen_classes(classes), groups=groups)
    train_images = None
    if train is not None:
        train_images = reading(train, chosen_classes(classes), limit=limit, groups=train_groups)
    elif (place := training_images(sets[0])) is not None:
        train_images = reading(place, list(opened[0].classes), limit=limit, groups=train_groups)
    with Shown() as progress:
        result = attar.evaluate(
            opened,
            test=test_images,
            train=train_images,
            backbone=networks,
            protocols=names,
            students=student or ["resnet18"],
            teacher=teacher,
            student_seeds=3 if seeds is None else seeds,
            controls=controls,
            device=device,
            precision=precision,
            drop_shared=drop_shared,
            log=None if out is None else out / "log.jsonl",
            progress=progress,
        )
    if out is not None:
        _write(result, out)
    if json:
        print_json(result.as_json())
        return
    show_evaluation(result)
    folder = str(opened[0].path / "images")
    look = f"look at {opened[0].path / 'preview.png'}, or train on it: torchvision.datasets.ImageFolder({folder!r})"
    sys.stdout.flush()
    print(f"Next: {look}", file=sys.stderr)


def _refuse_unused(protocols: Sequence[str], options: Mapping[str, object]) -> None:
    """EvaluationError where options of students were given (not None), and no protocol trains any."""
    given = [option for option, value in options.items() if value is not None]
    if given:
        verb = "takes" if len(protocols) == 1 else "take"
        raise EvaluationError(
            f"{', '.join(protocols)} {verb} no {', '.join(given)}",
            "Name a protocol that trains students, such as -p soft-rded, or leave that out.",
        )


def _write(result: Evaluation, out: Path) -> None:
    """The files of `--out`."""
    import json

    from attar.evaluation.matrix import as_csv, matrix
    from attar.files import safe_name, write_bytes, write_text
    from attar.report import heatmap

    write_text(out / "results.json", json.dumps(result.as_json(), indent=1))
    write_text(out / "results.csv", as_csv(result))
    for name in result.tables:
        write_bytes(out / f"matrix-{safe_name(name)}.png", heatmap(matrix(result, name)))


def training_images(path: Path) -> str | None:
    """What the run that made the set read its training images from, if that is still there."""
    from attar.distilled import open_manifest
    from attar.distilled.own_run import run_of

    run = run_of(open_manifest(path))
    place = None if run is None else run.place("train")
    if place is None:
        return None
    known = all(part.startswith(("digits", "hf:")) or _is_there(part) for part in place.split("+"))
    return place if known else None


def _is_there(part: str) -> bool:
    return Path(part).exists() or (part.endswith(".tar") and Path(part).parent.is_dir())
