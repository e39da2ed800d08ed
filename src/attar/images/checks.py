"""Checks that class names and labels must pass, whatever kind of source they come from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from attar.errors import ImageError

_LONGEST = 255


def check_names(names: tuple[str, ...], location: str) -> None:
    """Refuse names of classes that are empty, occur twice, or hold control characters or undecodable bytes."""
    for name in names:
        if not name or _has_controls(name):
            raise ImageError(
                f"the class name {name!a} in {location} is empty or holds control characters", "Rename that class."
            )
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise ImageError(f"the class name {double!r} occurs twice in {location}", "Give each class its own name.")


def check_inner_name(name: str, what: str) -> None:
    """Refuse a name in an archive or table, `what`, that is empty, over 255 bytes, absolute, climbs out, or unreadable.

    Such names are never used as paths as they are; but they end in labels, messages and reports.
    """
    if not name or len(name) > _LONGEST or len(name.encode("utf-8", "surrogateescape")) > _LONGEST:
        wrong = f"has not 1 to {_LONGEST} bytes"
    elif _has_controls(name):
        wrong = "holds control characters or undecodable bytes"
    elif name[0] in "/\\" or ".." in re.split(r"[/\\]", name):
        wrong = "leads out of its folder"
    else:
        return
    raise ImageError(f"{what}: {name[:60]!a} {wrong}", "Rename it.")


def _has_controls(name: str) -> bool:
    if name.isascii():
        return not name.isprintable()
    return any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in name)


def named_labels(names: Sequence[str], location: str) -> tuple[tuple[str, ...], Int64[np.ndarray, " images"]]:
    """(classes, sorted as strings; labels) from the class name of each image; ImageError for fewer than two classes."""
    if not names:
        raise ImageError(f"{location} holds no images", "Give images of two classes or more.")
    classes = tuple(sorted(set(names)))
    check_names(classes, location)
    if len(classes) < 2:
        raise ImageError(f"{location} holds only one class, {classes[0]}", "Two are needed.")
    position = {name: label for label, name in enumerate(classes)}
    return classes, np.array([position[name] for name in names], dtype=np.int64)


def as_labels(labels: object, count: int, location: str) -> Int64[np.ndarray, " images"]:
    """`labels` as int64, one for each of `count` images; ImageError for another shape, or for what isn't integers."""
    array = np.asarray(labels)
    if array.shape != (count,):
        raise ImageError(
            f"labels in {location} have the shape {array.shape} for {count} images", f"Give the shape ({count},)."
        )
    if array.dtype.kind not in "iu":
        raise ImageError(f"labels in {location} are of type {array.dtype}", "Give integers: 0 for the first class.")
    return array.astype(np.int64)


def check_classes(labels: Int64[np.ndarray, " images"], names: tuple[str, ...], location: str) -> None:
    """Refuse labels outside of `names`, and classes without an image."""
    check_names(names, location)
    outside = labels[(labels < 0) | (labels >= len(names))]
    if len(outside):
        raise ImageError(
            f"label {outside[0]} in {location} is outside of 0..{len(names) - 1}",
            f"There are {len(names)} class names; labels are positions among them.",
        )
    for name, count in zip(names, np.bincount(labels, minlength=len(names)), strict=True):
        if not count:
            raise ImageError(f"class {name} in {location} has no images", "Add images or remove that class.")


def numbered(labels: Int64[np.ndarray, " images"], location: str) -> tuple[str, ...]:
    """Names for classes that have none: "0", "1", ... up to the largest label; ImageError for a label past all images.

    Every class has an image, so that such a label is wrong; as a count of classes it could be billions.
    """
    largest = int(labels.max(initial=-1))
    if largest >= len(labels):
        raise ImageError(
            f"label {largest} in {location} means {largest + 1:,} classes for {len(labels)} images: some are without",
            "Number the classes 0, 1, 2, ... without gaps.",
        )
    return tuple(str(label) for label in range(largest + 1))
