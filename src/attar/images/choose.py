"""A part of a source for a quick or smaller study: some of its classes, or some images of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attar.errors import ImageError, SettingsError, nearest
from attar.images.source import ImageSource

_FORM = "Give a list of class names, or a file with one a line."


def of_classes(source: ImageSource, wanted: Sequence[str] | str | Path) -> ImageSource:
    """The images of the classes in `wanted`, a list of names or a file with one name a line; the others disappear.

    Of a line that is no class name its first word counts, and what follows # never does: lists of ImageNet's wnids
    are such files. Order and titles stay the source's. Raises ImageError for names the source doesn't have, and for
    fewer than two.
    """
    names = _from_file(Path(wanted), source.classes) if isinstance(wanted, str | Path) else list(wanted)
    unknown = [name for name in names if name not in source.classes]
    if unknown:
        others = f" (and {len(unknown) - 1} more of {len(names)})" if len(unknown) > 1 else ""
        raise ImageError(f"there is no class {unknown[0]!a} in {source.location}{others}", _near(unknown[0], source))
    chosen = set(names)
    kept = [label for label, name in enumerate(source.classes) if name in chosen]
    if len(kept) < 2:
        raise ImageError(f"{len(kept)} of the classes in {source.location} is too few: two are needed", _FORM)
    part = source.subset(np.flatnonzero(np.isin(source.labels, kept)))
    part.classes = tuple(source.classes[label] for label in kept)
    part.titles = tuple(source.titles[label] for label in kept)
    part.labels = np.searchsorted(kept, part.labels).astype(np.int64)
    return part


def at_most(source: ImageSource, limit: int) -> ImageSource:
    """At most `limit` images of each class, drawn without replacement; order and classes stay.

    The draw is the same every time (seed 0), a smaller limit's images are among a larger one's, and a class's don't
    depend on what other images there are. Raises SettingsError for a limit below 1.
    """
    if limit < 1:
        raise SettingsError(f"can't keep {limit} images a class", "Give a limit of at least 1.")
    chosen = []
    for label in range(len(source.classes)):
        members = np.flatnonzero(source.labels == label)
        chosen.append(np.random.default_rng(0).permutation(members)[:limit])
    return source.subset(np.sort(np.concatenate(chosen)))


def _from_file(file: Path, classes: tuple[str, ...]) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ImageError(f"can't read class names from {file}: {error}", _FORM) from error
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [line if line in classes else line.split()[0] for line in lines if line]


def _near(name: str, source: ImageSource) -> str:
    """The nearest class names; all of them only where they fit on a line or two."""
    guess = nearest(name, source.classes)
    return guess if guess.startswith("Did") or len(guess) < 300 else f"It has {len(source.classes):,} classes."
