"""Settings of a distillation: everything that decides what comes out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, model_validator

from attar.errors import SettingsError, nearest
from attar.synthesis.objectives import Options, find_objective, objective_names

IDENTITY = frozenset({"backbone", "backbone_fingerprint", "data", "data_fingerprint", "titles", "groups", "precision"})
"""What a run keeps beside its settings, because it decides the result as well."""


class Settings(BaseModel):
    """Everything that decides *what* comes out; where it runs (device, memory, chunk) is not among them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: str = Field("sfm", description="name of an objective")
    ipc: int = Field(1, ge=1, description="images per class")
    seed: int = Field(3407, ge=0, lt=2**63)
    steps: int = Field(5000, ge=1)
    views: int = Field(1, ge=1, description="views of each image in a step")
    lr: float = Field(2e-3, gt=0, description="Adam's learning rate")
    tail: float = Field(0.0, ge=0, le=1, description="last share of the steps, in which the rate falls to 0")
    canvas: Literal["pyramid", "pixels"] = "pyramid"
    grow_every: int = Field(200, ge=1, description="steps between two levels of the pyramid")
    start_side: int = Field(1, ge=1, description="side of the pyramid's finest level at the start")
    decorrelate: bool = Field(True, description="colours as they go together in photos")
    smooth: float = Field(0.0, ge=0, description="weight of a penalty on differences between neighbouring pixels")
    restart_adam: bool = Field(False, description="forget Adam's moments when a level is added")
    scale_low: float | None = Field(
        None, gt=0, le=1, description="smallest share of the area that a crop covers (.08; .5 up to 64 px)"
    )
    scale_high: float = Field(1.0, gt=0, le=1)
    flip: bool | None = Field(None, description="mirror half of the views (yes, but for digits)")
    noise: float = Field(0.0, ge=0, le=1, description="share of the views with Gaussian noise")
    noise_mean: float = 0.0
    noise_std: float = Field(0.2, ge=0)
    statistics_views: int = Field(0, ge=0, description="random views of each real image; 0 is the centre crop")
    normalise: Literal["native", "imagenet"] = "native"
    options: SerializeAsAny[Options] = Field(default_factory=Options, description="what the method alone has")

    @model_validator(mode="before")
    @classmethod
    def _with_default_options(cls, given: dict[str, Any]) -> dict[str, Any]:
        method = given.get("method", "sfm")
        return {"options": options_of(method)()} | given if isinstance(method, str) else given

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.scale_low is not None and self.scale_low > self.scale_high:
            raise ValueError(f"scale_low {self.scale_low} is above scale_high {self.scale_high}")
        if type(self.options) is not options_of(self.method):
            raise ValueError(f"options are those of another method than {self.method}")
        return self

    def flat(self) -> dict[str, Any]:
        """All settings by name, those of the method among them."""
        return self.model_dump(exclude={"options"}) | self.options.model_dump()


def options_of(method: str) -> type[Options]:
    """What the method has settings of its own for; selections of real images have none.

    SettingsError where an option of another package's objective has a name that stands for something else in a run.
    """
    objective = find_objective(method)
    own = objective.Options if objective else Options
    if taken := own.model_fields.keys() & (Settings.model_fields.keys() | IDENTITY):
        message = f"option {min(taken)} of method {method} has a name that stands for something else in every run"
        raise SettingsError(message, "give it another name in that package")
    return own


def make_settings(values: Mapping[str, Any]) -> Settings:
    """Settings from a flat table, of the run and of its method alike; SettingsError names what is wrong."""
    method = values.get("method", "sfm")
    names = {*Settings.model_fields} - {"options"}
    own = options_of(method) if isinstance(method, str) else Options
    try:
        options = own(**{name: value for name, value in values.items() if name not in names})
        return Settings(**{name: value for name, value in values.items() if name in names}, options=options)
    except ValidationError as error:
        raise _refusal(error.errors()[0], str(method), {*names, *own.model_fields}) from error


def _has(method: str, name: str) -> bool:
    try:
        return name in options_of(method).model_fields
    except SettingsError:  # another package's, which is broken
        return False


def _refusal(error: Any, method: str, known: Collection[str]) -> SettingsError:
    name = str(error["loc"][0]) if error["loc"] else "scale_low"
    if error["type"] != "extra_forbidden":
        allowed = error["msg"][0].lower() + error["msg"][1:]
        return SettingsError(
            f"setting {name} = {error['input']!r}: {allowed}",
            "Give it another value: --set NAME=VALUE, or the flag of that name.",
        )
    owners = [other for other in objective_names() if _has(other, name)]
    if owners:
        return SettingsError(f"{name} is no setting of method {method}", f"It is one of {', '.join(owners)}.")
    if find_objective(method) is None:
        return SettingsError(
            f"there is no method {method!r} with a setting {name!r}", nearest(method, objective_names())
        )
    return SettingsError(f"there is no setting {name!r}", nearest(name, known))
