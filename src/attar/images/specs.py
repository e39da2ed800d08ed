"""From what a user types or holds to an image source."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

import numpy as np

from attar.errors import ImageError, nearest
from attar.images.arrays import ArraySource, open_npz
from attar.images.checks import check_classes
from attar.images.digits import DigitsSource
from attar.images.folder import FolderSource
from attar.images.joined import JoinedSource
from attar.images.source import ImageSource
from attar.images.titles import read_titles
from attar.images.torchset import DatasetSource

_DIGITS: dict[str, Literal["train", "test"]] = {"digits": "train", "digits:train": "train", "digits:test": "test"}
_ACCEPTED = "Give a folder of class folders, an .npz file, digits, digits:test, or several of them joined by +."


def open(spec: Any, *, class_names: str | Path | None = None, skip_corrupt: bool = False) -> ImageSource:
    """An image source from `spec`, which may be

    - a folder of class folders: "flowers/train"
    - an .npz file with the arrays `images`, `labels` and, where wanted, `names`
    - "digits" (scikit-learn's, 1297 training images) or "digits:test" (500 others); a folder of that name is "./digits"
    - several of these as one: ["imagenette/train", "imagewoof/train"] or "imagenette/train+imagewoof/train"
    - a pair of arrays (images, labels), see ArraySource
    - a map-style torch dataset of (image, label), see DatasetSource
    - an ImageSource.

    `class_names` is a JSON or text file of titles, see `read_titles`. With `skip_corrupt` every image is decoded once,
    those that can't be are left out, and the result's `skipped` names them. Raises ImageError for anything else.

    >>> source = open("digits:test")
    >>> len(source), source.classes[:3], source.counts[:3].tolist()
    (500, ('0', '1', '2'), [50, 51, 49])
    """
    source = _open(spec)
    if class_names is not None:
        titles = read_titles(Path(class_names), source.classes)
        source = copy.copy(source)
        source.titles = titles
    return _without_corrupt(source) if skip_corrupt else source


def _open(spec: Any) -> ImageSource:
    if isinstance(spec, ImageSource):
        return spec
    if isinstance(spec, str | Path):
        return _open_name(spec)
    if isinstance(spec, list | tuple) and spec and all(isinstance(part, str | Path | ImageSource) for part in spec):
        return JoinedSource([_open(part) for part in spec])
    if isinstance(spec, tuple) and len(spec) == 2:
        return ArraySource(np.asarray(spec[0]), np.asarray(spec[1]))
    if hasattr(spec, "__len__") and hasattr(spec, "__getitem__") and not isinstance(spec, list | tuple | np.ndarray):
        return DatasetSource(spec)
    raise ImageError(f"can't open images from {type(spec).__name__}", _ACCEPTED)


def _open_name(spec: str | Path) -> ImageSource:
    if str(spec) in _DIGITS:
        return DigitsSource(_DIGITS[str(spec)])
    path = Path(spec)
    if path.is_dir():
        return FolderSource(spec)
    if path.is_file():
        if path.suffix.lower() == ".npz":
            return open_npz(spec)
        raise ImageError(f"{spec} is a file, but no .npz", _ACCEPTED)
    if "+" in str(spec):
        return JoinedSource([_open_name(part) for part in str(spec).split("+")])
    raise ImageError(f"there is no folder or file {str(spec)!r}", _hint(str(spec)))


def _hint(spec: str) -> str:
    """The nearest of what lies beside the missing path and, for a bare word, of the embedded sets."""
    path = Path(spec)
    beside = [str(path.with_name(each.name)) for each in path.parent.iterdir()] if path.parent.is_dir() else []
    known = beside + (list(_DIGITS) if path.name == spec else [])
    guess = nearest(spec, known) if known else ""
    return f"{guess} {_ACCEPTED}" if guess.startswith("Did") else _ACCEPTED


def _without_corrupt(source: ImageSource) -> ImageSource:
    facts = source.facts(range(len(source)))
    sound = np.array([not isinstance(fact, ImageError) for fact in facts])
    if sound.all():
        return source
    check_classes(source.labels[sound], source.classes, f"{source.location} without its corrupt images")
    kept = source.subset(np.flatnonzero(sound))
    kept.skipped = (*source.skipped, *(source.name(int(index)) for index in np.flatnonzero(~sound)))
    return kept
