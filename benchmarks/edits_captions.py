"""Captions of a folder of images by measurement: what its class is called, and how light, colourful and sharp it is.

    python benchmarks/edits_captions.py IMAGES CAPTIONS.jsonl

A stand-in for a captioner where none is on the machine: every image gets its own words, deterministically, and no
network is asked. "A bright, mostly green photo of a tench, sharp in the middle."
"""

from __future__ import annotations

import argparse
import colorsys
from pathlib import Path

import numpy as np

import attar
from attar.diffusion.edits.captions import write_captions
from attar.diffusion.edits.job import class_names

_HUES = ("red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink")
_GREY = 0.15  # saturation below which a colour has no name


def describe(image: np.ndarray, name: str) -> str:
    """What can be measured of an image, uint8 [3, h, w], in a sentence about a `name`."""
    grey = image.mean(0) / 255
    across, along = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
    light = ("dark", "dim", "bright", "very bright")[int(np.searchsorted([0.3, 0.45, 0.6], grey.mean()))]
    contrast = "high" if grey.std() > 0.25 else "low" if grey.std() < 0.15 else "medium"
    lines = (
        "upright"
        if across.mean() > 1.15 * along.mean()
        else "level"
        if along.mean() > 1.15 * across.mean()
        else "mixed"
    )
    return (
        f"A {light}, mostly {_colour(image)} photo of a {name}, {_sharpest(across)}, "
        f"with {lines} lines and {contrast} contrast."
    )


def _colour(image: np.ndarray) -> str:
    red, green, blue = (image.reshape(3, -1).mean(1) / 255).tolist()
    hue, saturation, _ = colorsys.rgb_to_hsv(red, green, blue)
    return "grey" if saturation < _GREY else _HUES[round(hue * len(_HUES)) % len(_HUES)]


def _sharpest(edges: np.ndarray) -> str:
    """Where most of the edges are: the middle, a side, or nowhere in particular."""
    rows, columns = (np.array_split(np.arange(length), 3) for length in edges.shape)
    parts = np.array([[edges[np.ix_(row, column)].mean() for column in columns] for row in rows])
    if parts.max() < 1.25 * parts.mean():
        return "sharp all over"
    row, column = np.unravel_index(parts.argmax(), parts.shape)
    place = [("top", "middle", "bottom")[row], ("left", "middle", "right")[column]]
    where = " ".join(dict.fromkeys(word for word in place if word != "middle")) or "middle"
    return f"sharp in the {where}" if where == "middle" else f"sharp at the {where}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("out", type=Path)
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    source = attar.open(options.images, limit=options.limit)
    names = [class_names(*both)[0] for both in zip(source.classes, source.titles, strict=True)]
    told = {
        source.name(index): describe(image, names[source.labels[index]])
        for index, image in source.read(range(len(source)))
    }
    write_captions(options.out, told)
    print(f"{options.out}: {len(told)} captions, {len(set(told.values()))} different")


if __name__ == "__main__":
    main()
