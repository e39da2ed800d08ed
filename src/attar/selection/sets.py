"""From images and a backbone to a set of chosen real images, written as a distilled set."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import attar.distilled as distilled
from attar.backbones.record import Backbone
from attar.devices import keep_freed_memory, pick_device, pick_dtype
from attar.distilled import DistilledSet, Manifest, Origin
from attar.errors import SettingsError, expect, nearest
from attar.files import digest
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress
from attar.run import Run, Value
from attar.selection.methods import LIKE_A_SET, SELECTIONS, Task
from attar.synthesis.distillation import data_name, found_again, origin_of, refuse_other_set


def select(
    source: ImageSource,
    backbone: Backbone,
    out: str | Path,
    *,
    method: str,
    ipc: int = 1,
    seed: int = 0,
    like: DistilledSet | None = None,
    device: str = "auto",
    precision: str = "fp32",
    restart: bool = False,
    progress: Progress = SILENT,
) -> DistilledSet:
    """Choose real images of `source` by their features on `backbone`, and write them as a distilled set at `out`.

    random       `ipc` images a class, drawn by `seed`
    centroids    those nearest to the class mean
    neighbours   for each image of the distilled set `like` the most similar one of its class
    herding      those whose mean stays nearest to the class mean
    kcenter      those that leave no image of the class far from all of them
    kmeans       those nearest to k-means centres, weighted by the size of the clusters
    rded         tiles of the crops that a probe trained on all images finds easiest
    jpeg         as many random images as fit, stored as JPEG files, into the bytes of `like`
    noise        random pixels, a control: no image at all

    They are what a distilled set must beat (baselines.md 2, 3, 7). `neighbours` and `jpeg` take their number from
    `like`, not from `ipc`. A finished set with the same settings is returned as it is. Raises SettingsError where a
    set or a run with other settings is in the way and `restart` is not set, and where a class has too few images.

    >>> import attar
    >>> flowers = attar.open("flowers/train")                                                     # doctest: +SKIP
    >>> vit = attar.backbone("vit_tiny_patch16_224")                                              # doctest: +SKIP
    >>> attar.select(flowers, vit, "herded.attar", method="herding", ipc=5)                       # doctest: +SKIP
    """
    expect(source, ImageSource, "source")
    expect(backbone, Backbone, "backbone")
    if like is not None:
        expect(like, DistilledSet, "like")
    out, task = Path(out), Task(source, backbone, ipc, seed, like, progress)
    _check(method, task, out)
    keep_freed_memory()
    task = replace(task, backbone=backbone.to(device=pick_device(device), dtype=pick_dtype(precision)))
    asked = _asked(method, task, precision)
    run = Run.beside(out)
    with run.alone():
        if not restart:
            run.refuse_others(asked)
            if _is_made(out, asked, source):
                progress.note(f"{out} is finished; nothing to do.")
                return distilled.load(out)
        started = time.monotonic()
        picked = SELECTIONS[method](task)
        identity = _identity(asked, source)  # after the selection, whose pass over the images finds their hashes
        run = Run.begin(out, identity, restart=restart)
        run.note_place(process=str(os.getpid()), **found_again(source.location))
        scores = {"seconds": round(time.monotonic() - started, 1), **picked.figures}
        return distilled.write(
            out,
            picked.images,
            picked.labels,
            manifest=_manifest(method, task, len(picked.labels) // task.classes, identity, scores),
            weights=picked.weights,
            sources=picked.names,
            train_hashes=source.hashes(),
        )


def _check(method: str, task: Task, out: Path) -> None:
    """SettingsError for what can be known to fail before the images are read."""
    if method not in SELECTIONS:
        raise SettingsError(f"there is no selection {method!r}", nearest(method, SELECTIONS))
    if task.ipc < 1 or task.seed < 0:
        raise SettingsError(f"ipc = {task.ipc} or seed = {task.seed} is too small", "ipc starts at 1, seed at 0")
    if task.classes < 2:
        raise SettingsError("a selection needs at least two classes", "give a folder with a subfolder a class")
    distilled.check_place(out)
    if method in LIKE_A_SET:
        _check_reference(method, task, out)
    elif task.like is not None:
        raise SettingsError(
            f"{method} has no use for --like", f"leave it out, or choose --method {' or '.join(sorted(LIKE_A_SET))}"
        )
    counts, classes = task.source.counts, task.source.classes
    fewest = int(counts.argmin())
    if method != "noise" and counts[fewest] < task.ipc:
        raise SettingsError(
            f"class {classes[fewest]} has {counts[fewest]} images, fewer than the {task.ipc} asked for",
            "choose a smaller --ipc; synthetic images can be more than the real ones",
        )


def _check_reference(method: str, task: Task, out: Path) -> None:
    like, classes = task.reference, set(task.source.classes)
    if task.ipc != 1:
        raise SettingsError(f"{method} has as many images as fit the set it is like", "leave --ipc out")
    if set(like.classes) != classes:
        differing = sorted(set(like.classes) ^ classes)
        raise SettingsError(
            f"either {like.path} or the images lack {', '.join(differing[:5])}",
            "give the images that the set was distilled from",
        )
    if like.path.resolve() == out.resolve():
        raise SettingsError(f"{out} would replace the set that it is to be like", "choose another --out")


def _asked(method: str, task: Task, precision: str) -> dict[str, Value]:
    """What decides what comes out, but for the images: these must be read to be known."""
    return {
        "method": method,
        "ipc": None if method in LIKE_A_SET else task.ipc,
        "seed": task.seed,
        "like": None if task.like is None else task.like.content,
        "backbone": task.backbone.name,
        "backbone_fingerprint": task.backbone.fingerprint,
        "data": data_name(task.source.location),
        "titles": digest(*task.source.titles)[:16],
        "precision": precision,
    }


def _identity(asked: Mapping[str, Value], source: ImageSource) -> dict[str, Value]:
    return {**asked, "data_fingerprint": source.fingerprint}


def _is_made(out: Path, asked: Mapping[str, Value], source: ImageSource) -> bool:
    """Whether the set at `out` is what is asked for; SettingsError where it is another one."""
    if not (out / "attar.json").is_file():
        return False
    refuse_other_set(out, asked)  # before all images are read for their fingerprint
    refuse_other_set(out, _identity(asked, source))
    return True


def _manifest(
    method: str, task: Task, ipc: int, identity: Mapping[str, Value], scores: Mapping[str, float]
) -> Manifest:
    source, backbone = task.source, task.backbone
    return Manifest(
        attar_version=version("attar"),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        method=method,
        classes=list(source.classes),
        titles=list(source.titles),
        folders=[],
        ipc=ipc,
        image_side=task.policy.canvas,
        settings=dict(identity),
        seeds={"distill": task.seed},
        backbones=[origin_of(backbone)],
        data=Origin(name=data_name(source.location), fingerprint=source.fingerprint),
        train_images=len(source),
        scores=dict(scores),
        files={},
    )
