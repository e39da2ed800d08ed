"""Training a network on images in memory: one loop for supervised and self-supervised lessons, with checkpoints."""

from __future__ import annotations

import abc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from attar.compression.views import epoch_batches
from attar.errors import SettingsError
from attar.progress import Progress
from attar.run import Run, deferred_interrupt

_CHECKPOINT_SECONDS = 120


class Lesson(nn.Module, abc.ABC):
    """What a network learns from; its parameters and buffers are all that training changes."""

    @abc.abstractmethod
    def loss(self, ids: Int[Tensor, " b"], epoch: int, number: int) -> Float[Tensor, ""]:
        """Loss of images `ids`, batch `number` of `epoch`; all that is random is drawn by these."""

    def after_step(self) -> None:
        """Called after each step of the optimiser."""


@dataclass(frozen=True)
class Course:
    """How long and how fast: SGD with momentum 0.9, cosine to 0 after a linear `warm_up` (share of the steps)."""

    epochs: int
    batch: int
    lr: float
    weight_decay: float
    warm_up: float
    seed: int

    def rate(self, progress: float) -> float:
        """Learning rate after the share `progress` of all steps."""
        if progress < self.warm_up:
            return self.lr * progress / self.warm_up
        return self.lr * 0.5 * (1 + math.cos(math.pi * (progress - self.warm_up) / (1 - self.warm_up)))


def train(
    lesson: Lesson,
    course: Course,
    count: int,
    run: Run,
    *,
    precision: str,
    device: torch.device,
    monitor: Callable[[], Mapping[str, float]],
    progress: Progress,
) -> None:
    """Train `lesson` on `count` images, in `run`'s folder, where it goes on from the last step kept.

    `monitor` gives figures for the log ten times on the way. KeyboardInterrupt keeps the step before it leaves. Raises
    SettingsError where the loss isn't finite.
    """
    parameters = [parameter for parameter in lesson.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(parameters, course.lr, momentum=0.9, weight_decay=course.weight_decay)
    keeper = _Keeper(run, lesson, parameters, optimiser)
    done, total = keeper.restore(device)
    per_epoch = len(_batches(course, count, 0))
    run.forget_log_from(done // per_epoch + 1)
    saved = started = time.monotonic()
    every = max(1, course.epochs // 10)
    with deferred_interrupt() as interrupted:
        for step in range(done, course.epochs * per_epoch):
            epoch, number = divmod(step, per_epoch)
            if number == 0 or step == done:
                batches = _batches(course, count, epoch)
                lesson.train()
            for group in optimiser.param_groups:
                group["lr"] = course.rate(step / (course.epochs * per_epoch))
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                loss = lesson.loss(batches[number], epoch, number)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            lesson.after_step()
            total += loss.detach().float()
            left = course.epochs * per_epoch - step - 1
            if number + 1 == per_epoch:
                figures = {"loss": _finite(float(total) / per_epoch, epoch)}
                figures["seconds"] = round(time.monotonic() - started, 1)
                if (epoch + 1) % every == 0 or left == 0:
                    figures |= monitor()
                run.log(epoch + 1, figures)
                progress.advance("epochs", epoch + 1, course.epochs, figures)
                total.zero_()
            stopping = interrupted()
            if stopping or left == 0 or time.monotonic() - saved > _CHECKPOINT_SECONDS:
                keeper.save(step + 1, total)
                saved = time.monotonic()
            if stopping and left:
                raise KeyboardInterrupt(f"{epoch} of {course.epochs} epochs are done; the same command continues.")


def _finite(loss: float, epoch: int) -> float:
    if not math.isfinite(loss):
        message = f"the loss is {loss} in epoch {epoch + 1}, and so is what a checkpoint holds"
        raise SettingsError(message, "lower the learning rate (--lr), and begin with --restart")
    return loss


def _batches(course: Course, count: int, epoch: int) -> list[Int[Tensor, " b"]]:
    """All whole batches of an epoch: a few images make poor batch statistics."""
    batches = epoch_batches(count, course.batch, course.seed, epoch)
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) < course.batch else batches


class _Keeper:
    """The state of a training: what the lesson owns, the optimiser's momentum, and the losses of the epoch so far."""

    def __init__(self, run: Run, lesson: nn.Module, parameters: list[nn.Parameter], optimiser: torch.optim.SGD):
        self._run, self._lesson, self._parameters, self._optimiser = run, lesson, parameters, optimiser

    def save(self, steps: int, total: Float[Tensor, ""]) -> None:
        """Keep the state after so many steps in the run's folder."""
        buffers = {
            f"momentum.{number}": self._optimiser.state[parameter]["momentum_buffer"]
            for number, parameter in enumerate(self._parameters)
            if parameter in self._optimiser.state
        }
        lesson = {f"lesson.{name}": tensor for name, tensor in self._lesson.state_dict().items()}
        state = {**lesson, **buffers, "total": total}
        rows = max(len(tensor) for tensor in state.values() if tensor.ndim)  # one process owns them all
        self._run.save_checkpoint(steps, state, images=rows)

    def restore(self, device: torch.device) -> tuple[int, Float[Tensor, ""]]:
        """Steps done, and the sum of the losses of this epoch; SettingsError where the checkpoint is damaged."""
        kept = self._run.load_checkpoint()
        if kept is None:
            return 0, torch.zeros((), device=device)
        steps, state = kept
        lesson = {name.removeprefix("lesson."): value for name, value in state.items() if name.startswith("lesson.")}
        self._lesson.load_state_dict(lesson)
        for number, parameter in enumerate(self._parameters):
            if (buffer := state.get(f"momentum.{number}")) is not None:
                self._optimiser.state[parameter]["momentum_buffer"] = buffer.to(parameter)
        return steps, state["total"].to(device)
