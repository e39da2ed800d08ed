from __future__ import annotations

import contextlib
import importlib
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms.functional import resize as torchvision_resize

from attar.errors import ImageError
from attar.images import decode
from attar.images.decode import to_pixels


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def planes(image: np.ndarray) -> np.ndarray:
    return image.transpose(2, 0, 1)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WebP"])
def test_lossless_files_give_their_pixels(kind, pixels):
    image = pixels(7, 11, 3)
    data = saved(Image.fromarray(image), kind, lossless=True)
    np.testing.assert_array_equal(decode(data), planes(image))


def test_a_path_bytes_and_an_open_file_give_the_same(tmp_path, pixels):
    data = saved(Image.fromarray(pixels(7, 11, 3)), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    np.testing.assert_array_equal(decode(tmp_path / "a.png"), decode(data))
    np.testing.assert_array_equal(decode(io.BytesIO(data)), decode(data))


UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("kind", ["PNG", "WebP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(orientation, kind, pixels):
    image = pixels(7, 11, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(image), kind, exif=exif, lossless=True)
    np.testing.assert_array_equal(decode(data), planes(UPRIGHT[orientation](image)))


def test_a_rotated_jpeg_is_upright_at_any_size(pixels):
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, 48:] = 255  # white on the right; turned clockwise, it is at the bottom
    exif = Image.Exif()
    exif[0x0112] = 6
    small = decode(saved(Image.fromarray(image), "JPEG", exif=exif), shorter_side=13)
    assert small.shape == (3, 19, 13)
    assert small[:, :8].max() < 20 and small[:, 11:].min() > 235


def test_damaged_exif_is_no_reason_to_refuse_an_image(pixels):
    data = saved(Image.fromarray(pixels(7, 11, 3)), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00")
    assert decode(data).shape == (3, 7, 11)


def test_sixteen_bit_grey_is_scaled_not_saturated():
    values = np.linspace(0, 65535, 7 * 11).reshape(7, 11).astype(np.uint16)
    image = decode(saved(Image.fromarray(values), "PNG"))
    assert abs(image.mean() - 127.5) < 1
    np.testing.assert_allclose(image[2], values / 257, atol=0.51)


def test_thirty_two_bit_grey_is_scaled_too():
    values = np.array([[0, 257, 65535]], dtype=np.int32)
    np.testing.assert_array_equal(to_pixels(Image.fromarray(values))[0], [[0, 1, 255]])


def test_transparency_is_laid_on_white():
    image = np.zeros((1, 3, 4), np.uint8)
    image[0, :, 3] = 0, 51, 255  # black, more and more opaque
    np.testing.assert_array_equal(decode(saved(Image.fromarray(image, "RGBA"), "PNG"))[1], [[255, 204, 0]])


def test_transparent_grey_is_laid_on_white():
    image = np.zeros((1, 3, 2), np.uint8)
    image[0, :, 1] = 0, 51, 255
    np.testing.assert_array_equal(decode(saved(Image.fromarray(image, "LA"), "PNG"))[1], [[255, 204, 0]])


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(kind):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    decoded = decode(saved(image, kind, transparency=0))
    np.testing.assert_array_equal(decoded[:, 0].T, [[255, 255, 255], [200, 100, 50]])


def test_a_palette_becomes_its_colours():
    image = Image.new("P", (1, 1))
    image.putpalette([10, 20, 30])
    np.testing.assert_array_equal(decode(saved(image, "PNG"))[:, 0, 0], [10, 20, 30])


def test_cmyk_becomes_rgb():
    decoded = decode(saved(Image.new("CMYK", (11, 7), (0, 255, 255, 0)), "JPEG", quality=95))
    np.testing.assert_allclose(decoded.mean(axis=(1, 2)), [255, 0, 0], atol=3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_grey_fills_three_channels(kind):
    decoded = decode(saved(Image.new("L", (11, 7), 100), kind))
    assert decoded.shape == (3, 7, 11) and (decoded == 100).all()


def test_one_bit_is_black_and_white():
    image = Image.fromarray(np.array([[True, False, True]]))
    np.testing.assert_array_equal(decode(saved(image, "PNG"))[2], [[255, 0, 255]])


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (11, 7), colour) for colour in ("red", "blue")]
    decoded = decode(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    np.testing.assert_array_equal(decoded[:, 3, 5], [255, 0, 0])


def test_a_file_is_known_by_its_content_not_its_ending(tmp_path):
    (tmp_path / "gif.jpg").write_bytes(saved(Image.new("RGB", (11, 7), "red"), "GIF"))
    assert decode(tmp_path / "gif.jpg").shape == (3, 7, 11)


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"IDAT" + zlib.compress(bytes(1000))
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, rows, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("side", [None, 5])
@pytest.mark.parametrize("size", [(12000, 8000), (30000, 30000)])
def test_a_bomb_is_refused_before_it_is_decoded(size, side):
    tracemalloc.start()
    with pytest.raises(ImageError, match=f"{size[0]}x{size[1]} is more than 64,000,000 pixels"):
        decode(png_header(*size), side)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_the_limit_on_pixels_can_be_set(pixels):
    data = saved(Image.fromarray(pixels(7, 11, 3)), "PNG")
    assert decode(data, max_pixels=77).shape == (3, 7, 11)
    with pytest.raises(ImageError, match="11x7 is more than 76"):
        decode(data, max_pixels=76)


def test_a_thread_of_pixels_can_not_become_a_giant():
    with pytest.raises(ImageError, match="too elongated"):
        decode(saved(Image.new("L", (50_000, 1)), "PNG"), shorter_side=224)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WebP", "BMP", "GIF"])
def test_every_truncation_is_refused_in_words(kind, pixels):
    data = saved(Image.fromarray(pixels(31, 37, 3)), kind)
    for length in (0, 1, 5, 13, 29, len(data) // 2, len(data) * 3 // 4):
        with pytest.raises(ImageError, match=r"empty|[Tt]runcated or damaged|It is no"):
            decode(data[:length])


def test_damage_names_the_kind_of_file(pixels):
    data = saved(Image.fromarray(pixels(31, 37, 3)), "JPEG")
    with pytest.raises(ImageError, match="Truncated or damaged JPEG"):
        decode(data[: len(data) // 2])


def test_flipped_bytes_give_an_image_or_an_image_error(pixels):
    random = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "WebP", "BMP", "GIF"):
        data = saved(Image.fromarray(pixels(31, 37, 3)), kind)
        for _ in range(60):
            damaged = bytearray(data)
            for position in random.integers(0, len(data), 3):
                damaged[position] = random.integers(256)
            with contextlib.suppress(ImageError):
                assert decode(bytes(damaged)).dtype == np.uint8


def test_other_kinds_of_files_are_refused(tmp_path):
    with pytest.raises(ImageError, match="It is no JPEG, PNG"):
        decode(b"hello, I am text")
    with pytest.raises(ImageError, match="It is no JPEG, PNG"):
        decode(saved(Image.new("L", (11, 7)), "TIFF"))
    with pytest.raises(ImageError, match="can't be read"):
        decode(tmp_path / "missing.jpg")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(31, 47), (47, 31), (101, 997), (23, 23), (22, 23), (5, 7)])
def test_the_shorter_side_is_exact_and_the_longer_one_as_in_torchvision(size, kind, pixels):
    image = Image.fromarray(pixels(size[1], size[0], 3))
    width, height = torchvision_resize(image, [23]).size
    assert decode(saved(image, kind), shorter_side=23).shape == (3, height, width)


@pytest.mark.parametrize("side", [13, 61])
def test_resized_pixels_are_torchvisions(side, pixels):
    image = Image.fromarray(pixels(31, 47, 3))
    expected = planes(np.asarray(torchvision_resize(image, [side])))
    np.testing.assert_array_equal(decode(saved(image, "PNG"), shorter_side=side), expected)


def test_an_image_that_fits_is_left_alone(pixels):
    image = pixels(23, 47, 3)
    np.testing.assert_array_equal(decode(saved(Image.fromarray(image), "PNG"), shorter_side=23), planes(image))


def test_large_jpegs_are_decoded_at_a_fraction_and_look_the_same(monkeypatch):
    ramp = np.linspace(0, 255, 800 * 1000).reshape(800, 1000)
    image = Image.fromarray(np.stack([ramp, ramp.T.reshape(800, 1000), ramp[::-1]], axis=2).astype(np.uint8))
    data = saved(image, "JPEG", quality=95)
    loaded = []
    module = importlib.import_module("attar.images.decode")
    monkeypatch.setattr(module, "_rgb", lambda image: loaded.append(image.size) or image)
    small = decode(data, shorter_side=97)
    assert loaded == [(125, 100)]
    expected = np.asarray(image.resize((121, 97), Image.Resampling.BILINEAR)).astype(int)
    assert abs(planes(expected) - small).mean() < 3
