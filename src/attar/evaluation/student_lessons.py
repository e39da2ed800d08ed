"""What a student learns: mixed images, and the loss of its logits on them (scdd.md 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from attar.backbones.squeezed import Squeezed
from attar.compression.relabel import reordered, teacher_logits
from attar.compression.soft_labels import SoftLabels
from attar.compression.views import MixedBatch, epoch_batches, make_batch
from attar.errors import EvaluationError
from attar.evaluation.student_protocols import Schedule

Answers = Callable[[MixedBatch, int, int], Tensor]
"""Of a mixed batch, its epoch and its number: the logits [n, classes] that a student shall have."""
Loss = Callable[[Tensor], Tensor]
"""Of a student's logits [n, classes]: one number."""


def soft_loss(
    student: Float[Tensor, "n classes"],
    teacher: Float[Tensor, "n classes"],
    temperature: float,
    *,
    scaled: bool = False,
) -> Float[Tensor, ""]:
    """KL(softmax(teacher / T) || softmax(student / T)), the mean over images; `scaled` multiplies it by T squared."""
    wanted, found = F.log_softmax(teacher / temperature, 1), F.log_softmax(student / temperature, 1)
    loss = F.kl_div(found, wanted, reduction="batchmean", log_target=True)
    return loss * temperature**2 if scaled else loss


def hard_loss(
    student: Float[Tensor, "n classes"], own: Int[Tensor, " n"], other: Int[Tensor, " n"], share: float
) -> Float[Tensor, ""]:
    """Cross-entropy with an image's own label, and its partner's, by their shares of the mixed image."""
    return share * F.cross_entropy(student, own) + (1 - share) * F.cross_entropy(student, other)


@dataclass(frozen=True)
class Lesson:
    """The mixed images of a training, and what the student shall learn of them."""

    images: UInt8[Tensor, "n 3 s s"]
    labels: Int[Tensor, " n"]
    schedule: Schedule
    seed: int
    answers: Answers | None

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Loss]]:
        """(images in 0..1, the loss of a student's logits on them) of each batch."""
        for number, ids in enumerate(epoch_batches(len(self.images), self.schedule.batch, self.seed, epoch)):
            if len(ids) == 1 < len(self.images):
                continue  # BatchNorm finds no variance in a single image
            batch = make_batch(self.images, ids, self.schedule.recipe, seed=self.seed, epoch=epoch, number=number)
            yield batch.images, self._loss(batch, epoch, number)

    def _loss(self, batch: MixedBatch, epoch: int, number: int) -> Loss:
        if self.answers is None:
            place = self.labels.device
            own, other = self.labels[batch.ids.to(place)], self.labels[batch.partners.to(place)]
            return lambda student: hard_loss(student, own, other, batch.share)
        teacher = self.answers(batch, epoch, number).to(self.images.device).float()
        temperature, scaled = self.schedule.temperature, self.schedule.scaled
        return lambda student: soft_loss(student, teacher, temperature, scaled=scaled)


def answers(
    schedule: Schedule, teacher: Squeezed | None, stored: SoftLabels | None, classes: Sequence[str] | None
) -> Answers | None:
    """What gives the logits of a batch in the order of `classes`; None for hard labels.

    Those given online are rounded as a store rounds them, so that replayed ones are equal.
    """
    if not schedule.soft:
        return None
    if stored is not None:
        known = tuple(stored.record.classes)
        return lambda batch, epoch, number: reordered(stored.logits(epoch, number), known, tuple(classes or known))
    if teacher is None:
        raise EvaluationError("soft labels need a teacher", "Give a squeezed network: --teacher NET.safetensors.")
    known = teacher.classes
    return lambda batch, epoch, number: reordered(teacher_logits(teacher, batch.images), known, tuple(classes or known))
