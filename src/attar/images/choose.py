"""A part of a source for a quick or smaller study: some of its classes, or some images of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attar.errors import ImageError, SettingsError, nearest
from attar.images.source import ImageSource
from attar.images.subsets import subset, subset_names

_FORM = "Give a list of class names, a file with one a line, or a subset of ImageNet such as imagenet-100."
_WNIDS = "A subset of ImageNet needs all of its classes, called by WordNet id as ImageNet's folders are."


def of_classes(source: ImageSource, wanted: Sequence[str] | str | Path) -> ImageSource:
    """The images of the classes in `wanted`, a list of names or a file with one name a line; the others disappear.

    Where the source has no class of a name, the name may be that of a subset of ImageNet and stands for its WordNet
    ids, see `subset`. Of a line that is no class name its first word counts, and what follows # never does: lists of
    such ids are such files. Order and titles stay the source's, which are sorted by id where folders are called so,
    whatever the order of the list. Raises ImageError for names the source doesn't have, and for fewer than two.
    """
    listed = _listed(wanted, source.classes)
    names = [name for each in listed for name in _meant(each, source.classes)]
    unknown = [name for name in names if name not in source.classes]
    if unknown:
        others = f" (and {len(unknown) - 1} more of {len(names)})" if len(unknown) > 1 else ""
        hint = _near(unknown[0], source) if unknown[0] in listed else _WNIDS
        raise ImageError(f"there is no class {unknown[0]!a} in {source.location}{others}", hint)
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


def _listed(wanted: Sequence[str] | str | Path, classes: tuple[str, ...]) -> list[str]:
    if not isinstance(wanted, str | Path):
        return list(wanted)
    if subset(str(wanted)) is not None and not Path(wanted).is_file():
        return [str(wanted)]
    return _from_file(Path(wanted), classes)


def _meant(name: str, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The class of that name, or the classes of the subset of that name."""
    wnids = None if name in classes else subset(name)
    return wnids or (name,)


def _from_file(file: Path, classes: tuple[str, ...]) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ImageError(f"can't read class names from {file}: {error}", _FORM) from error
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [line if line in classes else line.split()[0] for line in lines if line]


def _near(name: str, source: ImageSource) -> str:
    """The nearest names of classes or subsets; all classes only where they fit on a line or two."""
    guess = nearest(name, [*source.classes, *subset_names()])
    if guess.startswith("Did"):
        return guess
    guess = nearest(name, source.classes)
    return guess if len(guess) < 300 else f"It has {len(source.classes):,} classes."
