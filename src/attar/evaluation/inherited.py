"""Rows of classifier inheritance: a head of all real images on a teacher backbone, carried over to another by images.

The images carry no labels here, they align two backbones; so beside every distilled set stand random real images, the
teacher's centroids and images of noise of the same number, and JPEG files of the same bytes (sfm.md 12).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from attar.distilled import DistilledSet
from attar.evaluation.bench import Bench, Material
from attar.evaluation.cells import Predictions
from attar.evaluation.inheritance import authors_projector, joint, kd, paired_bank_views, ridge_projector
from attar.evaluation.protocols import Protocol
from attar.evaluation.rivals import (
    about,
    budgets,
    bytes_of,
    centroid_material,
    jpeg_materials,
    materials_of,
    noise_materials,
    random_materials,
    row_of,
    seeds_of,
)
from attar.evaluation.rows import Row
from attar.images.source import ImageSource
from attar.linear import ConvergedProbe

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Inheritance:
    """From `teacher` to `student` under `protocol`, by the teacher's head of `train`."""

    protocol: Protocol
    teacher: Bench
    student: Bench
    train: ImageSource

    def predict(self, material: Material, seed: int) -> Predictions:
        """What the student answers on the test images once `material` has aligned it; `seed` draws the views."""
        head = self.teacher.head(self.train, self._recipe)
        key = (self.protocol, material.fingerprint, seed, head.fingerprint, self.student.fingerprint)
        what = {
            "protocol": self.protocol.id,
            "backbone": self.student.backbone.name,
            "teacher": self.teacher.backbone.name,
            "images": material.name,
            "seed": seed,
        }
        return self.student.cells.answer(what, key, lambda: self._compute(material, seed))

    @property
    def extra_bytes(self) -> int:
        """What has to be stored beside the images: the head and the projector of the authors, or their product."""
        classes, here, there = len(self.student.classes), self.student.backbone.dim, self.teacher.backbone.dim
        folded = self.protocol.probe in ("inherit-ridge", "kd")
        return _FLOAT_BYTES * (classes * (here + 1) if folded else classes * (there + 1) + there * (here + 1))

    @property
    def _recipe(self) -> str:
        return "probe-v1" if self.protocol.probe == "inherit-ridge" else "lgm"

    def carried(self, material: Material, seed: int) -> ConvergedProbe:
        """The teacher's head as a classifier of the student's features, by ridge regression on views of `material`."""
        head = self.teacher.head(self.train, self._recipe)
        x, y = self._views(material, seed)
        return ridge_projector(x, y, head.probe).probe

    def _compute(self, material: Material, seed: int) -> Predictions:
        test = self.student.test_features.numpy()
        if self.protocol.probe == "inherit-ridge":
            return self.carried(material, seed).predict(test)
        head = self.teacher.head(self.train, self._recipe).probe.classifier
        x, y = self._views(material, seed)
        views = paired_bank_views(x, y, seed)
        if self.protocol.probe == "inherit-authors":
            projector = authors_projector(views, len(x), x.shape[2], y.shape[2], seed=seed)
            return projector.then(head).predict(test)
        learn = kd if self.protocol.probe == "kd" else joint
        return learn(views, material.labels, head, x.shape[2], seed=seed).predict(test)

    def _views(
        self, material: Material, seed: int
    ) -> tuple[Float[Tensor, "images views dim_e"], Float[Tensor, "images views dim_d"]]:
        """Features of the same views, cut at the larger side, on the student's and the teacher's backbone."""
        sides = self.student.backbone.image_size, self.teacher.backbone.image_size
        policy, count = self.student.policy_for(max(sides)), self.protocol.views
        return self.student.views(material, policy, count, seed), self.teacher.views(material, policy, count, seed)


def inherited_rows(
    chosen: Protocol,
    student: Bench,
    teachers: Sequence[tuple[Bench, Sequence[Sequence[DistilledSet]]]],
    train: ImageSource,
) -> Iterator[Row]:
    """For each teacher its sets and the controls beside them, evaluated on `student`."""
    for teacher, groups in teachers:
        way = Inheritance(chosen, teacher, student, train)
        shared = {"teacher": teacher.backbone.name}
        seeds = list(range(chosen.restarts))
        for group in groups:
            predicted = [[way.predict(material, seed) for seed in seeds] for material in materials_of(student, group)]
            stored = bytes_of(group[0]) + way.extra_bytes
            fields = about(student, group) | shared | {"bytes": stored, "seeds": seeds_of(group, seeds)}
            yield row_of(student, chosen, predicted, **fields)
        for ipc, budget in budgets(groups).items():
            yield from _control_rows(way, train, ipc, shared)
            materials, size = jpeg_materials(teacher, train, budget)
            if materials:
                number = len(materials[0].labels) // len(teacher.classes)
                stored = size + way.extra_bytes
                yield _drawn(way, materials, method="jpeg", ipc=number, bytes=stored, beside_ipc=ipc, **shared)


def _control_rows(way: Inheritance, train: ImageSource, ipc: int, shared: dict[str, str]) -> Iterator[Row]:
    teacher = way.teacher
    drawn = {"noise": noise_materials(teacher, ipc)}
    if int(train.counts.min()) >= ipc:
        drawn = {
            "random": random_materials(teacher, train, ipc),
            "centroids": [centroid_material(teacher, train, ipc)],
        } | drawn
    for method, materials in drawn.items():
        stored = teacher.stored_bytes(materials[0]) + way.extra_bytes
        yield _drawn(way, materials, method=method, ipc=ipc, bytes=stored, **shared)


def _drawn(way: Inheritance, materials: Sequence[Material], **fields: object) -> Row:
    """Several draws, each aligned once, or one selection aligned by the views of several seeds."""
    if len(materials) == 1:
        seeds = list(range(way.protocol.restarts))
        predicted = [[way.predict(materials[0], seed) for seed in seeds]]
        return row_of(way.student, way.protocol, predicted, seeds={"probe": seeds}, **fields)
    draws = list(range(len(materials)))
    predicted = [[way.predict(material, seed)] for seed, material in zip(draws, materials, strict=True)]
    return row_of(way.student, way.protocol, predicted, seeds={"selection": draws, "probe": draws}, **fields)
