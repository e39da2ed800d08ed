"""What an objective is: it sees features, never images, and returns its gradient in closed form.

The loop asks an objective once a step, with the features of all views of all synthetic images. What the objective
knows of the real data it was given before the loop began. A new objective is one file beside this one and an entry in
`OBJECTIVES` of the package; `attar.testing.check_objective` lists what it must satisfy.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Which image, which view and which class each feature row belongs to."""

    image: Int[Tensor, " rows"]
    view: Int[Tensor, " rows"]
    label: Int[Tensor, " rows"]

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class FeatureLoss:
    """A loss, its gradient with respect to the features (float32 or float64), and figures for the log."""

    loss: float
    gradient: Float[Tensor, "rows dim"]
    log: dict[str, float]


class Objective(abc.ABC):
    """How far synthetic features are from what the real data ask for."""

    @abc.abstractmethod
    def at(self, step: int) -> Callable[[Tensor, Rows], FeatureLoss]:
        """The loss function of one step, from features [rows, dim] and their rows; a pure function of its inputs."""

    @property
    def image_weights(self) -> Float[Tensor, " images"] | None:
        """How much each synthetic image counts in training, in image order; None where each counts 1."""
        return None
