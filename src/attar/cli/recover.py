"""`attar distill` where its method recovers images from a squeezed network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attar.errors import SettingsError

if TYPE_CHECKING:
    from attar.backbones.squeezed import Squeezed
    from attar.compression.recovery_settings import RecoverySettings
    from attar.distilled import DistilledSet
    from attar.images import ImageSource


_UNUSED = (
    "--weights",
    "--image-size",
    "--mean",
    "--std",
    "--key-map",
    "--model-arg",
    "--memory",
    "--chunk",
    "--groups",
    "--like",
)


@dataclass(frozen=True)
class Recovery:
    """What was asked for: settings, and the network to recover from."""

    settings: RecoverySettings
    squeezed: Squeezed
    notes: Sequence[str]

    def make(self, source: ImageSource, target: Path, number: int, **where: Any) -> DistilledSet:
        """Set `number` of those with consecutive seeds."""
        from attar.compression.recover import recover

        chosen = self.settings.model_copy(update={"seed": self.settings.seed + number})
        return recover(source, self.squeezed, target, settings=chosen, **where)

    @property
    def words(self) -> list[str]:
        """What `attar evaluate` is told to train the network's like on the set, with its soft labels."""
        student = self.squeezed.record.architecture
        return ["--protocol", "soft-rded", "--student", student, "--teacher", self.squeezed.name]


def open_recovery(
    preset: str, file: Path | None, flags: Mapping[str, Any], backbones: Sequence[str], given: Mapping[str, object]
) -> Recovery:
    """SettingsError where options without a meaning here are `given` (not None), or several networks."""
    from attar.backbones.squeezed import read_squeezed
    from attar.compression.recovery_settings import RECOVERY_PRESETS, choose_recovery

    chosen = choose_recovery(preset, file, **flags)
    unused = [option for option in _UNUSED if given[option] is not None]
    if unused:
        raise SettingsError(
            f"{chosen.method} takes no {', '.join(unused)}", "the squeezed network says all of that: leave it out"
        )
    if len(backbones) > 1:
        raise SettingsError(
            f"{chosen.method} recovers from one network, not {len(backbones)}", "make a set for each of them"
        )
    published = RECOVERY_PRESETS[preset].published
    return Recovery(chosen, read_squeezed(backbones[0]), [] if published is None else [published.text])
