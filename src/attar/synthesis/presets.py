"""Settings of a distillation, and the presets that name whole sets of them.

`paper` is what the authors of SFM published (sfm.md 8, lgm.md 4-6), `attar` the default and the best we know by
held-out training data, `fast` close to it in a fraction of the time. docs/results.md says how they were chosen.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from attar.errors import SettingsError, nearest


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
    w_mean: float = Field(0.0, ge=0, description="weight of the common mean (sfm.md 7)")
    w_scale: float = Field(0.0, ge=0, description="weight of the scale (sfm.md 7)")
    paper_quirks: bool = Field(False, description="the authors' divisor at ipc > 1 (sfm.md 10)")
    equal_clusters: bool = Field(True, description="sfm-sub: clusters of equal size; else images carry weights")
    group_balanced: bool = Field(False, description="class centres in which every group counts the same")
    normalise: Literal["native", "imagenet"] = "native"

    @model_validator(mode="after")
    def _ordered(self) -> Settings:
        if self.scale_low is not None and self.scale_low > self.scale_high:
            raise ValueError(f"scale_low {self.scale_low} is above scale_high {self.scale_high}")
        return self


_AUTHORS_NOISE = {"noise": 0.5, "noise_mean": 0.5, "noise_std": 0.2}

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"steps": 5001, "restart_adam": True, "normalise": "imagenet", **_AUTHORS_NOISE},
    "attar": {"steps": 2000, "lr": 1e-2, "grow_every": 50, "tail": 0.2, "w_mean": 0.1, "statistics_views": 4},
    "fast": {"steps": 400, "lr": 1e-2, "grow_every": 20, "tail": 0.2, "w_mean": 0.1, "statistics_views": 2},
}


def choose_settings(preset: str = "attar", file: Path | None = None, **flags: Any) -> Settings:
    """A preset, then a TOML file, then flags that aren't None; later wins. SettingsError names what is wrong."""
    if preset not in PRESETS:
        raise SettingsError(f"There is no preset {preset!r}.", nearest(preset, PRESETS))
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**(PRESETS[preset] | _read(file) | given))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "scale_low"
        if first["type"] == "extra_forbidden":
            raise SettingsError(f"There is no setting {name!r}.", nearest(name, Settings.model_fields)) from error
        allowed = first["msg"][0].lower() + first["msg"][1:]
        raise SettingsError(f"Setting {name} = {first['input']!r}: {allowed}.") from error


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"Can't read settings from {file}: {error}.", "It should be a TOML file.") from error
