"""Presets: whole sets of settings by name.

`paper` is what the authors published (sfm.md 8, lgm.md 4-6), `attar` the default and the best we know by held-out
training data, `fast` close to it in a fraction of the time. docs/results.md says how they were chosen. The others are
one row of a paper's table each, with its method: what their authors report of it is `published_for`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attar.errors import SettingsError, nearest
from attar.synthesis.published import (
    LGM_IMAGENET_1K,
    LGM_IMAGENET_100,
    SFM_IMAGENET_1K,
    SFM_IMAGENET_100,
    Published,
)
from attar.synthesis.settings import Settings, make_settings


@dataclass(frozen=True)
class Preset:
    """Settings of any run, and those that a method has besides; a preset that sets the method is for it alone."""

    about: str
    settings: Mapping[str, Any]
    by_method: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    published: Published | None = None

    @property
    def method(self) -> str | None:
        """The one method it is for; None where it goes with any."""
        return self.settings.get("method")


_PAPER = {
    "steps": 5001,
    "restart_adam": True,
    "normalise": "imagenet",
    "noise": 0.5,
    "noise_mean": 0.5,
    "noise_std": 0.2,
}
_PAPER_LGM = {"views": 10, "real": "batch", "prior": "empirical"}
_LGM = {**_PAPER, **_PAPER_LGM, "method": "lgm"}
_SFM = {**_PAPER, "method": "sfm"}
_FLOW = {"w_mean": 0.1}
_LEARNED = {**_FLOW, "target": "learned"}

PRESETS: dict[str, Preset] = {
    "attar": Preset(
        "the default",
        {"steps": 2000, "lr": 1e-2, "grow_every": 50, "tail": 0.2, "statistics_views": 4},
        {"sfm": _LEARNED, "sfm-sub": _FLOW},
    ),
    "fast": Preset(
        "close to attar in a fifth of the steps",
        {"steps": 400, "lr": 1e-2, "grow_every": 20, "tail": 0.2, "statistics_views": 2},
        {"sfm": _LEARNED, "sfm-sub": _FLOW},
    ),
    "paper": Preset("the authors' settings, for any data", _PAPER, {"lgm": _PAPER_LGM}),
    "lgm-imagenet-100": Preset("the authors' ImageNet-100", _LGM, published=LGM_IMAGENET_100),
    "lgm-imagenet-1k": Preset("the authors' ImageNet-1k", {**_LGM, "views": 3}, published=LGM_IMAGENET_1K),
    "sfm-imagenet-100": Preset("the authors' ImageNet-100", _SFM, published=SFM_IMAGENET_100),
    "sfm-imagenet-1k": Preset("the authors' ImageNet-1k", _SFM, published=SFM_IMAGENET_1K),
}


def choose_settings(preset: str = "attar", file: Path | None = None, **flags: Any) -> Settings:
    """A preset, then a TOML file, then flags that aren't None; later wins. SettingsError names what is wrong."""
    chosen = _find(preset)
    given = read_settings(file) | {name: value for name, value in flags.items() if value is not None}
    method = given.get("method", chosen.method or "sfm")
    if chosen.method not in (None, method):
        raise SettingsError(
            f"preset {preset} is of method {chosen.method}, not {method}", "leave the method out, or use --preset paper"
        )
    own = chosen.by_method.get(method, {}) if isinstance(method, str) else {}
    return make_settings({**chosen.settings, **own, **given})


def published_for(preset: str) -> str | None:
    """What the authors report for a preset, and what they don't, in one paragraph; None where it is no row of a paper.

    Raises SettingsError where there is no such preset.
    """
    figures = _find(preset).published
    return None if figures is None else figures.text


def _find(preset: str) -> Preset:
    if preset not in PRESETS:
        raise SettingsError(f"there is no preset {preset!r}", nearest(preset, PRESETS))
    return PRESETS[preset]


def read_settings(file: Path | None) -> dict[str, Any]:
    """The table in a TOML file, empty without one; SettingsError where it can't be read."""
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"can't read settings from {file}: {error}", "It should be a TOML file.") from error
