"""What an objective is: it sees features, never images, and returns its gradient in closed form.

The loop asks an objective once a step, with the features of all views of all synthetic images. What the objective
knows of the real data it was given before the loop began. A new objective is one file beside this one and an entry in
the package's `OBJECTIVES`, or in another package an entry point of the group "attar.objectives";
`attar.testing.check_objective` lists what it must satisfy.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from attar.features import RealFeatures


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


class Options(BaseModel):
    """The settings that one objective alone has; users give them beside those of the run."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def needs_groups(self) -> bool:
        """Whether the images' groups decide anything."""
        return False

    def fresh_views(self, rows: int, classes: int) -> int:
        """How many views of real images a step encodes, beside `rows` of synthetic ones; for the plan."""
        del rows, classes
        return 0


class Objective(abc.ABC):
    """How far synthetic features are from what the real data ask for."""

    Options: ClassVar[type[Options]] = Options
    """The settings that `build` takes."""

    @classmethod
    def build(cls, real: RealFeatures, options: Any, *, ipc: int, seed: int) -> Objective:
        """The objective of a run with `ipc` images a class, from what is known of the real data on one backbone."""
        raise NotImplementedError(f"{cls.__name__} can't be built by name")

    @classmethod  # noqa: B027 (most take all data)
    def check(cls, options: Any, counts: Mapping[str, int], *, ipc: int) -> None:
        """Raise SettingsError where this number of real images a class won't do; called before any is read."""

    @abc.abstractmethod
    def at(self, step: int) -> Callable[[Tensor, Rows], FeatureLoss]:
        """The loss function of one step, from features [rows, dim] and their rows; a pure function of its inputs."""

    @property
    def image_weights(self) -> Float[Tensor, " images"] | None:
        """How much each synthetic image counts in training, in image order; None where each counts 1."""
        return None
