"""Which run made a set, and which set a run made: what lies beside may be another's."""

from __future__ import annotations

import tomllib

from attar.distilled.artefact import DistilledSet, load
from attar.errors import SettingsError
from attar.run import Run, toml


def run_of(distilled: DistilledSet) -> Run | None:
    """The run that made a set, where its folder still lies beside it; None where there is none, or another's.

    A run is known by its settings, which are those in the set's record: a set that was imported, moved or copied over
    what another left has others, and so has a set whose run was begun anew. Where the run kept no settings at all (as
    `attar edits` does) a set whose record tells of training images is taken at its word. Damaged settings are nobody's.
    """
    run = Run.beside(distilled.path)
    if not run.folder.is_dir():
        return None
    try:
        known = run.settings()
    except SettingsError:
        return None
    if known is None:
        return run if distilled.manifest.train_images else None
    try:
        recorded = tomllib.loads(toml(distilled.manifest.settings))
    except tomllib.TOMLDecodeError:  # of another code's hand: names and numbers that TOML doesn't have
        return None
    return run if known == recorded else None


def set_of(run: Run) -> DistilledSet | None:
    """The set that a run made, where it lies beside the run's folder; None while there is none, or another's.

    ArtefactError where it is damaged.
    """
    place = run.folder.with_name(run.folder.name.removesuffix(".run"))
    made = load(place) if (place / "attar.json").is_file() else None
    return None if made is None or run_of(made) is None else made
