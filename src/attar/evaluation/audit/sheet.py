"""The contact sheet: suspicious pairs side by side, for a person to judge."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from attar.distilled import DistilledSet
from attar.errors import EvaluationError
from attar.evaluation.audit.record import Audit, Pair
from attar.features import read_squares
from attar.images.source import ImageSource

_SHOWN, _COLUMNS = 24, 3
_TILE, _GAP, _LINE = 160, 10, 16


def contact_sheet(audit: Audit, distilled: DistilledSet, train: ImageSource) -> Image.Image:
    """The 24 nearest pairs of `audit`: the distilled image, the training image (window marked), the scores beneath.

    Flagged pairs have a red frame. EvaluationError where the set or the training images aren't those of the audit.
    """
    if (len(distilled), len(train)) != (audit.images, audit.train_images):
        raise EvaluationError("This audit is of another set or other training images", "audit them again")
    pairs = audit.pairs[:_SHOWN]
    width, height = 2 * _TILE + 3 * _GAP, _TILE + 3 * _LINE + 2 * _GAP
    page = Image.new("RGB", (_COLUMNS * width, -(-len(pairs) // _COLUMNS) * height), "white")
    reals = read_squares(train, _TILE, [pair.train_index for pair in pairs])
    for number, (pair, real) in enumerate(zip(pairs, reals, strict=True)):
        corner = number % _COLUMNS * width, number // _COLUMNS * height
        page.paste(_card(pair, distilled.images[pair.image], real, (width, height)), corner)
    return page


def _card(
    pair: Pair, image: UInt8[np.ndarray, "3 side side"], real: UInt8[np.ndarray, "3 tile tile"], size: tuple[int, int]
) -> Image.Image:
    card = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(card), ImageFont.load_default(size=12)
    left, right = _GAP, _TILE + 2 * _GAP
    enlarge = Image.Resampling.NEAREST if image.shape[1] <= _TILE // 2 else Image.Resampling.LANCZOS
    card.paste(Image.fromarray(image.transpose(1, 2, 0)).resize((_TILE, _TILE), enlarge), (left, _GAP))
    card.paste(Image.fromarray(real.transpose(1, 2, 0)), (right, _GAP))
    if pair.window is not None:
        top, beside, side = (round(_TILE * part) for part in pair.window)
        box = (right + beside, _GAP + top, right + beside + side - 1, _GAP + top + side - 1)
        draw.rectangle(box, outline="yellow", width=2)
    if pair.flagged:
        draw.rectangle((left - 4, _GAP - 4, right + _TILE + 3, _GAP + _TILE + 3), outline="red", width=3)
    lines = (pair.name, pair.train_name, verdict(pair))
    for number, line in enumerate(lines):
        text = "".join(letter if letter.isprintable() else " " for letter in line)
        while font.getlength(text) > size[0] - 2 * _GAP:
            text = f"{text[:-2]}…"
        draw.text((left, _TILE + 2 * _GAP + number * _LINE - 4), text, fill="black", font=font)
    return card


def verdict(pair: Pair) -> str:
    """What the searches say of a pair, for people."""
    scores = ", ".join(f"{name} {score:.3g}" for name, score in pair.scores.items())
    copy = f"COPY by {' and '.join(pair.flagged)}; " if pair.flagged else ""
    chance = f", p = {pair.p:.2g}" if pair.p > 0 else ""
    return f"{copy}{scores}{chance}{'' if pair.same_class else ', another class'}"
