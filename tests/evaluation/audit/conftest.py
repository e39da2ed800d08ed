"""Pictures that look like photographs to a correlation, and what is done to copies of them."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from attar.images import ArraySource


def clouds(count: int, *, seed: int, side: int = 67) -> np.ndarray:
    """Coloured noise uint8 [count, side, side, 3] whose spectrum falls as photographs' do."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)) + 1 / side
    waves = np.fft.rfft2(random.normal(size=(count, 3, side, side))) / frequency**1.5
    fields = np.fft.irfft2(waves, s=(side, side))
    fields = (fields[:, :1] * 0.8 + fields * 0.2) / fields.std((1, 2, 3), keepdims=True)
    return np.clip(128 + 45 * fields, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def source(images: np.ndarray, classes: int = 3) -> ArraySource:
    return ArraySource(images, np.arange(len(images)) % classes, [f"class{label}" for label in range(classes)])


def jpeg(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=50)
    return np.asarray(Image.open(buffer))


def cropped(image: np.ndarray, share: float = 0.9) -> np.ndarray:
    """A window of `share` of the side off the centre, enlarged again."""
    side = len(image)
    kept = round(share * side)
    window = Image.fromarray(image[:kept, side - kept :])
    return np.asarray(window.resize((side, side), Image.Resampling.BICUBIC))


SPOILT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda image: image,
    "jpeg": jpeg,
    "cropped": cropped,
    "mirrored": lambda image: image[:, ::-1],
    "darker": lambda image: (0.8 * image).astype(np.uint8),
}


@pytest.fixture
def pictures():
    return clouds


@pytest.fixture
def as_source():
    return source


@pytest.fixture(params=sorted(SPOILT))
def spoil(request) -> Callable[[np.ndarray], np.ndarray]:
    """What is done to copies, one after the other: nothing, JPEG 50, a crop of nine tenths, a mirror, brightness .8."""
    return lambda images: np.stack([SPOILT[request.param](image) for image in images])
