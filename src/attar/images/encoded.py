"""Images held as encoded files: all go through the one decoder, and their facts are remembered between runs."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from attar.errors import ImageError
from attar.images import memo
from attar.images.decode import decode, decode_and_examine
from attar.images.facts import Fact
from attar.images.source import ImageSource


class EncodedSource(ImageSource):
    """Images that are JPEG, PNG, ... files, lying in a folder or inside of another file.

    A new kind says where an image's bytes are (`_file`), under what key its facts are remembered (`_key`), and its
    name; decoding and the memo come from here.
    """

    def __init__(self, classes: tuple[str, ...], titles: tuple[str, ...], labels: np.ndarray, location: str):
        super().__init__(classes, titles, labels, location)
        self._keys: dict[int, memo.Key | None] = {}

    @abc.abstractmethod
    def _file(self, index: int) -> Path | bytes:
        """The encoded image, or where it lies; called from several threads. ImageError where it can't be had."""

    @abc.abstractmethod
    def _key(self, index: int) -> memo.Key | None:
        """What the image's facts are remembered under, without reading the image; None for nothing to be remembered."""

    def _decode(self, index: int, shorter_side: int | None) -> UInt8[np.ndarray, "3 h w"]:
        return decode(self._file(index), shorter_side)

    def _decode_and_examine(self, index: int, shorter_side: int | None) -> tuple[UInt8[np.ndarray, "3 h w"], Fact]:
        return decode_and_examine(self._file(index), shorter_side)

    def _recall(self, indices: Sequence[int]) -> list[Fact | ImageError | None]:
        unknown = [index for index in indices if self._facts[index] is None]
        # Keys are taken before the images are read: a file that changes meanwhile isn't remembered as the new one.
        keys = {index: self._key(index) for index in unknown}
        remembered = memo.recall(list(keys.values()))
        for index, fact in zip(keys, remembered, strict=True):
            self._facts[index] = fact
        self._keys.update((index, keys[index]) for index in keys if self._facts[index] is None)
        return super()._recall(indices)

    def _keep(self, facts: Mapping[int, Fact | ImageError]) -> None:
        super()._keep(facts)
        memo.remember([self._keys.pop(index, None) for index in facts], list(facts.values()))
