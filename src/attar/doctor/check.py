"""One finding of the doctor, and how a look that fails becomes one."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Literal

from attar.errors import AttarError

State = Literal["ok", "missing", "broken", "slow"]


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and where it isn't well, what to do."""

    name: str
    state: State
    value: str
    advice: str = ""
    figure: float | None = None
    """The number in `value` that proposals are made from: free bytes, GFLOP/s."""


def attempt(name: str, look: Callable[[], Check]) -> Check:
    """What `look` finds; that it fails is a finding too."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return look()
    except Exception as error:
        return Check(name, "broken", told(error), "mend what else is broken; where that is nothing, report this")


def told(error: Exception) -> str:
    """The first line of what an error says, with its kind where it isn't one of attar's."""
    text = error.message if isinstance(error, AttarError) else f"{type(error).__name__}: {error}"
    return text.strip().partition("\n")[0]


def imported(name: str) -> tuple[ModuleType | None, Check]:
    """A module, and how importing it went: a broken one raises anything, not ImportError alone."""
    modules: list[ModuleType] = []

    def look() -> Check:
        modules.append(importlib.import_module(name))
        return Check(f"import {name}", "ok", "works")

    found = replace(attempt(f"import {name}", look), advice=f"pip install --force-reinstall --no-deps {name}")
    return (modules[0] if modules else None), found
