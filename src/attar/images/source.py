"""What every image source offers: labelled images that are read by index, and what identifies their content.

A new kind of source is one class that says how to decode an image (`_decode`) and what to call it (`name`); reading
ahead in threads, hashes, the fingerprint and subsets come from here.
"""

from __future__ import annotations

import abc
import hashlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import NamedTuple, TypeVar, final

import numpy as np
from jaxtyping import Int64, UInt8

from attar.errors import ImageError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_LISTED = 10
_MEND = "Mend or remove what is damaged, or leave it out with --skip-corrupt (skip_corrupt=True)."


class Fact(NamedTuple):
    """What decoding an image once at full size tells: the SHA-256 of shape and pixels, and whether it is grey."""

    sha256: bytes
    grey: bool


class ImageSource(abc.ABC):
    """Labelled images, read by index.

    Attributes: `classes` are folder names, `titles` what people read, in the same order; `labels` (int64, [images])
    are positions in `classes`; `groups` is None; `location` is what the user typed; `skipped` names the images that
    were left out because they can't be decoded.
    """

    groups: np.ndarray | None = None
    skipped: tuple[str, ...] = ()

    def __init__(self, classes: tuple[str, ...], titles: tuple[str, ...], labels: np.ndarray, location: str):
        self.classes = classes
        self.titles = titles
        self.labels = labels
        self.location = location
        self._facts: list[Fact | ImageError | None] = [None] * len(labels)

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """What to call image `index` in messages and records, e.g. "cats/0412.jpg"."""

    @abc.abstractmethod
    def _decode(self, index: int, shorter_side: int | None) -> UInt8[np.ndarray, "3 h w"]:
        """Image `index` as upright RGB, called from several threads; ImageError says only what is wrong with it."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> Int64[np.ndarray, " classes"]:
        """Images per class."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    def read(
        self, indices: Sequence[int] | np.ndarray, shorter_side: int | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index, uint8 [3, h, w] upright RGB) in the order of `indices`, decoded ahead in threads.

        With `shorter_side` each image is resized so that its shorter side is exactly that many pixels. Raises
        ImageError, naming the image, for one that can't be decoded.
        """

        def work(index: int) -> tuple[int, np.ndarray]:
            try:
                return index, self._decode(index, shorter_side)
            except ImageError as error:
                message = f"can't read {self._described(index)}: {error.message}"
                raise ImageError(message, error.hint or _MEND) from error

        return ahead(work, (int(index) for index in indices))

    def hashes(self) -> list[bytes]:
        """SHA-256 (32 bytes) of each image's shape and full-size pixels, in order; computed once.

        Raises ImageError listing the images that can't be decoded.
        """
        return [fact.sha256 for fact in self._all_facts]

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over classes, labels and pixels: equal for equal content, whatever kind of source holds it."""
        whole = hashlib.sha256(repr(self.classes).encode())
        whole.update(self.labels.astype("<i8").tobytes())
        for sha256 in self.hashes():
            whole.update(sha256)
        return whole.hexdigest()

    @cached_property
    def grey(self) -> bool:
        """Whether red, green and blue are equal in every pixel of every image."""
        return all(fact.grey for fact in self._all_facts)

    def subset(self, indices: Sequence[int] | np.ndarray) -> ImageSource:
        """The images at `indices`, in that order; classes and titles are kept, also those left without images."""
        return SubsetSource(self, np.asarray(indices, dtype=np.int64))

    def facts(self, indices: Sequence[int] | np.ndarray) -> list[Fact | ImageError]:
        """What decoding each image tells, and the error in place of those that can't be decoded; computed once."""
        wanted = [int(index) for index in indices]
        missing = [index for index in wanted if self._facts[index] is None]
        for index, found in zip(missing, self._examine(missing), strict=True):
            self._facts[index] = found
        return [fact for index in wanted if (fact := self._facts[index]) is not None]

    def _examine(self, indices: list[int]) -> list[Fact | ImageError]:
        return list(ahead(self._examine_one, indices))

    def _examine_one(self, index: int) -> Fact | ImageError:
        try:
            pixels = self._decode(index, None)
        except ImageError as error:
            return error
        content = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes())
        return Fact(content.digest(), bool((pixels[0] == pixels[1]).all() and (pixels[1] == pixels[2]).all()))

    @cached_property
    def _all_facts(self) -> list[Fact]:
        found = self.facts(range(len(self)))
        wrong = [f"{self.name(i)}: {fact.message}" for i, fact in enumerate(found) if isinstance(fact, ImageError)]
        if wrong:
            more = f"\n  and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
            listed = "".join(f"\n  {line}" for line in wrong[:_LISTED])
            raise ImageError(
                f"{len(wrong)} of {len(self)} images in {self.location} can't be read:{listed}{more}",
                _MEND,
            )
        return [fact for fact in found if isinstance(fact, Fact)]

    def _described(self, index: int) -> str:
        return f"{self.name(index)} (class {self.classes[self.labels[index]]}, image {index + 1} of {len(self)})"


@final
class SubsetSource(ImageSource):
    """Some images of another source, `whole`; made by `ImageSource.subset`."""

    def __init__(self, whole: ImageSource, indices: Int64[np.ndarray, " images"]):
        super().__init__(whole.classes, whole.titles, whole.labels[indices], whole.location)
        self.skipped = whole.skipped
        self._whole = whole
        self._indices = indices

    def name(self, index: int) -> str:
        """The name it has in the whole source."""
        return self._whole.name(int(self._indices[index]))

    def _decode(self, index: int, shorter_side: int | None) -> UInt8[np.ndarray, "3 h w"]:
        return self._whole._decode(int(self._indices[index]), shorter_side)

    def _examine(self, indices: list[int]) -> list[Fact | ImageError]:
        return self._whole.facts(self._indices[indices])


def ahead(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Yield `work(item)` in order, computed by one thread per core, at most four results a thread ahead."""
    remaining = iter(items)
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        window = deque(pool.submit(work, item) for item in itertools.islice(remaining, 4 * threads))
        try:
            while window:
                result = window.popleft().result()
                window.extend(pool.submit(work, item) for item in itertools.islice(remaining, 1))
                yield result
        finally:
            for future in window:
                future.cancel()
