"""`attar distill` where its method chooses real images instead of making synthetic ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attar.errors import SettingsError, nearest

if TYPE_CHECKING:
    from attar.backbones import Backbone
    from attar.cli.options import BackboneOptions
    from attar.distilled import DistilledSet
    from attar.images import ImageSource

_UNUSED = ("--preset", "--settings", "--set", "--steps", "--views", "--lr", "--memory", "--chunk", "--groups")


@dataclass(frozen=True)
class Selection:
    """What was asked for: how real images are chosen, and through which backbone."""

    method: str
    ipc: int
    seed: int
    network: Backbone
    like: DistilledSet | None
    words: Sequence[str]
    """What `attar evaluate` is told of the backbone."""
    notes: Sequence[str] = ()

    def make(self, source: ImageSource, target: Path, number: int, **where: Any) -> DistilledSet:
        """Set `number` of those with consecutive seeds."""
        from attar.selection import select

        asked: dict[str, Any] = {"method": self.method, "ipc": self.ipc, "seed": self.seed + number, "like": self.like}
        return select(source, self.network, target, **asked, **where)


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


def open_selection(
    method: str,
    ipc: int,
    described: BackboneOptions,
    *,
    seed: int,
    seeds: int,
    like: Path | None,
    given: Mapping[str, object],
) -> Selection:
    """SettingsError where options of an optimisation are `given` (not None), several backbones, or seeds in vain."""
    from attar.distilled import load
    from attar.selection import DRAWN

    unused = [option for option in _UNUSED if given[option] is not None]
    if unused:
        raise SettingsError(
            f"{method} takes no {', '.join(unused)}",
            f"It chooses images as they are: leave that out, and name the method by --method {method}.",
        )
    if len(described.names) > 1:
        raise SettingsError(
            f"{method} looks through one backbone, not {len(described.names)}", "make a set for each of them"
        )
    if seeds > 1 and method not in DRAWN:
        raise SettingsError(f"{method} chooses the same images for every seed", "leave --seeds out")
    reference = None if like is None else load(like)
    return Selection(method, ipc, seed, described.open()[0], reference, described.words())
