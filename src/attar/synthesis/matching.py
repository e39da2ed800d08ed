"""The one loop: views of the canvas go through frozen backbones, objectives judge the features, the canvas moves.

It does not know which objective, canvas or backbone it runs. Where not all views fit into memory at once, a step has
two passes (gradient caching, arXiv 2101.06983): features of all chunks without graph, the objective once on all of
them, then each chunk again with graph and its rows of the objective's gradient. The result is exact for any chunk
size, because objectives return their gradient in closed form and views are drawn by name. Several backbones take
turns, so that a step holds the activations of one of them.

Several processes each own a block of the images. They tell each other features, so that every one of them judges all
and moves its own images, and three numbers: gradient norm, penalty, and whether one lacked memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar import processes
from attar.backbones.record import Backbone
from attar.devices import is_out_of_memory
from attar.errors import SettingsError
from attar.synthesis.canvas import Canvas
from attar.synthesis.draws import Stream
from attar.synthesis.objectives import Objective, Rows
from attar.synthesis.views import ViewPolicy, cut_views, draw_windows


@dataclass(frozen=True)
class Term:
    """One backbone with what is asked of its features, and how much it counts."""

    backbone: Backbone
    objective: Objective
    weight: float = 1.0


@dataclass(frozen=True)
class Schedule:
    """Adam's settings. `tail` is the last share of the run, in which the rate falls to 0 along a cosine; with
    `restart` Adam forgets its moments whenever the canvas grows, as the authors' code does."""

    steps: int
    lr: float
    tail: float = 0.0
    restart: bool = False

    def rate(self, step: int) -> float:
        """Learning rate of `step`."""
        left = (self.steps - step) / (self.tail * self.steps) if self.tail else 1.0
        return self.lr if left >= 1 else self.lr * 0.5 * (1 - math.cos(math.pi * left))


class _Repeat(torch.autograd.Function):
    """`images[place]` whose backward adds rows one after the other.

    Plain indexing adds them in parallel, and the sum's last bits then depend on the threads' order.
    """

    @staticmethod
    def forward(ctx, images: Tensor, place: Tensor) -> Tensor:
        ctx.place, ctx.count = place.tolist(), len(images)
        return images[place.to(images.device)]

    @staticmethod
    def backward(ctx, gradient: Tensor):
        total = gradient.new_zeros(ctx.count, *gradient.shape[1:])
        for row, image in enumerate(ctx.place):
            total[image] += gradient[row]
        return total, None


class Matching:
    """The state of a run: canvas, optimiser, and what is drawn at which step.

    `labels` are those of all images; `canvas` holds the images that this process owns, all of them where it is alone.
    """

    def __init__(
        self,
        canvas: Canvas,
        labels: Int[Tensor, " images"],
        terms: Sequence[Term],
        policy: ViewPolicy,
        schedule: Schedule,
        *,
        views: int = 1,
        seed: int = 0,
        chunk: int | None = None,
        device: torch.device | None = None,
    ):
        self.canvas, self.terms, self.policy, self.schedule, self.seed = canvas, tuple(terms), policy, schedule, seed
        images = torch.arange(len(labels)).repeat_interleave(views)
        self.rows = Rows(images, torch.arange(views).repeat(len(labels)), labels[images])
        self.own = processes.share(len(labels))
        self._mine = torch.arange(self.own.start * views, self.own.stop * views)
        self.chunk = chunk or len(self._mine)
        self.device = device or self.terms[0].backbone.device
        self._adam = self._new_adam()

    def step(self, step: int) -> dict[str, float]:
        """Grow, compute the exact gradient, move the canvas; returns figures for the log."""
        if self.canvas.grow(step):
            self._admit_new_parameters()
        for group in self._adam.param_groups:
            group["lr"] = self.schedule.rate(step)
        log = self.gradient(step)
        self._adam.step()
        self.canvas.after_step()
        return log

    def gradient(self, step: int) -> dict[str, float]:
        """Fill the `.grad` of the canvas' parameters with the gradient of the weighted terms at `step`.

        Where the memory doesn't suffice, `chunk` is halved, and stays so.
        """
        log = self._try_gradient(step)
        while log is None:
            log = self._try_gradient(step)
        if not math.isfinite(log["gradient"]):
            raise SettingsError(
                f"the gradient at step {step} is not finite; the step was not taken",
                "The last checkpoint is whole. Try --precision fp32 or a lower --lr.",
            )
        return log

    def _try_gradient(self, step: int) -> dict[str, float] | None:
        """`gradient`, or None where it is to be tried again: a process lacked memory, and has halved its chunk."""
        parameters = self.canvas.parameters().values()
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            else:
                parameter.grad.zero_()
        log, complete = {"loss": 0.0}, True
        for term in self.terms:
            with term.backbone.visiting(self.device):
                complete = self._add_gradient(term, step, log) and complete
        penalty = self._penalise()
        norms = [torch.linalg.vector_norm(parameter.grad) for parameter in parameters]  # type: ignore[arg-type]
        square = torch.stack(norms).cpu().double().square().sum()
        told = torch.stack([square, penalty, torch.tensor(not complete).double()])
        square, penalty, lacking = processes.total(told).tolist()
        if lacking:
            return None
        return log | {"loss": log["loss"] + penalty, "gradient": math.sqrt(square)}

    def _add_gradient(self, term: Term, step: int, log: dict[str, float]) -> bool:
        """Whether the memory sufficed; no process may leave before all features were gathered."""
        features = self._features(term, step)
        images = features.detach().unflatten(0, (len(self.own), -1))
        whole = processes.gather(images, things=len(self.rows) // images.shape[1]).flatten(0, 1)
        gradient = self._judge(term, step, whole, log)
        try:
            if features.requires_grad:
                self._backward(features, gradient, self._mine)
            else:
                for chunk in self._mine.split(self.chunk):
                    self._backward(self._forward(term, step, chunk), gradient, chunk)
            return True
        except RuntimeError as error:
            self._refuse_all_but_lack_of_memory(error)
        self.chunk = -(-self.chunk // 2)  # outside of `except`, where the error still holds the step's tensors
        return False

    def _features(self, term: Term, step: int) -> Float[Tensor, "mine dim"]:
        """Features of this process' views; they carry their graph where all fit into one chunk."""
        while True:
            chunks = self._mine.split(self.chunk)
            try:
                if len(chunks) == 1:
                    return self._forward(term, step, chunks[0])
                with torch.no_grad():
                    return torch.cat([self._forward(term, step, chunk) for chunk in chunks])
            except RuntimeError as error:
                self._refuse_all_but_lack_of_memory(error)
            self.chunk = -(-self.chunk // 2)

    def _refuse_all_but_lack_of_memory(self, error: RuntimeError) -> None:
        if not is_out_of_memory(error):
            raise error
        if self.chunk == 1:
            message = f"one view of {self.policy.crop} pixels doesn't fit into the memory of {self.device}"
            raise SettingsError(message, "choose a smaller backbone, or --precision bf16") from error

    def _forward(self, term: Term, step: int, chunk: Int[Tensor, " k"]) -> Float[Tensor, "k dim"]:
        ids, place = (self.rows.image[chunk] - self.own.start).unique(return_inverse=True)
        images = self.canvas.images(ids)
        if len(ids) < len(chunk):
            images = _Repeat.apply(images, place)
        windows = draw_windows(
            self.policy,
            self.seed,
            Stream.SYNTHESIS,
            step,
            self.rows.image[chunk].tolist(),
            self.rows.view[chunk].tolist(),
        )
        views = cut_views(images, windows, self.policy)
        return term.backbone(views)

    def _judge(
        self, term: Term, step: int, features: Float[Tensor, "rows dim"], log: dict[str, float]
    ) -> Float[Tensor, "rows dim"]:
        """The term's weighted gradient with respect to the features; its figures go into the log."""
        if not torch.isfinite(features).all():
            raise SettingsError(
                f"backbone {term.backbone.name} gave features that are not finite at step {step}",
                "The last checkpoint is whole. Try --precision fp32 or a lower --lr.",
            )
        rows = Rows(*(part.to(features.device) for part in (self.rows.image, self.rows.view, self.rows.label)))
        judged = term.objective.at(step)(features, rows)
        log["loss"] += term.weight * judged.loss
        prefix = f"{term.backbone.name}." if len(self.terms) > 1 else ""
        log |= {prefix + name: value for name, value in judged.log.items()}
        return term.weight * judged.gradient

    def _backward(self, features: Float[Tensor, "k dim"], gradient: Float[Tensor, "rows dim"], chunk: Tensor) -> None:
        features.backward(gradient[chunk.to(gradient.device)].to(features))

    def _penalise(self) -> Float[Tensor, ""]:
        """Add the gradient of the canvas' penalties; returns their sum (float64, on the CPU)."""
        total = torch.zeros((), dtype=torch.float64)
        for ids in torch.arange(self.canvas.count).split(self.chunk):
            penalty = self.canvas.penalty(ids)
            if penalty is not None:
                penalty.backward()
                total += penalty.detach().cpu()
        return total

    def _new_adam(self) -> torch.optim.Adam:
        parameters = list(self.canvas.parameters().values())
        return torch.optim.Adam(parameters, lr=self.schedule.lr, fused=parameters[0].device.type != "mps")

    def _admit_new_parameters(self) -> None:
        if self.schedule.restart:
            self._adam = self._new_adam()
            return
        known = {id(parameter) for group in self._adam.param_groups for parameter in group["params"]}
        new = [parameter for parameter in self.canvas.parameters().values() if id(parameter) not in known]
        self._adam.add_param_group({"params": new})

    def state_dict(self) -> dict[str, Tensor]:
        """Canvas and Adam's moments as named tensors, not copied: the next step changes them."""
        state = {f"canvas.{name}": value for name, value in self.canvas.state_dict().items()}
        for name, parameter in self.canvas.parameters().items():
            for key, value in self._adam.state[parameter].items():
                state[f"adam.{name}.{key}"] = value
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state_dict` returned."""
        canvas = {key.removeprefix("canvas."): value for key, value in state.items() if key.startswith("canvas.")}
        self.canvas.load_state_dict(canvas)
        self._adam = self._new_adam()
        for name, parameter in self.canvas.parameters().items():
            prefix = f"adam.{name}."
            moments = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            if moments:
                self._adam.state[parameter] = {
                    key: value.clone().to(parameter.device) for key, value in moments.items()
                }
