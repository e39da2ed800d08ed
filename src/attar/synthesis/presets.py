"""Presets: whole sets of settings by name.

`paper` is what the authors published (sfm.md 8, lgm.md 4-6), `attar` the default and the best we know by held-out
training data, `fast` close to it in a fraction of the time. docs/results.md says how they were chosen.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attar.errors import SettingsError, nearest
from attar.synthesis.settings import Settings, make_settings


@dataclass(frozen=True)
class Preset:
    """Settings of any run, and those that a method has besides."""

    settings: Mapping[str, Any]
    by_method: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_AUTHORS_NOISE = {"noise": 0.5, "noise_mean": 0.5, "noise_std": 0.2}
_FLOW = {"w_mean": 0.1}

PRESETS: dict[str, Preset] = {
    "paper": Preset(
        {"steps": 5001, "restart_adam": True, "normalise": "imagenet", **_AUTHORS_NOISE},
        {"lgm": {"views": 10, "real": "batch", "prior": "empirical"}},
    ),
    "attar": Preset(
        {"steps": 2000, "lr": 1e-2, "grow_every": 50, "tail": 0.2, "statistics_views": 4},
        {"sfm": _FLOW, "sfm-sub": _FLOW},
    ),
    "fast": Preset(
        {"steps": 400, "lr": 1e-2, "grow_every": 20, "tail": 0.2, "statistics_views": 2},
        {"sfm": _FLOW, "sfm-sub": _FLOW},
    ),
}


def choose_settings(preset: str = "attar", file: Path | None = None, **flags: Any) -> Settings:
    """A preset, then a TOML file, then flags that aren't None; later wins. SettingsError names what is wrong."""
    if preset not in PRESETS:
        raise SettingsError(f"There is no preset {preset!r}.", nearest(preset, PRESETS))
    chosen = PRESETS[preset]
    given = _read(file) | {name: value for name, value in flags.items() if value is not None}
    method = given.get("method", chosen.settings.get("method", "sfm"))
    own = chosen.by_method.get(method, {}) if isinstance(method, str) else {}
    return make_settings({**chosen.settings, **own, **given})


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"Can't read settings from {file}: {error}.", "It should be a TOML file.") from error
