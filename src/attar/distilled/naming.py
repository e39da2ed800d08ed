"""How the classes of an imported set are called: by their folders' names, or by names given in label order."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from attar.errors import ArtefactError, nearest
from attar.images.checks import check_names
from attar.images.subsets import subset, subset_names
from attar.images.titles import read_titles


def called(
    classes: Sequence[str] | Path, numbers: Int[np.ndarray, " n"], names: tuple[str, ...], path: Path
) -> tuple[Int[np.ndarray, " n"], tuple[str, ...], tuple[str, ...]]:
    """(labels, names, titles) of images whose classes are called `names` at `path`, and shall be called `classes`."""
    wanted, titles = _wanted(classes, names)
    check_names(wanted, "the names given")
    if path.is_dir() and not _says_folders(classes):
        if sorted(wanted) == sorted(names):
            return _moved(numbers, [wanted.index(name) for name in names]), wanted, titles
        numbers = _moved(numbers, _order(names, wanted, path))
    if not isinstance(classes, Path) and list(classes) == ["imagenet-100"]:
        message = "codes number the classes of imagenet-100 in orders of their own"
        raise ArtefactError(message, "Give a file of their WordNet ids in the order of the labels.")
    return numbers, wanted, titles


def _moved(numbers: Int[np.ndarray, " n"], places: Sequence[int]) -> Int[np.ndarray, " n"]:
    """Labels where class i has become class `places[i]`."""
    return np.array(places, dtype=np.int64)[numbers]


def _order(names: tuple[str, ...], wanted: tuple[str, ...], path: Path) -> list[int]:
    """The place of each folder by the number in its name; ArtefactError where these aren't 0, 1, ... or 1, 2, ..."""
    found = [re.fullmatch(r"(\D*)(\d+)", name, re.ASCII) for name in names]
    places = [int(each[2]) for each in found if each]
    first = min(places, default=0)
    numbered = all(found) and len({each[1] for each in found if each}) == 1
    if not numbered or first > 1 or sorted(places) != list(range(first, first + len(names))):
        differing = {"only there": set(names) - set(wanted), "only given": set(wanted) - set(names)}
        told = "; ".join(f"{where}: {', '.join(sorted(each)[:5])}" for where, each in differing.items() if each)
        raise ArtefactError(
            f"folders of {path} and the classes given differ ({told})",
            "Give the folders' own names in the order of the labels, or number the folders 0, 1, ... without gaps.",
        )
    return [place - first for place in places]


def _says_folders(classes: Sequence[str] | Path) -> bool:
    """Whether a file says which folder has which name: {"folder": "name"}."""
    if not isinstance(classes, Path) or classes.suffix.lower() != ".json":
        return False
    return isinstance(json.loads(classes.read_text(encoding="utf-8-sig")), dict)


def _wanted(classes: Sequence[str] | Path, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names, titles) of classes in label order: as listed, in a file, or ImageNet's by the name of a subset."""
    if isinstance(classes, Path):
        named = read_titles(classes, names)
        return named, named
    from timm.data import ImageNetInfo

    classes = [str(each) for each in classes]
    imagenet = ImageNetInfo("imagenet-1k")
    only = classes[0] if len(classes) == 1 else ""
    wnids = tuple(imagenet.label_names()) if only == "imagenet-1k" else subset(only)
    if wnids is None and only and len(names) > 1:
        message = f"{only!r} is no file, and no subset of ImageNet, and there are {len(names)} classes to name"
        raise ArtefactError(message, nearest(only, ["imagenet-1k", *subset_names()]))
    if wnids is None:
        return tuple(classes), tuple(classes)
    return wnids, tuple(imagenet.label_name_to_description(wnid).partition(",")[0] for wnid in wnids)
