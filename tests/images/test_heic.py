"""HEIC files, as telephones write them, where pillow-heif is installed."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from attar.errors import ImageError
from attar.images import decode, open
from attar.images.decode import decode_and_examine
from attar.images.facts import examine

pillow_heif = pytest.importorskip("pillow_heif")


def heic(image: np.ndarray, orientation: int = 1, **options) -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    pillow_heif.from_pillow(Image.fromarray(image)).save(buffer, quality=95, exif=exif.tobytes(), **options)
    return buffer.getvalue()


@pytest.fixture
def halves():
    """Black on the left, white on the right."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, 48:] = 255
    return image


def test_pixels_come_close_and_nothing_is_registered(halves):
    Image.init()  # else Pillow may register formats of its own meanwhile
    before = dict(Image.OPEN)
    decoded = decode(heic(halves))
    assert decoded.shape == (3, 64, 96) and abs(decoded.astype(int) - halves.transpose(2, 0, 1)).mean() < 3
    assert before == Image.OPEN


def test_an_orientation_is_applied_once(halves):
    decoded = decode(heic(halves, orientation=6))  # turned clockwise: white is at the bottom
    assert decoded.shape == (3, 96, 64) and decoded[:, :40].max() < 30 and decoded[:, 56:].min() > 225


@pytest.mark.parametrize("side", [None, 13, 64, 97])
def test_pixels_and_fact_come_from_one_decode_and_thumbnails_are_not_used(side, halves):
    data = heic(halves, orientation=8, thumbnails=[32])
    image, fact = decode_and_examine(data, side)
    np.testing.assert_array_equal(image, decode(data, side))
    assert fact == examine(decode(data)) and (side is None or min(image.shape[1:]) == side)


def test_the_size_is_checked_before_decoding(halves, monkeypatch):
    monkeypatch.setattr(pillow_heif.HeifImageFile, "load", lambda image: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match="96x64 is more than 6,143 pixels"):
        decode(heic(halves), max_pixels=96 * 64 - 1)


def test_damage_is_an_image_error(halves):
    data = heic(halves)
    for length in (13, 30, 200, len(data) // 2, len(data) - 10):
        with pytest.raises(ImageError, match="Truncated or damaged HEIC"):
            decode(data[:length])


def test_a_folder_of_heic_files(halves, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.HEIC").write_bytes(heic(halves))
    assert len(set(open(tmp_path).hashes())) == 1


def test_without_the_extra_the_command_is_named(halves, tmp_path, monkeypatch):
    data = heic(halves)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r'HEIC file, which needs pip install "attar\[heic\]"'):
        decode(data)
