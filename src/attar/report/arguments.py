"""What the paths given to a report are: distilled sets, runs, or what `attar evaluate --out` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attar.distilled import DistilledSet, load
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

    ArtefactError for a path that is none of these.
    """
    given = Given()
    places: dict[Path, DistilledSet] = {}
    for path in paths:
        run = Run(path) if (path / "settings.toml").is_file() else Run.beside(path)
        made = path.with_name(path.name.removesuffix(".run")) if run.folder == path else path
        if (path / "results.json").is_file() or path.name == "results.json":
            given.evaluations.append(path)
        elif (made / "attar.json").is_file():
            places.setdefault(made.resolve(), load(made))
        elif (run.folder / "settings.toml").is_file():
            given.runs.append(run)
        else:
            raise ArtefactError(
                f"{path} is no distilled set, no run and no evaluation.",
                "Give folders that attar distill or attar evaluate --out wrote.",
            )
    given.sets.extend(places.values())
    return given
