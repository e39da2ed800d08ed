"""What the paths given to a report are: distilled sets, runs, or what `attar evaluate --out` wrote."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attar.distilled import DistilledSet, load
from attar.distilled.artefact import ON_THE_HUB
from attar.distilled.own_run import set_of
from attar.errors import ArtefactError
from attar.run import Run


@dataclass(frozen=True)
class Given:
    """The paths, told apart, each in the order given."""

    sets: list[DistilledSet] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    evaluations: list[Path] = field(default_factory=list)


def tell_apart(paths: Sequence[Path]) -> Given:
    """Open each path as what it is; a finished run brings its set, an unfinished set its run.

    "hf:OWNER/NAME" is a set on the hub, see `attar.load`. ArtefactError for a path that is none of these.
    """
    given = Given()
    sets: dict[Path, DistilledSet] = {}
    for path in paths:
        place = _with_name(path)
        is_run = (place / "settings.toml").is_file()
        run = Run(place) if is_run else Run.beside(place)
        made = set_of(run) if is_run else _set(place)
        if (place / "results.json").is_file() or place.name == "results.json":
            given.evaluations.append(place)
        elif made is not None:
            sets.setdefault(made.path.resolve(), made)
        elif (run.folder / "settings.toml").is_file():
            given.runs.append(run)
        else:
            raise ArtefactError(
                f"{path} is no distilled set, no run and no evaluation.",
                "Give folders that attar distill or attar evaluate --out wrote.",
            )
    given.sets.extend(sets.values())
    return given


def _with_name(path: Path) -> Path:
    """The path as it is typed, but "." and ".." as what they mean, which has a name."""
    return Path(os.path.abspath(path)) if path.name in ("", "..") else path  # noqa: PTH100 (links stay)


def _set(place: Path) -> DistilledSet | None:
    """The set at a folder or on the hub; None where the folder holds none."""
    return load(place) if str(place).startswith(ON_THE_HUB) or (place / "attar.json").is_file() else None
