"""Relabelling: a teacher answers every batch that a student will see, once, and the set keeps it (scdd.md 6)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from jaxtyping import Float, Float16, UInt8
from torch import Tensor

from attar.backbones.squeezed import Squeezed
from attar.compression.soft_labels import LabelRecord, SoftLabels, label_folder, pixel_hash
from attar.compression.views import Recipe, epoch_batches, make_batch
from attar.devices import pick_device
from attar.distilled import DistilledSet, Origin
from attar.errors import EvaluationError, FileError, SettingsError, expect
from attar.files import sweep
from attar.progress import SILENT, Progress

_CHUNK = 256  # images that the teacher sees at once: of another number the sums may round differently


def relabel(
    distilled: DistilledSet,
    teacher: Squeezed,
    recipe: Recipe,
    *,
    protocol: str,
    epochs: int,
    batch: int,
    seed: int = 42,
    device: str = "auto",
    restart: bool = False,
    progress: Progress = SILENT,
) -> SoftLabels:
    """Keep the teacher's logits on all batches of `epochs` epochs with the set, under the name of a protocol.

    Epochs that lie there and are whole stay: an interrupted call goes on, and a larger number adds to them. Raises
    SettingsError where labels made otherwise lie there (`restart` replaces them, once the first new epoch is there),
    EvaluationError where teacher, set and recipe don't fit each other, FileError where the disk has no room.
    """
    expect(distilled, DistilledSet, "distilled")
    expect(teacher, Squeezed, "teacher")
    if min(epochs, batch) < 1 or seed < 0:
        raise SettingsError(
            f"{epochs} epochs in batches of {batch} by seed {seed} can't be labelled",
            "epochs and batches count from 1, seeds from 0",
        )
    _check_fit(distilled, teacher, recipe)
    wanted = _record(distilled, teacher, recipe, epochs=epochs, batch=batch, seed=seed)
    labels, stale = _begin(distilled, protocol, wanted, restart=restart)
    missing = [epoch for epoch in range(epochs) if stale or not labels.has(epoch)]
    needed = len(missing) * labels.record.epoch_bytes
    _refuse_full_disk(distilled.path, needed, freed=labels.bytes if stale else 0)
    if not stale:
        labels.describe(teacher)
    progress.plan(f"{len(missing)} of {epochs} epochs to label: {needed:,} bytes to {labels.folder}")
    place = pick_device(device)
    images, seeing = torch.from_numpy(distilled.images).to(place), teacher.to(place)
    for done, epoch in enumerate(missing):
        try:
            answers = _answers(labels.record, images, seeing, epoch)
            if stale and done == 0:
                shutil.rmtree(labels.folder, ignore_errors=True)
                labels.describe(teacher)
            labels.write(epoch, answers)
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(f"The same command continues after {done} of {len(missing)} epochs.") from interrupt
        progress.advance("labels", done + 1, len(missing))
    return labels


def teacher_logits(teacher: Squeezed, images: Float[Tensor, "n 3 side side"]) -> Float16[Tensor, "n classes"]:
    """The teacher's answers to images in 0..1 of its side, in the order of its own classes and without temperature.

    EvaluationError where the teacher is in training mode, or an answer is not finite in fp16.
    """
    if teacher.network.training:
        raise EvaluationError(
            f"the teacher {teacher.name} is in training mode: its answer to an image would depend on the others",
            "Call .eval() on it.",
        )
    with torch.no_grad():
        logits = torch.cat([teacher.logits(part).half() for part in images.split(_CHUNK)])
    if not logits.isfinite().all():
        raise EvaluationError(f"{teacher.name} answers with numbers that are not finite", "Squeeze again.")
    return logits


def reordered(
    logits: Float[Tensor, "n classes"], classes: Sequence[str], wanted: Sequence[str]
) -> Float[Tensor, "n classes"]:
    """Logits in the order of `wanted`; EvaluationError where these aren't the same names as `classes`."""
    missing, extra = sorted(set(wanted) - set(classes)), sorted(set(classes) - set(wanted))
    if missing or extra or len(classes) != len(wanted):
        told = f"does not know {_some(missing)}" if missing else f"also knows {_some(extra)}"
        raise EvaluationError(f"the teacher {told}", "Take a teacher of the set's own classes.")
    if tuple(classes) == tuple(wanted):
        return logits
    places = {name: place for place, name in enumerate(classes)}
    return logits[:, torch.tensor([places[name] for name in wanted], device=logits.device)]


def _answers(
    record: LabelRecord, images: UInt8[Tensor, "all 3 s s"], teacher: Squeezed, epoch: int
) -> Float16[Tensor, "all classes"]:
    """The logits of all batches of an epoch, one after the other, in the order of the set's classes."""
    answers = []
    for number, ids in enumerate(epoch_batches(record.count, record.batch, record.seed, epoch)):
        seen = make_batch(images, ids, record.recipe, seed=record.seed, epoch=epoch, number=number)
        answers.append(reordered(teacher_logits(teacher, seen.images), teacher.classes, record.classes).cpu())
    return torch.cat(answers)


def _check_fit(distilled: DistilledSet, teacher: Squeezed, recipe: Recipe) -> None:
    reordered(torch.empty(0, len(teacher.classes)), teacher.classes, distilled.classes)
    if teacher.record.side != recipe.side:
        raise EvaluationError(
            f"{teacher.name} sees {teacher.record.side} pixels, and the views have {recipe.side}",
            "Take a teacher of that side.",
        )


def _record(
    distilled: DistilledSet, teacher: Squeezed, recipe: Recipe, *, epochs: int, batch: int, seed: int
) -> LabelRecord:
    return LabelRecord(
        attar_version=version("attar"),
        images=pixel_hash(distilled.images),
        count=len(distilled),
        side=distilled.manifest.image_side,
        classes=distilled.classes,
        teacher=Origin(name=Path(teacher.name).name, fingerprint=teacher.fingerprint),
        recipe=recipe,
        views=recipe.fingerprint,
        epochs=epochs,
        batch=batch,
        seed=seed,
    )


def _begin(distilled: DistilledSet, protocol: str, wanted: LabelRecord, *, restart: bool) -> tuple[SoftLabels, bool]:
    """(the labels that are there, or none yet; whether others lie in their place, which must go).

    SettingsError where those were made otherwise, unless `restart`.
    """
    folder = label_folder(distilled, protocol)
    try:
        known = SoftLabels.open(distilled, protocol)
        changes = [] if known is None else known.record.changes(wanted.deciding)
        if changes:
            raise SettingsError(f"{folder} holds labels made otherwise: {', '.join(changes)}.", "Use --restart.")
    except (EvaluationError, SettingsError):
        if not restart:
            raise
        known = None
    record = wanted if known is None else wanted.model_copy(update={"epochs": max(wanted.epochs, known.record.epochs)})
    sweep(folder)
    return SoftLabels(folder, record), known is None and folder.is_dir()  # also shards without an index


def _refuse_full_disk(place: Path, needed: int, *, freed: int) -> None:
    """FileError where the labels don't fit into the free room and the bytes that are going to be `freed`."""
    free = shutil.disk_usage(place).free + freed
    if needed > free:
        raise FileError(
            f"the disk has no room for labels in {place}: {needed:,} bytes are needed and {free:,} free",
            "Make room there, or leave the labels out: attar evaluate --teacher NET lets the teacher answer online.",
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{'class' if len(names) == 1 else 'classes'} {', '.join(map(repr, names[:3]))}{more}"
