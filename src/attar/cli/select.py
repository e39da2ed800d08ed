"""What `attar distill` refuses where its method chooses real images instead of making synthetic ones."""

from __future__ import annotations

from collections.abc import Mapping

from attar.errors import SettingsError, nearest


def is_selection(method: str) -> bool:
    """Whether `method` chooses real images; SettingsError names the nearest method where there is none of that name."""
    from attar.compression.recovery_settings import RECOVERIES
    from attar.selection import SELECTIONS
    from attar.synthesis.objectives import find_objective, objective_names

    if method not in SELECTIONS and find_objective(method) is None:
        raise SettingsError(
            f"there is no method {method!r}", nearest(method, [*objective_names(), *SELECTIONS, *RECOVERIES])
        )
    return method in SELECTIONS


def refuse_unused(method: str, options: Mapping[str, object], *, backbones: int, seeds: int) -> None:
    """SettingsError where options of an optimisation were given (not None) to a selection, which has none."""
    from attar.selection import DRAWN

    given = [option for option, value in options.items() if value is not None]
    if given:
        raise SettingsError(
            f"{method} takes no {', '.join(given)}",
            f"It chooses images as they are: leave that out, and name the method by --method {method}.",
        )
    if backbones > 1:
        raise SettingsError(f"{method} looks through one backbone, not {backbones}", "make a set for each of them")
    if seeds > 1 and method not in DRAWN:
        raise SettingsError(f"{method} chooses the same images for every seed", "leave --seeds out")
