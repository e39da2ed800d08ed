"""Pixels and hashes from one decode."""

from __future__ import annotations

import importlib
import io

import numpy as np
import pytest
from PIL import Image

from attar.errors import ImageError
from attar.images import ArraySource, FolderSource, JoinedSource, decode, open
from attar.images.decode import decode_and_examine
from attar.images.facts import examine


@pytest.fixture
def decoded(monkeypatch):
    """The sizes (width, height) at which images were decoded so far."""
    module = importlib.import_module("attar.images.decode")
    sizes, rgb = [], module._rgb
    monkeypatch.setattr(module, "_rgb", lambda image: sizes.append(image.size) or rgb(image))
    return sizes


def saved(image: Image.Image, kind: str, orientation: int = 1, **options) -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    image.save(buffer, kind, exif=exif, **options)
    return buffer.getvalue()


def files(pixels) -> dict[str, bytes]:
    image = Image.fromarray(pixels(31, 47, 3))
    half_clear = np.dstack([pixels(31, 47, 3), pixels(31, 47)])
    return {
        "png": saved(image, "PNG"),
        "jpeg": saved(image, "JPEG"),
        "grey jpeg": saved(image.convert("L"), "JPEG"),
        "cmyk jpeg": saved(image.convert("CMYK"), "JPEG"),
        "progressive jpeg": saved(image, "JPEG", progressive=True),
        "webp": saved(image, "WebP", lossless=True),
        "palette": saved(image.quantize(13), "PNG", transparency=3),
        "alpha": saved(Image.fromarray(half_clear), "PNG"),
        "16-bit grey": saved(Image.fromarray(pixels(31, 47).astype(np.uint16) * 251), "PNG"),
        "big jpeg": saved(Image.fromarray(pixels(311, 227, 3)), "JPEG"),
        **{f"{kind} turned {turn}": saved(image, kind, turn) for kind in ("JPEG", "PNG") for turn in range(2, 9)},
        **{f"big jpeg turned {turn}": saved(Image.fromarray(pixels(97, 61, 3)), "JPEG", turn) for turn in range(2, 9)},
    }


@pytest.mark.parametrize("side", [None, 7, 13, 30, 31, 61])
def test_pixels_and_hash_are_those_of_two_decodes(side, pixels):
    for kind, data in files(pixels).items():
        image, fact = decode_and_examine(data, side)
        np.testing.assert_array_equal(image, decode(data, side), err_msg=kind)
        assert fact == examine(decode(data)), kind


def test_a_jpeg_below_the_draft_threshold_is_decoded_once(decoded, pixels):
    decode_and_examine(saved(Image.fromarray(pixels(45, 61, 3)), "JPEG"), 23)
    assert decoded == [(61, 45)]


def test_a_large_jpeg_is_decoded_at_a_fraction_and_in_full(decoded, pixels):
    decode_and_examine(saved(Image.fromarray(pixels(46, 61, 3)), "JPEG"), 23)
    assert decoded == [(31, 23), (61, 46)]


def test_bombs_and_damage_are_refused_as_in_decode(pixels):
    data = saved(Image.fromarray(pixels(46, 61, 3)), "JPEG")
    with pytest.raises(ImageError, match="more than 2,805 pixels"):
        decode_and_examine(data, 23, max_pixels=46 * 61 - 1)
    for broken in (b"", b"text", data[: len(data) // 2]):
        with pytest.raises(ImageError):
            decode_and_examine(broken, 23)


def test_examined_images_are_not_decoded_again(pets, decoded):
    source = FolderSource(pets[0])
    plain = list(FolderSource(pets[0]).read(range(5), 5))
    decoded.clear()
    for (index, image), (number, expected) in zip(source.read(range(5), 5, examine=True), plain, strict=True):
        assert index == number
        np.testing.assert_array_equal(image, expected)
    assert len(decoded) == 5
    assert source.hashes() == ArraySource(pets[1], pets[2]).hashes() and not source.grey and len(decoded) == 5
    assert FolderSource(pets[0]).hashes() == source.hashes() and len(decoded) == 5


def test_what_is_known_is_only_decoded_at_the_size_asked_for(tmp_path, pixels, decoded):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels(46, 61, 3)).save(tmp_path / name / "1.jpg")
    FolderSource(tmp_path).hashes()
    decoded.clear()
    assert len(list(FolderSource(tmp_path).read([1, 0], 23, examine=True))) == 2 and decoded == [(31, 23)] * 2


def test_facts_reach_the_sources_inside(pets, decoded):
    first, second = FolderSource(pets[0]), ArraySource(pets[1], pets[2], ("dogs", "eels"))
    joined = JoinedSource([first.subset([4, 0, 2]), second])
    list(joined.subset([1, 0, 5]).read([0, 1, 2], examine=True))
    decoded.clear()
    assert first.facts([0, 4]) == second.facts([0, 4]) and joined.facts([5]) == second.facts([2])
    assert not decoded
    assert joined.hashes() == [second.hashes()[index] for index in (4, 0, 2, 0, 1, 2, 3, 4)] and len(decoded) == 1


def test_an_interrupted_reading_keeps_what_it_examined(pets, decoded):
    reading = FolderSource(pets[0]).read([3, 1, 0], examine=True)
    next(reading), next(reading)
    reading.close()
    decoded.clear()
    FolderSource(pets[0]).facts([3, 1])
    assert not decoded


def test_an_image_that_can_not_be_read_is_named_when_examined(pets):
    (pets[0] / "dogs" / "0003.png").write_bytes(b"")
    source = open(pets[0])
    with pytest.raises(ImageError, match=r"Can't read dogs/0003.png \(class dogs, image 4 of 5\): the file is empty"):
        list(source.read(range(5), examine=True))
    assert all(source._recall([0, 1, 2]))


def test_a_file_that_changes_while_it_is_read_is_not_taken_for_known(pets):
    changing = pets[0] / "dogs" / "0004.png"
    for index, _ in FolderSource(pets[0]).read(range(5), examine=True):
        if index == 4:
            Image.new("RGB", (13, 5)).save(changing)
    assert FolderSource(pets[0]).hashes()[4] == examine(decode(changing)).sha256
