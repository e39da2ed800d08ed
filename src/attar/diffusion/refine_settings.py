"""Settings of a refinement: everything that decides what a diffusion model makes of a distilled set, and its presets.

`paper` are the authors' settings as far as they are published (diver.md 4); σ, the guidance scale and the order of the
window's ends are not, and are decided in diver.md 5. `attar` is the same. `fast` takes 20 of their 50 steps: the start
and the window keep about their timesteps (450 for 480, 750 to 500 for 780 to 500), and six steps pull harder, so that
they take as much of the noise with them as fifteen do: Π(1−γσ) is 0.487 for 0.485.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from attar.diffusion.sampling import Target
from attar.diffusion.schedule import Sigma
from attar.errors import SettingsError, nearest
from attar.synthesis.presets import Preset, read_settings


class RefineSettings(BaseModel):
    """Everything that decides *what* comes out of a refinement; indices count steps from 1, the last, to `steps`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(50, ge=1, description="of the sampler")
    start_index: int | None = Field(None, ge=1, description="where the reverse process begins (at all steps)")
    t_f: int = Field(25, ge=1, description="the index whose noise is put on the image's latent")
    window_high: int = Field(40, description="the first step that is guided")
    window_low: int = Field(25, description="the first step that isn't any more")
    gamma: float = Field(0.1, ge=0, description="strength of the semantic guidance")
    cfg: float | None = Field(None, ge=0, description="scale of classifier-free guidance (the model's own)")
    sigma: Sigma = "posterior"
    target: Target = "clean"
    si: bool = Field(True, description="semantic inheritance: start from the image's latent, not from noise alone")
    sg: bool = Field(True, description="semantic guidance: pull towards that latent")
    sf: bool = Field(True, description="semantic fusion: pull in the window alone, not at every step")
    vae_only: bool = Field(False, description="a control: encode and decode, no diffusion")
    replicas: int = Field(1, ge=1, description="refined images of each image")
    out_size: int | None = Field(None, ge=1, description="side of the refined images (the model's)")
    seed: int = Field(3407, ge=0, lt=2**63)

    @model_validator(mode="before")
    @classmethod
    def _at_the_authors_shares(cls, given: dict[str, Any]) -> dict[str, Any]:
        """With other steps than 50, t_f is the half of them and the window four fifths to the half, as the authors'."""
        steps = given.get("steps", 50)
        if not isinstance(steps, int):
            return given
        half = max(1, steps // 2)
        return {"t_f": half, "window_high": max(half + 1, steps * 4 // 5), "window_low": half} | given

    @model_validator(mode="after")
    def _indices_exist(self) -> RefineSettings:
        high, low, steps = self.window_high, self.window_low, self.steps
        if self.vae_only:
            return self
        if self.sg and self.sf and not 1 <= low < high <= steps:
            raise ValueError(f"Window [{high}, {low}] is not inside 1..{steps} with {high} > {low}.")
        if self.si and self.t_f > steps:
            raise ValueError(f"t_f {self.t_f} is beyond the {steps} steps")
        if self.first > steps:
            raise ValueError(f"start_index {self.first} is beyond the {steps} steps")
        return self

    @property
    def first(self) -> int:
        """The index at which the reverse process begins."""
        return self.start_index or self.steps

    @property
    def window(self) -> tuple[int, int]:
        """(high, low): steps k with low < k <= high are guided; none of them without guidance, all without fusion."""
        if not self.sg:
            return 0, 0
        return (self.window_high, self.window_low) if self.sf else (self.steps, 0)


_PAPER: dict[str, Any] = {}  # the defaults
_FAST = {"steps": 20, "gamma": 0.17}

REFINE_PRESETS: dict[str, Preset] = {
    "attar": Preset("the default: the authors' settings", _PAPER),
    "fast": Preset("20 steps instead of 50, at the same timesteps", _FAST),
    "paper": Preset("the authors' settings", _PAPER),
}


def choose_refinement(preset: str = "attar", file: Path | None = None, **flags: Any) -> RefineSettings:
    """A preset, then a TOML file, then flags that aren't None; later wins. SettingsError names what is wrong.

    >>> choose_refinement("fast", gamma=0.02).t_f
    10
    """
    if preset not in REFINE_PRESETS:
        raise SettingsError(f"there is no preset {preset!r} of a refinement", nearest(preset, REFINE_PRESETS))
    given = read_settings(file) | {name: value for name, value in flags.items() if value is not None}
    return _make({**REFINE_PRESETS[preset].settings, **given})


def _make(values: Mapping[str, Any]) -> RefineSettings:
    try:
        return RefineSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
    if not first["loc"]:
        raise SettingsError(
            first["msg"].removeprefix("Value error, "), "give one of them another value: --set NAME=VALUE"
        )
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        raise SettingsError(f"{name} is no setting of a refinement", nearest(name, RefineSettings.model_fields))
    allowed = first["msg"][0].lower() + first["msg"][1:]
    raise SettingsError(
        f"setting {name} = {first['input']!r}: {allowed}",
        "Give it another value: --set NAME=VALUE, or the flag of that name.",
    )
