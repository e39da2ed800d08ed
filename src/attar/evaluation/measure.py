"""An honest accuracy: distilled sets beside real images, class means and the full data, under named protocols."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from attar.backbones.record import Backbone, told_apart
from attar.backbones.squeezed import Squeezed, read_squeezed
from attar.devices import keep_freed_memory, pick_device, pick_dtype
from attar.distilled import DistilledSet
from attar.errors import EvaluationError, expect, expect_all
from attar.evaluation.about import about
from attar.evaluation.bench import Bench
from attar.evaluation.cells import Cells
from attar.evaluation.checks import (
    common_classes,
    common_labels,
    mismatches,
    refuse_renamed,
    seed_groups,
    without_shared,
)
from attar.evaluation.inherited import inherited_rows
from attar.evaluation.protocols import Protocol, protocol
from attar.evaluation.result import Evaluation, Groups
from attar.evaluation.rivals import (
    budgets,
    control_rows,
    distilled_row,
    jpeg_rows,
    reference_rows,
    selection_rows,
    sub_centre_rows,
)
from attar.evaluation.rows import Row
from attar.evaluation.student_plan import plan_students
from attar.evaluation.student_protocols import is_student_protocol, student_protocol
from attar.evaluation.student_rows import StudentBench
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress

_Group = Sequence[DistilledSet]
_TUNED_IMAGES = 2


def evaluate(
    sets: DistilledSet | Sequence[DistilledSet],
    *,
    test: ImageSource,
    train: ImageSource | None,
    backbone: Backbone | Sequence[Backbone] = (),
    protocols: Sequence[str] = ("probe-v1", "probe-v1/std"),
    students: Sequence[str] = ("resnet18",),
    teacher: Squeezed | str | Path | None = None,
    student_seeds: int = 3,
    controls: bool = False,
    device: str = "auto",
    precision: str = "fp32",
    drop_shared: bool = False,
    log: Path | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Accuracy on `test` of linear probes on frozen backbones, and of students trained from scratch on each set.

    Of `sets`, or one set, those that differ in their seed alone make one row: the mean over distillation seeds with its
    95 % interval. Rows beside them, for which `train` is needed: random real images (5 draws), centroids, k-means
    reals, the nearest class mean (`ncm`), the probe on the true class means, LDA, and the probe on all training images.
    With `controls`, which take as long again, also as many JPEG files as fit into the sets' bytes, images of noise, and
    wrong labels. Protocols that inherit a classifier have their controls always, and need the backbone that a set was
    distilled on.

    Under protocols named `hard-` or `soft-` each of `students` (names of networks) is trained `student_seeds` times on
    each set, and on 3 draws of random real images. Soft labels are those that lie with a set, else the answers of
    `teacher`, a squeezed network or its file; its side is then the students', else that of the largest set's images
    (at most 224 pixels). They need no backbone.

    Every probe's and student's answers are kept in the cache, so a table that was interrupted goes on where it stopped,
    also in the middle of a training; `log` is a file that gets a JSON line for each. EvaluationError where the classes
    of sets, test, train and teacher differ or seem to be mixed up, where a set is given twice, where the teacher saw
    test images, and where test images are exact copies of training images, unless `drop_shared` leaves those out.
    """
    sets = expect_all(sets, DistilledSet, "sets")
    expect(test, ImageSource, "test")
    if train is not None:
        expect(train, ImageSource, "train")
    names = dict.fromkeys(protocols)
    probes = [protocol(name) for name in names if not is_student_protocol(name)]
    schools = [student_protocol(name) for name in names if is_student_protocol(name)]
    given = told_apart(expect_all(backbone, Backbone, "backbone"))
    _refuse_probes(probes, given, train)
    keep_freed_memory()
    place = pick_device(device)
    backbones = [each.to(device=place, dtype=pick_dtype(precision)) for each in given]
    classes = common_classes(sets, test, train)
    test, remarks = without_shared(sets, test, train, backbones, drop_shared)
    cells, groups = Cells(log), seed_groups(sets)
    if teacher is not None and not isinstance(teacher, Squeezed):
        teacher = read_squeezed(teacher)
    plan = None
    if schools:
        plan = plan_students(groups, test, classes, schools, students, teacher=teacher, seeds=student_seeds)
    rows: list[Row] = []
    if probes:
        benches = [Bench(each, test, classes, cells, progress) for each in backbones]
        rows, found = _probe_rows(benches, probes, groups, train, controls)
        remarks += found
    if plan is not None:
        bench = StudentBench(plan, test, cells, device=place, precision=precision, progress=progress)
        rows += bench.rows(groups, train)
        remarks += plan.remarks(sets, train)
    if train is not None and (most := max((one.manifest.ipc for one in sets), default=1)) > int(train.counts.min()):
        remarks.append(f"n/a: real images at {most} a class; some class has fewer.")
    progress.note(f"{cells.computed} cells computed, {cells.found} known before.")
    return Evaluation(
        tuple(rows),
        common_labels(test, classes).numpy(),
        tuple(dict.fromkeys(remarks)),
        _groups(test, train, classes),
        about(sets, test, train, classes, backbones, plan, precision),
    )


def _refuse_probes(probes: Sequence[Protocol], backbones: Sequence[Backbone], train: ImageSource | None) -> None:
    """EvaluationError where probes lack what they need."""
    if probes and not backbones:
        raise EvaluationError(f"{probes[0].id} needs a backbone", "name one by --backbone (backbone=)")
    if train is None and any(one.inherits or one.probe == "tuned" for one in probes):
        names = ", ".join(one.id for one in probes if one.inherits or one.probe == "tuned")
        raise EvaluationError(f"{names} needs the training images", "give them by --train (train=)")
    if any(one.probe == "tuned" for one in probes) and train is not None and int(train.counts.min()) < _TUNED_IMAGES:
        raise EvaluationError("probe-v1/tuned needs two images of each class to choose by", "leave that protocol out")


def _probe_rows(
    benches: Sequence[Bench],
    chosen: Sequence[Protocol],
    groups: Sequence[_Group],
    train: ImageSource | None,
    controls: bool,
) -> tuple[list[Row], list[str]]:
    """The rows of all backbones, and what belongs beneath them."""
    sets = [one for group in groups for one in group]
    rows: list[Row] = []
    remarks: list[str] = []
    for bench in benches:
        remarks += mismatches(sets, train, bench.backbone)
        rows += _probed(bench, [one for one in chosen if not one.inherits], groups, train, controls)
        remarks += _suspicions(rows, bench)
    if train is None:
        return rows, [*remarks, "n/a: random, centroids, ncm, class-means and full need the training images (--train)."]
    if any(one.inherits for one in chosen):
        teachers, orphans = _teachers(benches, groups, train)
        remarks += [f"n/a: nothing is inherited by {name}, as none of its backbones is here." for name in orphans]
        for bench in benches:
            for one in (one for one in chosen if one.inherits):
                rows += inherited_rows(one, bench, teachers, train)
    if sets and controls and not any(row.method == "jpeg" for row in rows):
        remarks.append("n/a: jpeg; the bytes of the sets don't hold a JPEG file of each class.")
    return rows, remarks


def _groups(test: ImageSource, train: ImageSource | None, classes: Sequence[str]) -> Groups | None:
    """The test images' groups, and how often each stands in each class of the training images (never, where those
    have none)."""
    if test.groups is None:
        return None
    counts = np.zeros((len(classes), len(test.group_names)), dtype=np.int64)
    if train is not None and train.groups is not None:
        unknown = sorted(set(train.group_names) - set(test.group_names))
        names = (*test.group_names, *unknown)
        counts = np.zeros((len(classes), len(names)), dtype=np.int64)
        places = np.array([names.index(name) for name in train.group_names])
        np.add.at(counts, (common_labels(train, classes).numpy(), places[train.groups]), 1)
        return Groups(names, test.groups, counts)
    return Groups(test.group_names, test.groups, counts)


def _probed(
    bench: Bench, chosen: Sequence[Protocol], groups: Sequence[_Group], train: ImageSource | None, controls: bool
) -> Iterator[Row]:
    """The rows of one backbone under protocols that learn from the images alone."""
    ipcs = sorted({group[0].manifest.ipc for group in groups} or {1})
    images = sum(len(one) for group in groups for one in group)
    images += 0 if train is None else 6 * sum(ipcs) * len(bench.classes)
    if train is not None:
        refuse_renamed(bench.full("probe-v1", train), bench.test_labels, bench.classes, bench.head(train, "probe-v1"))
    for one in dict.fromkeys(bench.settle(one, images) for one in chosen):
        for group in groups:
            yield distilled_row(bench, one, group, train)
        if train is not None:
            for ipc in ipcs:
                yield from selection_rows(bench, one, train, ipc)
                yield from sub_centre_rows(bench, one, train, ipc)
            yield from reference_rows(bench, one, train)
            for ipc, budget in budgets(groups).items() if controls else ():
                yield from jpeg_rows(bench, one, train, ipc, budget)
        for group in groups if controls else ():
            yield from control_rows(bench, one, group, train)


def _teachers(
    benches: Sequence[Bench], groups: Sequence[_Group], train: ImageSource
) -> tuple[list[tuple[Bench, list[_Group]]], list[str]]:
    """(each bench that sets inherit from, with those sets; the names of sets without one).

    A set made on several backbones inherits from that whose head is best on held-out training images.
    """
    taught: dict[int, list[_Group]] = {}
    orphans = []
    for group in groups:
        known = {origin.fingerprint for origin in group[0].manifest.backbones}
        fitting = [place for place, bench in enumerate(benches) if bench.backbone.fingerprint in known]
        if fitting:
            best = max(fitting, key=lambda place: benches[place].head(train, "probe-v1").accuracy or 0.0)
            taught.setdefault(best, []).append(group)
        else:
            orphans += [one.path.name for one in group]
    return [(benches[place], taught[place]) for place in sorted(taught)], orphans


def _suspicions(rows: Sequence[Row], bench: Bench) -> list[str]:
    """A remark where even the full data teach next to nothing: twice chance, or half-way to perfect for few classes."""
    count = len(bench.classes)
    limit = min(200 / count, 50 + 50 / count)
    weak = (row for row in rows if row.method == "full" and row.evaluated_on == bench.backbone.name)
    if any(row.accuracy < limit for row in weak):
        causes = "mislabelled folders, an untrained backbone or too few images?"
        return [f"The probe on all training images is hardly better than chance: {causes}"]
    return []
