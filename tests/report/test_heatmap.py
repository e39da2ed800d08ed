"""The heat map is a picture of the numbers."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from attar.evaluation.matrix import Line, Matrix
from attar.evaluation.rows import make_row
from attar.report import heatmap


def line(right: list[int], name: str) -> Line:
    labels = np.arange(10) % 3
    rows = [
        make_row(
            [[np.where(np.arange(10) < number, labels, 9 - labels)]],
            labels,
            10,
            method=name,
            set=name,
            distilled_on=("a",),
            evaluated_on="ab"[place],
            protocol="p",
            table="p",
            ipc=1,
            seeds={},
            bytes=None,
            teacher=None,
            own=place == 0,
            beside_ipc=None,
        )
        for place, number in enumerate(right)
    ]
    return Line(name, (*rows, None))


def blueness(picture: bytes) -> np.ndarray:
    image = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    return image[..., 2] - image[..., 0]


def test_better_is_darker_and_missing_fields_stay_white():
    low, high = (Matrix("p", ("a", "b", "c"), (line([number, number], "$x$"),)) for number in (1, 9))
    assert blueness(heatmap(high)).mean() > 2 * blueness(heatmap(low)).mean()
    assert Image.open(io.BytesIO(heatmap(high))).format == "PNG"
