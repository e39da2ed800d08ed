"""What every image source offers: labelled images that are read by index, and what identifies their content.

A new kind of source is one class that says how to decode an image (`_decode`) and what to call it (`name`); reading
ahead in threads, hashes, the fingerprint and subsets come from here.
"""

from __future__ import annotations

import abc
import contextlib
import hashlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar, final

import numpy as np
from jaxtyping import Int64, UInt8

from attar.errors import ImageError
from attar.images.facts import Fact, examine

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_LISTED = 10
_BATCH = 2048  # an interrupted run loses no more than this many facts
_MEND = "Mend or remove what is damaged, or leave it out with --skip-corrupt (skip_corrupt=True)."


class ImageSource(abc.ABC):
    """Labelled images, read by index.

    Attributes: `classes` are folder names, `titles` what people read, in the same order; `labels` (int64, [images])
    are positions in `classes`; `groups` (int64, [images]) are positions in `group_names`, or None where no groups were
    given; `location` is what the user typed; `skipped` names the images that were left out because they can't be
    decoded.
    """

    groups: np.ndarray | None = None
    group_names: tuple[str, ...] = ()
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
        self, indices: Sequence[int] | np.ndarray, shorter_side: int | None = None, examine: bool = False
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index, uint8 [3, h, w] upright RGB) in the order of `indices`, decoded ahead in threads.

        With `shorter_side` each image is resized so that its shorter side is exactly that many pixels. With `examine`
        the facts of images not yet known are taken on the way: once all is read, `facts` and `hashes` of these images
        decode nothing. Raises ImageError, naming the image, for one that can't be decoded.
        """
        numbers = [int(index) for index in indices]
        if examine:
            return self._read_and_examine(numbers, shorter_side)

        def work(index: int) -> tuple[int, np.ndarray]:
            with self._naming(index):
                return index, self._decode(index, shorter_side)

        return ahead(work, numbers)

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
        found: list[Fact | ImageError] = []
        for batch in _batches([int(index) for index in indices]):
            known = self._recall(batch)
            missing = [index for index, fact in zip(batch, known, strict=True) if fact is None]
            fresh = dict(zip(missing, ahead(self._examine, missing), strict=True))
            self._keep(fresh)
            found += [fresh[index] if fact is None else fact for index, fact in zip(batch, known, strict=True)]
        return found

    def examined(self, indices: Sequence[int] | np.ndarray) -> bool:
        """Whether the facts of all these images are known, so that asking for them decodes nothing."""
        return all(fact is not None for fact in self._recall([int(index) for index in indices]))

    def _decode_and_examine(self, index: int, shorter_side: int | None) -> tuple[UInt8[np.ndarray, "3 h w"], Fact]:
        """What `_decode` gives, and the image's fact; a source that can do both at once does so."""
        whole = self._decode(index, None)
        return (whole if shorter_side is None else self._decode(index, shorter_side)), examine(whole)

    def _recall(self, indices: Sequence[int]) -> list[Fact | ImageError | None]:
        """What is known of the images without decoding them; None where it isn't."""
        return [self._facts[index] for index in indices]

    def _keep(self, facts: Mapping[int, Fact | ImageError]) -> None:
        """Keep what decoding told of some images (index: fact) that `_recall` didn't know."""
        for index, found in facts.items():
            self._facts[index] = found

    def _examine(self, index: int) -> Fact | ImageError:
        try:
            return self._decode_and_examine(index, None)[1]
        except ImageError as error:
            return error

    def _read_and_examine(self, indices: list[int], shorter_side: int | None) -> Iterator[tuple[int, np.ndarray]]:
        def items() -> Iterator[tuple[int, bool]]:
            for batch in _batches(indices):
                yield from ((index, fact is not None) for index, fact in zip(batch, self._recall(batch), strict=True))

        def work(item: tuple[int, bool]) -> tuple[int, np.ndarray, Fact | None]:
            index, known = item
            with self._naming(index):
                if known:
                    return index, self._decode(index, shorter_side), None
                return index, *self._decode_and_examine(index, shorter_side)

        fresh: dict[int, Fact | ImageError] = {}
        try:
            for index, pixels, found in ahead(work, items()):
                if found is not None:
                    fresh[index] = found
                if len(fresh) >= _BATCH:
                    self._keep(fresh)
                    fresh = {}
                yield index, pixels
        finally:
            self._keep(fresh)

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

    @contextlib.contextmanager
    def _naming(self, index: int) -> Iterator[None]:
        """What is wrong with image `index` becomes an error that names it."""
        try:
            yield
        except ImageError as error:
            raise ImageError(f"can't read {self._described(index)}: {error.message}", error.hint or _MEND) from error

    def _described(self, index: int) -> str:
        return f"{self.name(index)} (class {self.classes[self.labels[index]]}, image {index + 1} of {len(self)})"


@final
class SubsetSource(ImageSource):
    """Some images of another source, `whole`; made by `ImageSource.subset`."""

    def __init__(self, whole: ImageSource, indices: Int64[np.ndarray, " images"]):
        super().__init__(whole.classes, whole.titles, whole.labels[indices], whole.location)
        self.skipped = whole.skipped
        if whole.groups is not None:
            self.groups, self.group_names = whole.groups[indices], whole.group_names
        self._whole = whole
        self._indices = indices

    def name(self, index: int) -> str:
        """The name it has in the whole source."""
        return self._whole.name(int(self._indices[index]))

    def _decode(self, index: int, shorter_side: int | None) -> UInt8[np.ndarray, "3 h w"]:
        return self._whole._decode(int(self._indices[index]), shorter_side)

    def _decode_and_examine(self, index: int, shorter_side: int | None) -> tuple[UInt8[np.ndarray, "3 h w"], Fact]:
        return self._whole._decode_and_examine(int(self._indices[index]), shorter_side)

    def _recall(self, indices: Sequence[int]) -> list[Fact | ImageError | None]:
        return self._whole._recall([int(self._indices[index]) for index in indices])

    def _keep(self, facts: Mapping[int, Fact | ImageError]) -> None:
        self._whole._keep({int(self._indices[index]): fact for index, fact in facts.items()})


def _batches(indices: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(indices), _BATCH):
        yield indices[start : start + _BATCH]


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
