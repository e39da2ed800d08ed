"""The rows of students: networks trained from scratch on each set, and on as many real images beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from attar.backbones.architectures import make_classifier
from attar.compression.soft_labels import SoftLabels
from attar.distilled import DistilledSet, png_bytes
from attar.evaluation.bench import Material
from attar.evaluation.cells import Cells
from attar.evaluation.checks import common_labels
from attar.evaluation.rivals import bytes_of
from attar.evaluation.rows import Row, make_row
from attar.evaluation.student_plan import StudentPlan
from attar.evaluation.student_protocols import Schedule, StudentProtocol
from attar.evaluation.students import StudentResult, Unseen, train_student
from attar.features import read_squares
from attar.features.extract import square
from attar.files import cache_folder, digest
from attar.images.source import ImageSource
from attar.progress import Progress
from attar.selection import random_images

_DRAWS = 3


class StudentBench:
    """Trains the students of a plan, and tests them on one set of images."""

    def __init__(
        self,
        plan: StudentPlan,
        test: ImageSource,
        cells: Cells,
        *,
        device: torch.device,
        precision: str,
        progress: Progress,
    ):
        self.plan, self.test, self.cells = plan, test, cells
        self.classes, self.test_labels = plan.classes, common_labels(test, plan.classes)
        self.teacher = None if plan.teacher is None else plan.teacher.to(device)
        self.device, self.precision, self.progress = device, precision, progress
        self._tested_on = digest(test.hashes(), self.test_labels.tolist())
        self._unseen = cache(self._read_unseen)

    def rows(self, groups: Sequence[Sequence[DistilledSet]], train: ImageSource | None) -> Iterator[Row]:
        """For each protocol and student a row of each group, and one of random real images at each number a class."""
        for protocol in self.plan.protocols:
            for student in self.plan.students:
                self._announce(protocol, student, groups)
                for group in groups:
                    yield self._set_row(protocol, student, group)
                if train is None or (protocol.soft and self.teacher is None):
                    continue
                for ipc in sorted({group[0].manifest.ipc for group in groups}):
                    if int(train.counts.min()) >= ipc:
                        yield self._random_row(protocol, student, train, ipc)

    def _announce(self, protocol: StudentProtocol, student: str, groups: Sequence[Sequence[DistilledSet]]) -> None:
        """What will be trained: a line for all sets that are as long."""
        sizes = dict.fromkeys((one.manifest.ipc, len(one)) for group in groups for one in group)
        for ipc, images in sizes:
            schedule = self.plan.schedule(protocol, student, ipc, images)
            length = f"{schedule.epochs} epochs of {images} images in batches of {schedule.batch}"
            count = f"{len(self.plan.seeds)} students a set"
            self.progress.plan(f"{protocol.id}: {student} at {self.plan.side} pixels, {length}; {count}")

    def _set_row(self, protocol: StudentProtocol, student: str, group: Sequence[DistilledSet]) -> Row:
        first, results = group[0].manifest, []
        labels = self.plan.labels_of(protocol, group[0])
        for one in group:
            material = Material(one.path.name, one.source, common_labels(one.source, self.classes), one.weights)
            stored = self.plan.labels_of(protocol, one)
            course = _Course(protocol, student, material, first.ipc, first.image_side, stored)
            results.append([self._trained(course, seed) for seed in self.plan.seeds])
        return self._row(
            protocol,
            student,
            results,
            method=first.method,
            set=", ".join(one.path.name for one in group),
            distilled_on=tuple(origin.name for origin in first.backbones),
            own=any(origin.is_of(student) for origin in first.backbones),
            ipc=first.ipc,
            bytes=bytes_of(group[0]) + (0 if labels is None else labels.bytes),
            seeds={"distill": [one.manifest.seeds["distill"] for one in group], "student": list(self.plan.seeds)},
        )

    def _random_row(self, protocol: StudentProtocol, student: str, train: ImageSource, ipc: int) -> Row:
        """Three draws, a student each; where the teacher labels, it labels while they learn."""
        labels, draws = common_labels(train, self.classes).numpy(), list(range(_DRAWS))
        chosen = [train.subset(random_images(labels, len(self.classes), ipc, seed=draw)) for draw in draws]
        results = []
        for draw, source in zip(draws, chosen, strict=True):
            material = Material(f"random {draw}", source, common_labels(source, self.classes), np.ones(len(source)))
            course = _Course(protocol, student, material, ipc, self.plan.stored_side, None)
            results.append([self._trained(course, draw)])
        squares = read_squares(chosen[0], self.plan.stored_side, range(len(chosen[0])))
        return self._row(
            protocol,
            student,
            results,
            method="random",
            set="random",
            distilled_on=(),
            own=False,
            ipc=ipc,
            bytes=sum(len(png_bytes(image)) for image in squares),
            seeds={"selection": draws, "student": draws},
        )

    def _row(
        self, protocol: StudentProtocol, student: str, results: Sequence[Sequence[StudentResult]], **fields: object
    ) -> Row:
        labels = self.test_labels.numpy()
        best = [float(100 * np.mean([result.best == labels for result in students])) for students in results]
        runs = [[student] for student in results[0]] if len(results) == 1 else results
        return make_row(
            [[result.last for result in run] for run in runs],
            labels,
            len(self.classes),
            evaluated_on=student,
            protocol=protocol.id,
            table=protocol.id,
            teacher=None,
            beside_ipc=None,
            best=float(np.mean(best)),
            students=tuple(float(100 * np.mean(one.last == labels)) for students in results for one in students),
            **fields,
        )

    def _trained(self, course: _Course, seed: int) -> StudentResult:
        """What the student of one seed answers, after the last epoch and after the best."""
        schedule = self.plan.schedule(course.protocol, course.student, course.ipc, len(course.material.labels))
        key = self._key(course, schedule, seed)
        checkpoint = cache_folder() / "students" / f"{digest(*key)}.safetensors"
        trained = cache(lambda: self._train(course, schedule, seed, checkpoint))
        about = {
            "protocol": course.protocol.id,
            "student": course.student,
            "images": course.material.name,
            "seed": seed,
        }
        last = self.cells.answer(about | {"epoch": "last"}, (*key, "last"), lambda: trained().last)
        best = self.cells.answer(about | {"epoch": "best"}, (*key, "best"), lambda: trained().best)
        checkpoint.unlink(missing_ok=True)
        return StudentResult(last, best)

    def _train(self, course: _Course, schedule: Schedule, seed: int, checkpoint: Path) -> StudentResult:
        source, stored = course.material.source, course.stored
        result = train_student(
            make_classifier(course.student, len(self.classes), side=self.plan.side, norm=schedule.norm, seed=seed),
            torch.from_numpy(read_squares(source, course.image_side, range(len(source)))),
            course.material.labels,
            schedule,
            seed=seed,
            teacher=self.teacher,
            stored=stored,
            classes=self.classes,
            test=self._unseen(schedule.test_side),
            device=self.device,
            precision=self.precision,
            checkpoint=checkpoint,
            progress=self.progress,
            task=f"{course.protocol.id}, {course.student} on {course.material.name}, seed {seed}",
        )
        assert result is not None
        return result

    def _key(self, course: _Course, schedule: Schedule, seed: int) -> tuple[object, ...]:
        """Everything that decides the answers."""
        labels: tuple[object, ...] = ("hard",)
        if schedule.soft and course.stored is not None:
            record = course.stored.record
            labels = (record.teacher.fingerprint, record.classes, record.seed)
        elif schedule.soft and self.teacher is not None:
            labels = (self.teacher.fingerprint, self.teacher.classes, seed)
        images = course.material.fingerprint, course.image_side, self.classes
        training = schedule, schedule.recipe.fingerprint, course.student, seed, self.precision
        return ("student", *images, *training, *labels, self._tested_on)

    def _read_unseen(self, shorter_side: int) -> Unseen:
        """The test images as the student takes them: shorter side resized, centre crop."""
        read = self.test.read(range(len(self.test)), shorter_side=shorter_side)
        images = np.stack([square(image, self.plan.side) for _, image in read])
        return Unseen(torch.from_numpy(images), self.test_labels)


@dataclass(frozen=True)
class _Course:
    """Which student learns from which images, stored at which side, and the soft labels that lie with them."""

    protocol: StudentProtocol
    student: str
    material: Material
    ipc: int
    image_side: int
    stored: SoftLabels | None
