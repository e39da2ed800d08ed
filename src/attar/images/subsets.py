"""Subsets of ImageNet by the names that papers give them, as lists of WordNet ids: ImageNet's folders are called so.

Sources: the 100 classes of linear gradient matching's ImageNet-100; its lists of ten, which are those of GLaD and, for
imagenette and imagewoof, fast.ai's (lgm.md 10). The papers give the lists of ten by index: class i of ImageNet-1k is
the i-th of its 1000 ids in sorted order. imagenet-a is GLaD's list, not the robustness set ImageNet-A.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

_ALIASES = {"imagefruit": "imagenet-fruits", "imagemeow": "imagenet-cats", "imagesquawk": "imagenet-birds"}


def subset_names() -> list[str]:
    """Every name that `subset` knows."""
    return [*_lists(), *_ALIASES]


def subset(name: str) -> tuple[str, ...] | None:
    """The WordNet ids of a subset in its authors' order, which is not sorted for most; None for another name.

    >>> subset("imagemeow")[:2]
    ('n02123045', 'n02123159')
    """
    return _lists().get(_ALIASES.get(name, name))


@cache
def _lists() -> dict[str, tuple[str, ...]]:
    text = files("attar.images").joinpath("imagenet_subsets.json").read_text(encoding="utf-8")
    return {name: tuple(wnids) for name, wnids in json.loads(text).items()}
