"""Soft labels on disk: a teacher's logits for every batch that a student will see (FKD; scdd.md 6).

    SET/labels/PROTOCOL/index.json               whose labels of what they are
    SET/labels/PROTOCOL/epoch-0000.safetensors   fp16 logits [images, classes], in the order of the epoch's batches
    SET/labels/PROTOCOL/teacher.safetensors      what the teacher was trained on, to refuse tests on the same images

Batches are rebuilt from the seed, so a label costs two bytes a class and nothing else. Temperature comes in training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float16, UInt8
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from attar.backbones.squeezed import Squeezed
from attar.compression.views import Recipe, draw_batch, epoch_batches
from attar.distilled import DistilledSet, Origin
from attar.errors import EvaluationError, FileError
from attar.files import digest, safe_name, write_text
from attar.tensors import read_tensors, write_tensors

_SCHEMA = 1
_INDEX, _TEACHER = "index.json", "teacher.safetensors"
_HASHES, _ELSEWHERE = "train_hashes", "trained_elsewhere"
_AGAIN = "Make them anew: attar relabel ... --restart; or remove that folder, and the teacher answers online."


class LabelRecord(BaseModel):
    """Whose labels of what lie in a folder. All but `epochs`, which may grow, decides what they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(default=_SCHEMA, ge=1, le=_SCHEMA)
    attar_version: str
    images: str = Field(description="hex SHA-256 of the set's pixels, in their order")
    count: int = Field(ge=1)
    side: int = Field(ge=1, description="of the set's images, in pixels")
    classes: tuple[str, ...] = Field(description="in the order of the logits: the set's")
    teacher: Origin
    recipe: Recipe
    views: str = Field(description="fingerprint of the recipe, and of how views are drawn")
    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    seed: int = Field(ge=0)

    @property
    def deciding(self) -> dict[str, object]:
        """What decides the labels of an epoch, by the names that users know."""
        return {
            "images": self.images,
            "classes": self.classes,
            "teacher": self.teacher.fingerprint,
            "recipe": self.views,
            "batch": self.batch,
            "seed": self.seed,
        }

    @property
    def epoch_bytes(self) -> int:
        """Bytes that the logits of an epoch take."""
        return self.count * len(self.classes) * 2

    def changes(self, wanted: Mapping[str, object]) -> list[str]:
        """What is `deciding` and differs from `wanted`, which may be a part of all; numbers with both values."""
        known = self.deciding
        return [
            f"{name} {known[name]} -> {value}" if isinstance(value, int) else f"another {name}"
            for name, value in wanted.items()
            if known[name] != value
        ]


@dataclass(frozen=True)
class TeacherData:
    """What is known of the images that a teacher was trained on.

    `hashes` are `Squeezed.train_hashes`. One that was trained elsewhere names those that its head was fitted on alone.
    """

    hashes: frozenset[bytes]
    elsewhere: bool

    @classmethod
    def of(cls, teacher: Squeezed) -> TeacherData:
        """What a squeezed network says of itself."""
        return cls(teacher.train_hashes, teacher.record.ssl == "imported")


@dataclass(frozen=True)
class SoftLabels:
    """The labels in `folder`, perhaps still without some of their epochs."""

    folder: Path
    record: LabelRecord

    @classmethod
    def open(cls, distilled: DistilledSet, protocol: str) -> SoftLabels | None:
        """The labels that lie with a set for a protocol, whatever its number of epochs; None where there are none.

        EvaluationError where they are of other images, or where their index is damaged or of a newer attar.
        """
        folder = label_folder(distilled, protocol)
        file = folder / _INDEX
        if not file.is_file():
            return None
        try:
            record = LabelRecord.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise EvaluationError(f"{file} can't be read.", _AGAIN) from error
        if record.images != pixel_hash(distilled.images):
            raise EvaluationError(f"{folder} holds labels of other images.", _AGAIN)
        return cls(folder, record)

    @property
    def bytes(self) -> int:
        """Bytes that must be kept to train by the labels: all but what the teacher was trained on."""
        files = (file for file in self.folder.iterdir() if file.is_file() and file.name != _TEACHER)
        return sum(file.stat().st_size for file in files)

    @property
    def teacher_data(self) -> TeacherData | None:
        """What the teacher was trained on; None where nobody wrote it down, EvaluationError where it is damaged."""
        file = self.folder / _TEACHER
        try:
            tensors, about = read_tensors(file)
        except FileNotFoundError:
            return None
        except FileError as error:
            raise EvaluationError(
                f"{file} is damaged.", "Give the relabel command again: it writes this anew."
            ) from error
        known = frozenset(value.to_bytes(8, "big", signed=True) for value in tensors[_HASHES].tolist())
        return TeacherData(known, about[_ELSEWHERE] == "yes")

    def logits(self, epoch: int, number: int) -> Float16[Tensor, "batch classes"]:
        """What the teacher answered to batch `number` of an epoch; EvaluationError where the epoch isn't whole."""
        return _read(self, epoch).split(self.record.batch)[number]

    def refuse_unfit(self, recipe: Recipe, *, epochs: int, batch: int, teacher: Squeezed | None = None) -> None:
        """EvaluationError where the labels are of other views or batches, of another teacher, or of fewer epochs."""
        wanted: dict[str, object] = {"recipe": recipe.fingerprint, "batch": batch}
        if teacher is not None:
            wanted["teacher"] = teacher.fingerprint
        changes = self.record.changes(wanted)
        if changes:
            raise EvaluationError(f"{self.folder} holds labels made otherwise: {', '.join(changes)}.", _AGAIN)
        missing = sum(not self.shard(epoch).is_file() for epoch in range(epochs))
        if missing:
            raise EvaluationError(
                f"{self.folder} lacks the labels of {missing} of {epochs} epochs.",
                f"Continue: attar relabel ... --epochs {epochs}.",
            )

    def shard(self, epoch: int) -> Path:
        """The file of an epoch."""
        return self.folder / f"epoch-{epoch:04d}.safetensors"

    def describe(self, teacher: Squeezed) -> None:
        """Write down whose labels of what lie here."""
        data = TeacherData.of(teacher)
        known = sorted(int.from_bytes(value, "big", signed=True) for value in data.hashes)
        hashes = {_HASHES: torch.tensor(known, dtype=torch.int64)}
        write_tensors(self.folder / _TEACHER, hashes, {_ELSEWHERE: "yes" if data.elsewhere else "no"})
        write_text(self.folder / _INDEX, self.record.model_dump_json(indent=1))

    def write(self, epoch: int, logits: Float16[Tensor, "images classes"]) -> None:
        """Keep the logits of an epoch, in the order of its batches."""
        write_tensors(self.shard(epoch), {"logits": logits}, {"labels": self._name(epoch)})

    def has(self, epoch: int) -> bool:
        """Whether the logits of an epoch are there and whole."""
        try:
            self.read(epoch)
        except EvaluationError:
            return False
        return True

    def read(self, epoch: int) -> Float16[Tensor, "images classes"]:
        """The logits of an epoch, in the order of its batches; EvaluationError where they aren't whole."""
        try:
            tensors, about = read_tensors(self.shard(epoch))
        except (FileNotFoundError, FileError) as error:
            told = "is missing" if isinstance(error, FileNotFoundError) else "is damaged"
            message = f"{self.shard(epoch)} {told}."
            raise EvaluationError(message, "Give the relabel command again: it makes this epoch anew.") from error
        if about.get("labels") != self._name(epoch):
            raise EvaluationError(f"{self.shard(epoch)} holds labels of other batches.", _AGAIN)
        return tensors["logits"]

    def _name(self, epoch: int) -> str:
        """Of an epoch's labels: another machine must draw its first batch just as this one does."""
        record = self.record
        first = epoch_batches(record.count, record.batch, record.seed, epoch)[0]
        draws = draw_batch(record.recipe, record.side, first, seed=record.seed, epoch=epoch, number=0)
        return digest(sorted(record.deciding.items()), epoch, first.tolist(), draws.fingerprint)


@lru_cache(maxsize=2)  # training asks for one epoch's batches after another
def _read(labels: SoftLabels, epoch: int) -> Tensor:
    return labels.read(epoch)


def label_folder(distilled: DistilledSet, protocol: str) -> Path:
    """Where a set keeps the labels of a protocol; those of "soft-fkd/epochs=20" are the first of "soft-fkd"."""
    return distilled.path / "labels" / safe_name(protocol.partition("/")[0])


def pixel_hash(images: UInt8[np.ndarray, "n 3 side side"]) -> str:
    """Hex SHA-256 of images: other pixels, or another order of the files, give another."""
    sha = hashlib.sha256(repr(images.shape).encode())
    sha.update(np.ascontiguousarray(images).data)
    return sha.hexdigest()
