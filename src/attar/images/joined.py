"""Several sources as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
from jaxtyping import Int64, UInt8

from attar.errors import ImageError
from attar.images.facts import Fact
from attar.images.source import ImageSource


@final
class JoinedSource(ImageSource):
    """The images of all `parts`, one part after the other.

    Classes are the parts' classes together, sorted as strings; a class that several parts have is one class, with the
    first part's title. Joining Imagenette and Imagewoof gives one set of 20 classes. Groups are united in the same way
    where all parts have them, and None where one has not.
    """

    def __init__(self, parts: Sequence[ImageSource]):
        self._parts = tuple(parts)
        classes = tuple(sorted({name for part in self._parts for name in part.classes}))
        titles = {name: title for part in reversed(self._parts) for name, title in _named(part)}
        labels = _renumbered([(part.classes, part.labels) for part in self._parts], classes)
        location = "+".join(part.location for part in self._parts)
        super().__init__(classes, tuple(titles[name] for name in classes), labels, location)
        groups = [(part.group_names, part.groups) for part in self._parts if part.groups is not None]
        if len(groups) == len(self._parts):
            self.group_names = tuple(sorted({name for names, _ in groups for name in names}))
            self.groups = _renumbered(groups, self.group_names)
        self.skipped = tuple(name for part in self._parts for name in part.skipped)
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])

    def name(self, index: int) -> str:
        """The part's location and the name the image has there."""
        part, inside = self._find(index)
        return f"{part.location}/{part.name(inside)}"

    def _decode(self, index: int, shorter_side: int | None) -> UInt8[np.ndarray, "3 h w"]:
        part, inside = self._find(index)
        return part._decode(inside, shorter_side)

    def _decode_and_examine(self, index: int, shorter_side: int | None) -> tuple[UInt8[np.ndarray, "3 h w"], Fact]:
        part, inside = self._find(index)
        return part._decode_and_examine(inside, shorter_side)

    def _recall(self, indices: Sequence[int]) -> list[Fact | ImageError | None]:
        known: dict[int, Fact | ImageError | None] = {}
        for part, start in zip(self._parts, self._starts[:-1].tolist(), strict=True):
            here = [index for index in indices if start <= index < start + len(part)]
            known.update(zip(here, part._recall([index - start for index in here]), strict=True))
        return [known[index] for index in indices]

    def _keep(self, facts: Mapping[int, Fact | ImageError]) -> None:
        for part, start in zip(self._parts, self._starts[:-1].tolist(), strict=True):
            part._keep({index - start: fact for index, fact in facts.items() if start <= index < start + len(part)})

    def _find(self, index: int) -> tuple[ImageSource, int]:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._parts[number], int(index - self._starts[number])


def _renumbered(
    parts: list[tuple[tuple[str, ...], np.ndarray]], united: tuple[str, ...]
) -> Int64[np.ndarray, " images"]:
    """Numbers in (names, numbers of images) of each part, as positions in `united`."""
    position = {name: number for number, name in enumerate(united)}
    return np.concatenate([np.array([position[name] for name in names])[numbers] for names, numbers in parts])


def _named(part: ImageSource) -> list[tuple[str, str]]:
    return list(zip(part.classes, part.titles, strict=True))
