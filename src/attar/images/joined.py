"""Several sources as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from jaxtyping import UInt8

from attar.errors import ImageError
from attar.images.source import Fact, ImageSource


@final
class JoinedSource(ImageSource):
    """The images of all `parts`, one part after the other.

    Classes are the parts' classes together, sorted as strings; a class that several parts have is one class, with the
    first part's title. Joining Imagenette and Imagewoof gives one set of 20 classes.
    """

    def __init__(self, parts: Sequence[ImageSource]):
        self._parts = tuple(parts)
        classes = tuple(sorted({name for part in self._parts for name in part.classes}))
        titles = {name: title for part in reversed(self._parts) for name, title in _named(part)}
        position = {name: label for label, name in enumerate(classes)}
        labels = [np.array([position[name] for name in part.classes])[part.labels] for part in self._parts]
        location = "+".join(part.location for part in self._parts)
        super().__init__(classes, tuple(titles[name] for name in classes), np.concatenate(labels), location)
        self.skipped = tuple(name for part in self._parts for name in part.skipped)
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])

    def name(self, index: int) -> str:
        """The part's location and the name the image has there."""
        part, inside = self._find(index)
        return f"{part.location}/{part.name(inside)}"

    def _decode(self, index: int, shorter_side: int | None) -> UInt8[np.ndarray, "3 h w"]:
        part, inside = self._find(index)
        return part._decode(inside, shorter_side)

    def _examine(self, indices: list[int]) -> list[Fact | ImageError]:
        found: dict[int, Fact | ImageError] = {}
        for part, start in zip(self._parts, self._starts[:-1], strict=True):
            here = [index for index in indices if start <= index < start + len(part)]
            found.update(zip(here, part.facts([int(index - start) for index in here]), strict=True))
        return [found[index] for index in indices]

    def _find(self, index: int) -> tuple[ImageSource, int]:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._parts[number], int(index - self._starts[number])


def _named(part: ImageSource) -> list[tuple[str, str]]:
    return list(zip(part.classes, part.titles, strict=True))
