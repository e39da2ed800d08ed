from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Pixels = np.ndarray


@pytest.fixture
def pixels() -> Callable[..., Pixels]:
    """Random uint8 pixels of a shape, the same for the same seed."""

    def make(*shape: int, seed: int = 0) -> Pixels:
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return make


@pytest.fixture
def pets(tmp_path: Path, pixels: Callable[..., Pixels]) -> tuple[Path, Pixels, list[int]]:
    """A folder of PNGs with 3 cats and 2 dogs of 7x11 pixels, with their pixels [n, h, w, 3] and labels."""
    images, labels = pixels(5, 7, 11, 3), [0, 0, 0, 1, 1]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        file = tmp_path / "pets" / ("cats", "dogs")[label] / f"{number:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return tmp_path / "pets", images, labels
