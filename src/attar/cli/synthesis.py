"""`attar distill` where its method optimises images on frozen backbones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attar.errors import SettingsError

if TYPE_CHECKING:
    from attar.backbones import Backbone
    from attar.cli.options import BackboneOptions
    from attar.distilled import DistilledSet
    from attar.images import ImageSource
    from attar.synthesis.settings import Settings


@dataclass(frozen=True)
class Synthesis:
    """What was asked for: settings, backbones, and how much memory they may take."""

    settings: Settings
    networks: Sequence[Backbone]
    words: Sequence[str]
    """What `attar evaluate` is told of the backbones."""
    notes: Sequence[str]
    memory: int | None
    chunk: int | None

    def make(self, source: ImageSource, target: Path, number: int, **where: Any) -> DistilledSet:
        """Set `number` of those with consecutive seeds."""
        from attar.synthesis import distill

        chosen = self.settings.model_copy(update={"seed": self.settings.seed + number})
        limits: dict[str, Any] = {"memory": self.memory, "chunk": self.chunk}
        return distill(source, self.networks, target, settings=chosen, **limits, **where)


def open_synthesis(
    settings: Settings,
    described: BackboneOptions,
    *,
    preset: str,
    like: Path | None,
    groups: str | None,
    memory: int | None,
    chunk: int | None,
) -> Synthesis:
    """SettingsError where a set to be like was given."""
    from attar.synthesis.presets import published_for

    if like is not None:
        raise SettingsError(
            f"{settings.method} has no use for --like", "leave it out, or choose --method neighbours or jpeg"
        )
    published = published_for(preset)
    notes = [] if published is None else [published]
    if groups is not None and not settings.options.needs_groups:
        notes.append("Groups decide nothing by themselves: add --set group_balanced=true to balance class centres.")
    return Synthesis(settings, described.open(), described.words(), notes, memory, chunk)
