"""What students will be trained on, settled and checked before the first of them is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from attar.backbones.architectures import make_classifier
from attar.backbones.squeezed import Squeezed
from attar.compression.relabel import reordered
from attar.compression.soft_labels import SoftLabels, TeacherData
from attar.distilled import DistilledSet
from attar.errors import EvaluationError
from attar.evaluation.student_protocols import Schedule, StudentProtocol
from attar.images.source import ImageSource

_LARGEST_SIDE = 224  # where no teacher says another
_UNCHECKED = "Whether the teacher of the stored labels saw test images is checked with --teacher alone."


@dataclass(frozen=True)
class StudentPlan:
    """Who is trained how: students by name, their protocols, the seeds of each, and who labels.

    `side` is that of the students' input in pixels, `stored_side` that of the largest set's images, as which random
    real images are stored; `labels` are the soft labels that lie with the sets, by protocol and the set's path.
    """

    classes: tuple[str, ...]
    protocols: tuple[StudentProtocol, ...]
    students: tuple[str, ...]
    seeds: range
    teacher: Squeezed | None
    side: int
    stored_side: int
    labels: Mapping[tuple[str, Path], SoftLabels]

    def schedule(self, protocol: StudentProtocol, student: str, ipc: int, images: int) -> Schedule:
        """How `student` is trained on `images` images, `ipc` a class."""
        return protocol.schedule(ipc, len(self.classes), images, self.side, student)

    def labels_of(self, protocol: StudentProtocol, one: DistilledSet) -> SoftLabels | None:
        """The soft labels that lie with a set for a protocol."""
        return self.labels.get((protocol.id, one.path))

    def remarks(self, sets: Sequence[DistilledSet], train: ImageSource | None) -> list[str]:
        """What readers of its tables must know."""
        soft = ", ".join(protocol.id for protocol in self.protocols if protocol.soft)
        found = ["n/a: full; students aren't trained on all training images."]
        if train is None:
            found.append("n/a: random, under which students learn too, needs the training images (--train).")
        elif soft and self.teacher is None:
            found.append(f"n/a: random under {soft} needs the network that answers (--teacher).")
        if soft:
            found += self._doubts()
        if self.labels and len(self.seeds) > 1:
            found.append("Students of stored labels see the same views under every seed, which draws their weights.")
        if any((one.weights != 1).any() for one in sets):
            found.append("Students count every image once, whatever its weight.")
        return found

    def _doubts(self) -> list[str]:
        """What isn't known of the teachers' training images."""
        taught: list[tuple[str, TeacherData | None]]
        taught = [(stored.record.teacher.name, stored.teacher_data) for stored in self.labels.values()]
        if self.teacher is not None:  # theirs too, or they would be refused
            taught = [(self.teacher.name, TeacherData.of(self.teacher))]
        found = []
        for name, data in taught:
            if data is None:
                found.append(_UNCHECKED)
            elif data.elsewhere or not data.hashes:
                lists = "the images of its head alone" if data.hashes else "no training images"
                found.append(f"Whether {name} saw test images isn't known: its file lists {lists}.")
        return found


def plan_students(
    groups: Sequence[Sequence[DistilledSet]],
    test: ImageSource,
    classes: tuple[str, ...],
    protocols: Sequence[StudentProtocol],
    students: Sequence[str],
    *,
    teacher: Squeezed | None,
    seeds: int,
) -> StudentPlan:
    """The plan for sets in their groups; EvaluationError or BackboneError for all that would end its work midway."""
    if not groups or not students or seeds < 1:
        raise EvaluationError(
            "students need a distilled set, a name and a seed", "Give a set, --student resnet18 and --seeds 3."
        )
    if teacher is not None:
        reordered(torch.zeros(1, len(teacher.classes), dtype=torch.float16), teacher.classes, classes)
        _refuse_seen(teacher.name, TeacherData.of(teacher), test)
    sets = [one for group in groups for one in group]
    found = {(each.id, one.path): SoftLabels.open(one, each.id) for each in protocols if each.soft for one in sets}
    labels = {place: stored for place, stored in found.items() if stored is not None}
    for stored in labels.values():
        _refuse_seen(stored.record.teacher.name, stored.teacher_data, test)
    stored_side = max(one.manifest.image_side for one in sets)
    plan = StudentPlan(
        classes=classes,
        protocols=tuple(protocols),
        students=tuple(students),
        seeds=range(seeds),
        teacher=teacher,
        side=_side(teacher, labels) or min(stored_side, _LARGEST_SIDE),
        stored_side=stored_side,
        labels=labels,
    )
    for protocol in plan.protocols:
        for student in plan.students:
            schedules = {one.path: plan.schedule(protocol, student, one.manifest.ipc, len(one)) for one in sets}
            make_classifier(student, len(classes), side=plan.side, norm=schedules[sets[0].path].norm)
            for one in sets if protocol.soft else ():
                _refuse_unlabelled(plan, protocol, one, schedules[one.path])
    return plan


def _side(teacher: Squeezed | None, labels: Mapping[tuple[str, Path], SoftLabels]) -> int | None:
    """What the teacher takes, or what the stored labels are for; None where there is neither."""
    if teacher is not None:
        return teacher.record.side
    sides = {stored.record.recipe.side for stored in labels.values()}
    if len(sides) > 1:
        found = " and ".join(map(str, sorted(sides)))
        raise EvaluationError(f"the soft labels are for images of {found} pixels", "Evaluate these sets apart.")
    return sides.pop() if sides else None


def _refuse_unlabelled(plan: StudentPlan, protocol: StudentProtocol, one: DistilledSet, schedule: Schedule) -> None:
    """EvaluationError for a set without a teacher or soft labels, and for labels that don't fit."""
    stored = plan.labels_of(protocol, one)
    if stored is not None:
        stored.refuse_unfit(schedule.recipe, epochs=schedule.epochs, batch=schedule.batch, teacher=plan.teacher)
    elif plan.teacher is None:
        raise EvaluationError(
            f"{protocol.id} needs soft labels, and none lie with {one.path}",
            "Give the network that answers, --teacher NET.safetensors (teacher=), or store its answers: attar relabel.",
        )


def _refuse_seen(name: str, data: TeacherData | None, test: ImageSource) -> None:
    """EvaluationError for a teacher that is known to have been trained on test images."""
    seen = 0 if data is None else sum(value[:8] in data.hashes for value in test.hashes())
    if seen:
        raise EvaluationError(
            f"the teacher {name} was trained on {seen} of {len(test)} test images", "Test on other images."
        )
