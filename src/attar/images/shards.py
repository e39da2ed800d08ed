"""Tar shards in webdataset's layout: the images of each sample are read by offset from the shards as they are.

Not webdataset itself: its decoder unpickles members by their ending, and its URLs can run a shell.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, final

import numpy as np
from jaxtyping import Int64

from attar.errors import ImageError
from attar.images.checks import check_classes, check_inner_name, named_labels, numbered
from attar.images.decode import ENDINGS
from attar.images.encoded import EncodedSource
from attar.images.memo import Key, member_key
from attar.images.tar import Member, members
from attar.images.titles import find_names, find_titles

_LAYOUT = (
    "A sample is an image and its class: cat.jpg with cat.cls (an integer or a name) or cat.json (with the key label, "
    "cls or class)."
)
_LABELS = ("cls", "json")  # the first decides where a sample has both
_LABEL_KEYS = ("label", "cls", "class")
_LARGEST_LABEL = 2**20
_MOST_SHARDS = 100_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})", re.ASCII)
_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)


@final
class ShardSource(EncodedSource):
    """Images in uncompressed tar files, such as "train.tar", "train-{000..012}.tar" or "{train,val}.tar".

    A sample's key is its members' path up to the first dot of the last part; its image ends in .jpg, .jpeg, .png,
    .webp, .bmp, .heic or .heif, its label is a `cls` or a `json` member, other members are never opened. Labels are
    names (classes sorted as strings) or integers: positions in the classes.json or classes.txt beside the first shard,
    see `find_names`, else the classes are "0", "1", .... Images keep the order they have in the shards.

    Opening reads headers and labels. Raises ImageError, naming shard and member, for what `members` refuses and for
    samples with two images, without a label, or that occur twice.
    """

    def __init__(self, spec: str | Path):
        self._shards = [Path(name) for name in expand(str(spec))]
        missing = [str(shard) for shard in self._shards if not shard.is_file()]
        if missing:
            raise ImageError(
                f"{len(missing)} of {len(self._shards)} shards are missing: {missing[0]} is no file",
                'Give one tar file, or several as "train-{000..012}.tar".',
            )
        if len(set(self._shards)) < len(self._shards):
            raise ImageError(f"{spec} names a shard twice", "Give each shard once.")
        self._states = [shard.stat() for shard in self._shards]
        samples = [list(_samples(shard)) for shard in self._shards]
        self._shard_of = np.repeat(np.arange(len(samples)), [len(inside) for inside in samples])
        self._images = [image for inside in samples for image, _ in inside]
        if not self._images:
            raise ImageError(f"{spec} holds no images", _LAYOUT)
        found = [label for inside in samples for _, label in inside]
        super().__init__(*_classes(found, self._shards[0].parent, str(spec)), str(spec))
        places = [shard.absolute() for shard in self._shards]
        above = os.path.commonpath([place.parent for place in places])
        self._shard_names = [place.relative_to(above).as_posix() for place in places]

    def name(self, index: int) -> str:
        """Shard and member, e.g. "train-003.tar/n01440764/0412.jpg"."""
        return f"{self._shard_names[self._shard_of[index]]}/{self._images[index].name}"

    def _file(self, index: int) -> bytes:
        image, number = self._images[index], self._shard_of[index]
        try:
            with self._shards[number].open("rb") as stream:
                state, opened = os.fstat(stream.fileno()), self._states[number]
                if (state.st_size, state.st_mtime_ns) != (opened.st_size, opened.st_mtime_ns):
                    raise ImageError("the shard has changed since it was opened", "Open it again.")
                stream.seek(image.offset)
                return stream.read(image.size)
        except OSError as error:
            raise ImageError(f"the shard can't be read ({error.strerror})") from error

    def _key(self, index: int) -> Key:
        number, image = self._shard_of[index], self._images[index]
        return member_key(self._shards[number], self._states[number].st_mtime_ns, image.offset, image.size)


def expand(spec: str) -> list[str]:
    """The names that a pattern with braces stands for, as in a shell.

    >>> expand("{train,val}-{08..10}.tar")[2:4]
    ['train-10.tar', 'val-08.tar']
    """
    braces = _BRACES.search(spec)
    if braces is None:
        return [spec]
    before, after = spec[: braces.start()], expand(spec[braces.end() :])
    inside = _range(braces[1], spec)
    if len(inside) * len(after) > _MOST_SHARDS:
        raise ImageError(f"{spec} stands for {len(inside) * len(after):,} shards", f"Give at most {_MOST_SHARDS:,}.")
    return [f"{before}{middle}{rest}" for middle in inside for rest in after]


def _range(braces: str, spec: str) -> list[str]:
    between = _RANGE.fullmatch(braces)
    if between is None:
        return braces.split(",")
    first, last = int(between[1]), int(between[2])
    if not 0 <= last - first < _MOST_SHARDS:
        raise ImageError(
            f"{{{braces}}} in {spec} stands for {max(last - first + 1, 0):,} shards", "Give a range such as {000..012}."
        )
    padded = any(len(end) > 1 and end[0] == "0" for end in between.groups())
    width = max(map(len, between.groups())) if padded else 0
    return [f"{number:0{width}d}" for number in range(first, last + 1)]


@dataclass(slots=True)
class _Sample:
    """The members of a sample that count."""

    image: Member | None = None
    labels: dict[str, Member] = field(default_factory=dict)
    """By their ending."""


def _samples(shard: Path) -> Iterator[tuple[Member, int | str]]:
    """The image and the label of each sample, in order of first members."""
    samples: dict[str, _Sample] = {}
    try:
        with shard.open("rb") as stream:
            for member in members(shard, stream):
                _note(samples, shard, member)
            for sample in samples.values():
                if sample.image is None:
                    continue
                ending = next((ending for ending in _LABELS if ending in sample.labels), None)
                label = None if ending is None else _label(shard, stream, sample.labels[ending], ending)
                if label is None:
                    raise ImageError(f"member {sample.image.name} of {shard} has no label", _LAYOUT)
                yield sample.image, label
    except OSError as error:
        raise ImageError(f"can't read {shard} ({error.strerror})", "Check the path and your permissions.") from error


def _note(samples: dict[str, _Sample], shard: Path, member: Member) -> None:
    """Enter an image or a label into its sample."""
    folder, _, last = member.name.rpartition("/")
    stem, _, ending = last.partition(".")
    ending = ending.lower()
    if not stem or not (ending in _LABELS or f".{ending}" in ENDINGS):
        return
    sample = samples.setdefault(f"{folder}/{stem}", _Sample())
    if ending not in _LABELS:
        if sample.image is not None:
            twice = "twice" if sample.image.name == member.name else f"beside {sample.image.name}: two images"
            raise ImageError(f"member {member.name} of {shard} occurs {twice} in one sample", _LAYOUT)
        sample.image = member
        return
    if ending in sample.labels:
        raise ImageError(f"member {member.name} of {shard} occurs twice", _LAYOUT)
    sample.labels[ending] = member


def _label(shard: Path, stream: BinaryIO, member: Member, ending: str) -> int | str | None:
    """The label in a `cls` or `json` member; None for JSON without one."""
    if member.size > _LARGEST_LABEL:
        raise ImageError(f"member {member.name} of {shard} has {member.size:,} bytes: too many for a label", _LAYOUT)
    stream.seek(member.offset)
    try:
        text = stream.read(member.size).decode()
        content = text.strip() if ending == "cls" else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"member {member.name} of {shard} is no {ending} text ({error})", _LAYOUT) from error
    if ending == "json":
        fields = content if isinstance(content, dict) else {}
        content = next((fields[key] for key in _LABEL_KEYS if key in fields), None)
        if content is None:
            return None
    if isinstance(content, int) and not isinstance(content, bool):
        content = str(content) if abs(content) < 10**18 else ""
    if not isinstance(content, str):
        raise ImageError(f"the label in {member.name} of {shard} is neither an integer nor a name", _LAYOUT)
    if _INTEGER.fullmatch(content):
        return int(content)
    check_inner_name(content, f"label in {member.name} of {shard}")
    return content


def _classes(
    found: list[int | str], folder: Path, location: str
) -> tuple[tuple[str, ...], tuple[str, ...], Int64[np.ndarray, " images"]]:
    """Classes, titles and labels."""
    names = [label for label in found if isinstance(label, str)]
    numbers = [label for label in found if isinstance(label, int)]
    if names and numbers:
        raise ImageError(
            f"some labels in {location} are names ({names[0]}), others integers ({numbers[0]})", "Give one kind."
        )
    if names:
        classes, labels = named_labels(names, location)
        return classes, find_titles(folder, classes), labels
    labels = np.array(numbers, dtype=np.int64)
    given = find_names(folder)
    if given is None:
        classes = numbered(labels, location)
        given = classes, find_titles(folder, classes)
    check_classes(labels, given[0], location)
    return *given, labels
