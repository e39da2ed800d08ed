"""Checks that class names and labels must pass, whatever kind of source they come from."""

from __future__ import annotations

import unicodedata

import numpy as np
from jaxtyping import Int64

from attar.errors import ImageError


def check_names(names: tuple[str, ...], location: str) -> None:
    """Refuse names of classes that are empty, occur twice, or hold control characters or undecodable bytes."""
    for name in names:
        if not name or any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in name):
            raise ImageError(
                f"the class name {name!a} in {location} is empty or holds control characters", "Rename that class."
            )
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise ImageError(f"the class name {double!r} occurs twice in {location}", "Give each class its own name.")


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


def numbered(labels: Int64[np.ndarray, " images"]) -> tuple[str, ...]:
    """Names for classes that have none: "0", "1", ... up to the largest label."""
    return tuple(str(label) for label in range(int(labels.max(initial=-1)) + 1))
