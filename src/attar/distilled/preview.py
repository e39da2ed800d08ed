"""A grid of a set's images with the names of their classes: what people look at first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

_CAPTION, _GAP = 18, 6


def preview(
    images: UInt8[np.ndarray, "n 3 side side"], labels: Sequence[int], titles: Sequence[str], *, tile: int = 128
) -> Image.Image:
    """A picture of at most 100 classes and 10 images a class; one row a class, or five classes a row at one image."""
    shown = [[index for index, label in enumerate(labels) if label == wanted][:10] for wanted in range(len(titles))][
        :100
    ]
    per_class = max(len(indices) for indices in shown)
    classes_a_row = 5 if per_class == 1 else 1
    columns = min(classes_a_row, len(shown)) * per_class
    lines = -(-len(shown) // classes_a_row)
    width = columns * (tile + _GAP) + _GAP
    height = lines * (tile + _CAPTION + _GAP) + _GAP
    page = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=13)
    for number, indices in enumerate(shown):
        left = _GAP + (number % classes_a_row) * per_class * (tile + _GAP)
        top = _GAP + (number // classes_a_row) * (tile + _CAPTION + _GAP)
        room = per_class * (tile + _GAP) - _GAP
        draw.text((left, top), _fitted(titles[number], font, room), fill="black", font=font)
        for place, index in enumerate(indices):
            picture = Image.fromarray(images[index].transpose(1, 2, 0))
            enlarge = Image.Resampling.NEAREST if picture.width <= tile // 2 else Image.Resampling.LANCZOS
            page.paste(picture.resize((tile, tile), enlarge), (left + place * (tile + _GAP), top + _CAPTION))
    return page


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> str:
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "…") > room:
        text = text[:-1]
    return text + "…"
