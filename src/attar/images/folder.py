"""A folder of class folders, as torchvision's ImageFolder reads it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import final

import numpy as np

from attar.errors import ImageError
from attar.images.checks import check_names
from attar.images.decode import ENDINGS
from attar.images.encoded import EncodedSource
from attar.images.memo import Key, key
from attar.images.titles import find_titles

_PARTS = frozenset({"train", "val", "valid", "validation", "test"})
_LAYOUT = "Give a folder that holds one folder of images per class."


@final
class FolderSource(EncodedSource):
    """Images in `path`/<class>/..., at any depth; classes and files are sorted as strings ("10" before "2").

    Files count as images by their ending (.jpg .jpeg .png .webp .bmp .heic .heif, in any case); hidden files and
    folders are ignored. Titles come from a classes.json in the folder or its parent, else they are the folders' names.
    ImageError for a folder that is missing, is a file, has fewer than two classes, or has a class without images.
    """

    def __init__(self, path: str | Path):
        self._folder = Path(path)
        classes = _class_folders(self._folder)
        files = [_image_files(self._folder / name) for name in classes]
        for name, found in zip(classes, files, strict=True):
            if not found:
                raise ImageError(
                    f"class {name} in {path} has no images", f"Images end in {', '.join(sorted(ENDINGS))}."
                )
        titles = find_titles(self._folder, classes)
        labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(found) for found in files])
        super().__init__(classes, titles, labels, str(path))
        self._names = [f"{name}/{file}" for name, found in zip(classes, files, strict=True) for file in found]

    def name(self, index: int) -> str:
        """The file's path inside the folder, with forward slashes."""
        return self._names[index]

    def _file(self, index: int) -> Path:
        return self._folder / self._names[index]

    def _key(self, index: int) -> Key | None:
        return key(self._file(index))


def _class_folders(folder: Path) -> tuple[str, ...]:
    if not folder.exists():
        raise ImageError(f"there is no folder {folder}", _LAYOUT)
    if not folder.is_dir():
        raise ImageError(f"path {folder} is a file, not a folder", _LAYOUT)
    names = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))
    check_names(names, str(folder))
    if not names:
        raise ImageError(f"folder {folder} holds no class folders", _LAYOUT)
    if _PARTS.issuperset(names):
        raise ImageError(
            f"folder {folder} holds {', '.join(names)} instead of class folders", f"Give {folder / names[0]}."
        )
    if len(names) == 1:
        raise ImageError(f"folder {folder} holds only one class, {names[0]}", f"Two are needed. {_LAYOUT}")
    return names


def _image_files(folder: Path) -> list[str]:
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "."]
        inside = Path(place).relative_to(folder)
        found += [(inside / name).as_posix() for name in files if name[0] != "." and _is_image(name)]
    return sorted(found)


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in ENDINGS
