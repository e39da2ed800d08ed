"""Training a student: a network from scratch, on a few images, by a schedule (scdd.md 7).

Views, partners and order of the images are pure functions of (seed, epoch, batch), and nothing else is random here: a
training that was killed and goes on ends as it would have, on the CPU bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from attar.backbones.record import IMAGENET_MEAN, IMAGENET_STD
from attar.backbones.squeezed import Squeezed
from attar.compression.soft_labels import SoftLabels
from attar.devices import pick_dtype
from attar.errors import EvaluationError
from attar.evaluation import student_checkpoint
from attar.evaluation.student_lessons import Lesson, Loss, answers
from attar.evaluation.student_protocols import Schedule
from attar.progress import SILENT, Progress

_TEST_EVERY = 10  # epochs
_TEST_BATCH = 256
_CHECKPOINT_SECONDS = 120


@dataclass(frozen=True)
class Unseen:
    """What a student is tested on: images (0..255) as it takes them, and their classes."""

    images: UInt8[Tensor, "n 3 side side"]
    labels: Int[Tensor, " n"]

    def right(self, predicted: Int[Tensor, " n"]) -> float:
        """Percent of the images that were answered right."""
        return 100 * float((predicted == self.labels).float().mean())


@dataclass(frozen=True)
class StudentResult:
    """Predicted classes of the test images: after the last epoch, and after the best of those that were tested."""

    last: Int[np.ndarray, " test"]
    best: Int[np.ndarray, " test"]


def train_student(
    network: nn.Module,
    images: UInt8[Tensor, "n 3 s s"],
    labels: Int[Tensor, " n"],
    schedule: Schedule,
    *,
    seed: int,
    teacher: Squeezed | None = None,
    stored: SoftLabels | None = None,
    classes: Sequence[str] | None = None,
    test: Unseen | None = None,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    checkpoint: Path | None = None,
    progress: Progress = SILENT,
    task: str = "student",
) -> StudentResult | None:
    """Train `network` in place on `images` (0..255), whose views are drawn by `seed`; it is left in eval mode.

    A soft schedule learns the answers of `stored` labels, whose own seed then draws the views, or else of `teacher`;
    `classes` are the names that `labels` count (default: in the order of these answers). With `test` the network is
    tested every 10 epochs and after the last. `precision` "bf16" multiplies in half of the bits and keeps the weights
    in fp32. Meanwhile the state lies in the file `checkpoint`, from which a training that was killed goes on.

    Raises EvaluationError where a soft schedule has no answers or those of other classes, and where the training
    diverges.
    """
    device = torch.device(device)
    training = _Training(network, schedule, device, precision)
    if schedule.soft and stored is not None:
        seed = stored.record.seed
    if teacher is not None and teacher.device != device:
        teacher = teacher.to(device)
    lesson = Lesson(images.to(device), labels.to(device), schedule, seed, answers(schedule, teacher, stored, classes))
    test = None if test is None else Unseen(test.images.to(device), test.labels.to(device))
    done, best = (
        (0, None) if checkpoint is None else student_checkpoint.restore(checkpoint, network, training.optimiser)
    )
    last, figures, saved = None, {}, time.monotonic()
    for epoch in range(done, schedule.epochs):
        training.begin(epoch)
        for batch, targets in lesson.batches(epoch):
            training.step(batch, targets)
        if (epoch + 1) % _TEST_EVERY == 0 or epoch + 1 == schedule.epochs:
            training.refuse_divergence(epoch)
            if test is not None:
                last = training.predict(test.images)
                best = last if best is None or test.right(last) > test.right(best) else best
                figures = {"accuracy": test.right(last)}
        progress.advance(task, epoch + 1, schedule.epochs, figures)
        if checkpoint is not None and time.monotonic() - saved > _CHECKPOINT_SECONDS and epoch + 1 < schedule.epochs:
            student_checkpoint.save(checkpoint, network, training.optimiser, epoch + 1, best)
            saved = time.monotonic()
    network.eval()
    if last is None or best is None:
        return None
    return StudentResult(last.cpu().numpy(), best.cpu().numpy())


class _Training:
    """A network, its optimiser, and the precision of both."""

    def __init__(self, network: nn.Module, schedule: Schedule, device: torch.device, precision: str):
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.schedule = schedule
        self.optimiser = _optimiser(network, schedule)
        self._half = torch.autocast(device.type, torch.bfloat16, enabled=pick_dtype(precision) == torch.bfloat16)
        known = (IMAGENET_MEAN, IMAGENET_STD)  # for every student
        self._mean, self._std = (torch.tensor(values, device=device).view(3, 1, 1) for values in known)

    def begin(self, epoch: int) -> None:
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.lr * self.schedule.factor(epoch)

    def step(self, images: Float[Tensor, "n 3 side side"], loss: Loss) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        loss(self._logits(images)).backward()
        self.optimiser.step()

    @torch.no_grad()
    def predict(self, images: UInt8[Tensor, "n 3 side side"]) -> Int[Tensor, " n"]:
        """The classes that the network gives to `images`."""
        self.network.eval()
        return torch.cat([self._logits(part.float() / 255).argmax(1) for part in images.split(_TEST_BATCH)])

    def refuse_divergence(self, epoch: int) -> None:
        if not all(bool(weights.isfinite().all()) for weights in self.network.parameters()):
            raise EvaluationError(
                f"the student's weights are not finite after epoch {epoch + 1}",
                "Train in fp32, or by another protocol.",
            )

    def _logits(self, images: Float[Tensor, "n 3 side side"]) -> Float[Tensor, "n classes"]:
        normalised = ((images - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        with self._half:
            return self.network(normalised).float()


def _optimiser(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """SGD with momentum or AdamW, with weight decay on the tensors that the schedule says."""
    weights = [each for each in network.parameters() if each.requires_grad]
    spared = [each for each in weights if schedule.decay == "matrices" and each.ndim < 2]
    decayed = [each for each in weights if schedule.decay == "all" or each.ndim >= 2]
    groups = [{"params": decayed, "weight_decay": schedule.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    if schedule.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=schedule.lr, momentum=schedule.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=schedule.lr, fused=True)
