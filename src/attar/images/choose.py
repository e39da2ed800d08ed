"""A part of a source for a quick or smaller study: some of its classes, or some images of each."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from attar.errors import ImageError, SettingsError
from attar.images.source import ImageSource
from attar.images.subsets import subset, subset_names

_FORM = "Give a list of class names, a file with one a line, or a subset of ImageNet such as imagenet-100."
_WNIDS = "A subset of ImageNet needs all of its classes, called by WordNet id as ImageNet's folders are."
_LISTED = 10
_QUOTED = 3


def of_classes(source: ImageSource, wanted: Sequence[str] | str | Path) -> ImageSource:
    """The images of the classes in `wanted`, a list of names or a file with one name a line; the others disappear.

    Where the source has no class of a name, the name may be that of a subset of ImageNet and stands for its WordNet
    ids, see `subset`, or the title of one class, in capitals or not. Of a line that is neither a class name nor a title
    its first word counts, and what follows # never does: lists of such ids are such files. Order and titles stay the
    source's, which are sorted by id where folders are called so, whatever the order of the list. Raises ImageError for
    names the source doesn't have, and for fewer than two.
    """
    titled = _by_title(source)
    listed = _listed(wanted, source.classes, titled)
    names = [name for each in listed for name in _meant(each, source.classes, titled)]
    unknown = [name for name in names if name not in source.classes]
    if unknown:
        hint = _near(unknown[0], source, titled) if unknown[0] in listed else _WNIDS
        raise ImageError(f"there {_counted(unknown)} in {source.location}", hint)
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


def _by_title(source: ImageSource) -> Mapping[str, list[str]]:
    """The classes of each title; small letters stand for capitals too."""
    titled: dict[str, list[str]] = {}
    for name, title in zip(source.classes, source.titles, strict=True):
        titled.setdefault(title.casefold(), []).append(name)
    return titled


def _listed(wanted: Sequence[str] | str | Path, classes: tuple[str, ...], titled: Mapping[str, list[str]]) -> list[str]:
    if not isinstance(wanted, str | Path):
        return [str(each) for each in wanted]  # classes called 0, 1, ... may come as numbers
    if subset(str(wanted)) is not None and not Path(wanted).is_file():
        return [str(wanted)]
    return _from_file(Path(wanted), {*classes}, titled)


def _meant(name: str, classes: tuple[str, ...], titled: Mapping[str, list[str]]) -> tuple[str, ...]:
    """The class of that name, the classes of the subset of that name, or the one class of that title."""
    if name in classes:
        return (name,)
    of_title = titled.get(name.casefold(), [])
    return subset(name) or (tuple(of_title) if len(of_title) == 1 else (name,))


def _from_file(file: Path, classes: Collection[str], titled: Mapping[str, list[str]]) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ImageError(f"can't read class names from {file}: {error}", _FORM) from error
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [line if line in classes or line.casefold() in titled else line.split()[0] for line in lines if line]


def _counted(unknown: Sequence[str]) -> str:
    """is no class 'x', or are no classes 'x', 'y', 'z' and 7 more."""
    quoted = ", ".join(map(ascii, unknown[:_QUOTED])) + _and_more(len(unknown) - _QUOTED)
    return f"is no class {quoted}" if len(unknown) == 1 else f"are no classes {quoted}"


def _and_more(count: int) -> str:
    return f" and {count:,} more" if count > 0 else ""


def _near(name: str, source: ImageSource, titled: Mapping[str, list[str]]) -> str:
    """The classes of that title where there are several, else the nearest of classes and subsets, else the first."""
    classes = dict(zip(source.classes, map(_shown, source.classes, source.titles), strict=True))
    several = titled.get(name.casefold(), [])
    if several:
        return f"Several are titled so, give a name: {', '.join(several[:_LISTED])}{_and_more(len(several) - _LISTED)}"
    known = {each: each for each in subset_names()} | dict(zip(source.titles, classes.values(), strict=True)) | classes
    close = dict.fromkeys(known[each] for each in difflib.get_close_matches(name, known, n=3, cutoff=0.5))
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"It has {', '.join(list(classes.values())[:_LISTED])}{_and_more(len(classes) - _LISTED)}"


def _shown(name: str, title: str) -> str:
    """n01440764 (tench), or the name alone where the title is the same."""
    return name if title == name else f"{name} ({title})"
