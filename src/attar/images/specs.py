"""From what a user types or holds to an image source."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from attar.errors import ImageError, nearest
from attar.images.arrays import ArraySource, open_npz
from attar.images.checks import check_classes
from attar.images.choose import at_most, of_classes
from attar.images.digits import DigitsSource
from attar.images.folder import FolderSource
from attar.images.groups import with_groups
from attar.images.hub import PREFIX, HubSource
from attar.images.joined import JoinedSource
from attar.images.shards import ShardSource
from attar.images.source import ImageSource
from attar.images.table import TableSource, find_table
from attar.images.titles import read_titles
from attar.images.torchset import DatasetSource

_DIGITS: dict[str, Literal["train", "test"]] = {"digits": "train", "digits:train": "train", "digits:test": "test"}
_ACCEPTED = (
    "Give a folder of class folders or with a labels.csv, .tar shards, an .npz file, hf:NAME, digits, digits:test, or "
    "several of them joined by +."
)


def open(
    spec: Any,
    *,
    class_names: str | Path | None = None,
    classes: Sequence[str] | str | Path | None = None,
    limit: int | None = None,
    groups: str | Path | None = None,
    skip_corrupt: bool = False,
    allow_download: bool = False,
) -> ImageSource:
    """An image source from `spec`, which may be

    - a folder of class folders: "flowers/train", see FolderSource
    - a folder with a labels.csv, or a metadata.csv that has the columns file_name and label: "birds", see TableSource
    - webdataset's tar shards: "train.tar", "train-{000..012}.tar", "{train,val}.tar", see ShardSource
    - a dataset of Hugging Face, a folder or a name on the hub: "hf:cifar10", "hf:cifar10:test", see HubSource
    - an .npz file with the arrays `images`, `labels` and, where wanted, `names`
    - "digits" (scikit-learn's, 1297 training images) or "digits:test" (500 others); a folder of that name is "./digits"
    - several of these as one: ["imagenette/train", "imagewoof/train"] or "imagenette/train+imagewoof/train"
    - a pair of arrays (images, labels), see ArraySource
    - a map-style torch dataset of (image, label), see DatasetSource
    - an ImageSource.

    What is opened can be named, reduced and grouped, in this order:

    - `class_names="names.json"`: titles for all its classes from a JSON or text file, see `read_titles`
    - `limit=50`: at most 50 images a class, drawn without replacement, the same ones every time (seed 0)
    - `classes=["cat", "dog"]` or `classes="imagenet100.txt"`: only these classes, see `of_classes`
    - `groups="metadata.csv:place"`: a group for each image from the column place of a CSV file, see `with_groups`
    - `skip_corrupt=True`: every image is decoded once, those that can't be are left out, and `skipped` names them.

    Downloads of over 1 GB from the hub need `allow_download`. Raises ImageError for anything else, and SettingsError
    for a limit below 1.

    >>> source = open("digits:test")
    >>> len(source), source.classes[:3], source.counts[:3].tolist()
    (500, ('0', '1', '2'), [50, 51, 49])
    >>> small = open("digits:test", classes=["1", "7"], limit=5)
    >>> len(small), small.classes
    (10, ('1', '7'))
    """
    source = _open(spec, allow_download)
    if class_names is not None:
        titles = read_titles(Path(class_names), source.classes)
        source = copy.copy(source)
        source.titles = titles
    if limit is not None:
        source = at_most(source, limit)
    if classes is not None:
        source = of_classes(source, classes)
    if groups is not None:
        source = with_groups(source, groups)
    return _without_corrupt(source) if skip_corrupt else source


def _open(spec: Any, allow_download: bool) -> ImageSource:
    if isinstance(spec, ImageSource):
        return spec
    if isinstance(spec, str | Path):
        return _open_name(spec, allow_download)
    if isinstance(spec, list | tuple) and spec and all(isinstance(part, str | Path | ImageSource) for part in spec):
        return JoinedSource([_open(part, allow_download) for part in spec])
    if isinstance(spec, tuple) and len(spec) == 2:
        return ArraySource(np.asarray(spec[0]), np.asarray(spec[1]))
    if hasattr(spec, "__len__") and hasattr(spec, "__getitem__") and not isinstance(spec, list | tuple | np.ndarray):
        return DatasetSource(spec)
    raise ImageError(f"can't open images from {type(spec).__name__}", _ACCEPTED)


def _open_name(spec: str | Path, allow_download: bool) -> ImageSource:
    name = str(spec)
    if name in _DIGITS:
        return DigitsSource(_DIGITS[name])
    path = Path(spec)
    if path.is_dir():
        table = find_table(path)
        return FolderSource(spec) if table is None else TableSource(table)
    if path.is_file():
        return _open_file(spec, path)
    if "+" in name and not Path(name.removeprefix(PREFIX)).exists():
        return JoinedSource([_open_name(part, allow_download) for part in name.split("+")])
    if name.startswith(PREFIX):
        return HubSource(name, allow_download)
    if name.endswith(".tar") and "{" in name:
        return ShardSource(name)
    raise ImageError(f"there is no folder or file {name!r}", _hint(name))


def _open_file(spec: str | Path, path: Path) -> ImageSource:
    if path.suffix.lower() == ".npz":
        return open_npz(spec)
    if path.suffix.lower() == ".tar" or {".tar", ".tgz"} & {suffix.lower() for suffix in path.suffixes}:
        return ShardSource(spec)  # also of compressed ones, to say what is wrong with them
    raise ImageError(f"{spec} is a file, but no .npz or .tar", _ACCEPTED)


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
