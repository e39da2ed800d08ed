"""Groups of images (place, camera, hospital) from a CSV file, for statistics and scores per class and group."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from attar.errors import ImageError
from attar.images.checks import check_names
from attar.images.rows import read_rows
from attar.images.source import ImageSource

_DEFAULT_COLUMN = "group"


def with_groups(source: ImageSource, spec: str | Path) -> ImageSource:
    """`source` with `groups` and `group_names` from a CSV file; `spec` is FILE or FILE:COLUMN (default: group).

    FILE is relative to the source's folder, or else to the working directory. A row belongs to the image whose `name`
    is its file name, or else to the only image whose name ends in it ("0412.jpg" for "cats/0412.jpg"). Raises
    ImageError where an image has no row.
    """
    file, column = _parsed(source, str(spec))
    cells = {row.file: row.cell for row in read_rows(file, (column,))}
    names = [source.name(index) for index in range(len(source))]
    shared = Counter(end for name in names for end in _ends(name))
    found = [
        next((cells[end] for end in _ends(name) if end in cells and (end == name or shared[end] == 1)), None)
        for name in names
    ]
    missing = [name for name, cell in zip(names, found, strict=True) if cell is None]
    if missing:
        first = ", ".join(list(cells)[:2]) or "none"
        raise ImageError(
            f"{len(missing):,} of {len(names):,} images have no row in {file}, such as {missing[0]}",
            f"Add them. Its {len(cells):,} rows name {first}{', ...' if len(cells) > 2 else ''}",
        )
    cleaned = [cell for cell in found if cell is not None]
    group_names = tuple(sorted(set(cleaned)))
    check_names(group_names, str(file))
    position = {name: number for number, name in enumerate(group_names)}
    source = copy.copy(source)
    source.groups = np.array([position[cell] for cell in cleaned], dtype=np.int64)
    source.group_names = group_names
    return source


def _parsed(source: ImageSource, spec: str) -> tuple[Path, str]:
    """The file and the column."""
    location = Path(source.location)
    folder = location if location.is_dir() else location.parent
    before, colon, column = spec.rpartition(":")
    choices = [(spec, _DEFAULT_COLUMN), *([(before, column)] if colon else [])]
    for name, column in choices:
        for file in (folder / name, Path(name)):
            if file.is_file():
                return file, column
    raise ImageError(
        f"there is no file {choices[-1][0]} in {folder}, nor in the working directory",
        'Give a CSV file with a column of file names and one of groups, as "metadata.csv:place".',
    )


def _ends(name: str) -> Iterator[str]:
    """The name, and what is left of it without its first folder, its first two, and so on."""
    parts = name.split("/")
    for start in range(len(parts)):
        yield "/".join(parts[start:])
