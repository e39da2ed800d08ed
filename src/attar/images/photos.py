"""Photos without labels: found in folders, as files or by a pattern, and read ahead in threads."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from attar.errors import ImageError
from attar.images.decode import ENDINGS, decode
from attar.images.source import ahead

_Result = TypeVar("_Result")
_ACCEPTED = "Give photos, folders of photos at any depth, or patterns such as 'photos/**/*.jpg'."


def find_photos(places: Sequence[str | Path]) -> list[Path]:
    """The photos at `places`, in their order, each once: files, folders (at any depth), patterns with * ? [ ].

    In folders and patterns photos are known by their ending (.jpg .jpeg .png .webp .bmp .heic .heif, in any case),
    hidden files and folders are ignored, and the order is that of the paths as strings. ImageError for a place that
    isn't there, or holds no photo.
    """
    found: dict[Path, None] = {}
    for place in places:
        photos = _photos_at(Path(place))
        if not photos:
            raise ImageError(f"{str(place)!r} holds no photos", f"Photos end in {', '.join(sorted(ENDINGS))}.")
        found.update(dict.fromkeys(photos))
    return list(found)


def read_photos(
    photos: Sequence[Path], shorter_side: int, then: Callable[[UInt8[np.ndarray, "3 h w"]], _Result]
) -> Iterator[_Result | ImageError]:
    """What `then` makes of each photo (upright RGB of that shorter side), in order, computed ahead in threads.

    For a photo that can't be decoded its ImageError is yielded, which names it.
    """

    def work(photo: Path) -> _Result | ImageError:
        try:
            return then(decode(photo, shorter_side))
        except ImageError as error:
            return ImageError(f"can't read {photo}: {error.message}", error.hint)

    return ahead(work, photos)


def _photos_at(place: Path) -> list[Path]:
    if place.is_dir():
        return sorted(_inside(place), key=str)
    if place.exists():
        return [place]
    if not glob.has_magic(str(place)):
        raise ImageError(f"there is no photo or folder {str(place)!r}", _ACCEPTED)
    named = (Path(name) for name in glob.glob(str(place), recursive=True))  # noqa: PTH207 (patterns may be absolute)
    return sorted((path for path in named if path.is_file() and _is_photo(path.name)), key=str)


def _inside(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "."]
        yield from (Path(place) / name for name in files if _is_photo(name))


def _is_photo(name: str) -> bool:
    return name[0] != "." and Path(name).suffix.lower() in ENDINGS
