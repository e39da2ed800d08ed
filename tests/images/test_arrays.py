from __future__ import annotations

import numpy as np
import pytest

from attar.errors import ImageError
from attar.images import ArraySource, open

LABELS = [0, 1, 2, 0, 1]


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 3, 1, 2)])
def test_channels_may_be_last_or_first(axes, pixels):
    images = pixels(5, 7, 11, 3)
    _, image = next(ArraySource(images.transpose(axes), LABELS).read([3]))
    np.testing.assert_array_equal(image, images[3].transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(5, 7, 11), (5, 7, 11, 1)])
def test_grey_arrays_fill_three_channels(shape, pixels):
    images = pixels(*shape)
    _, image = next(ArraySource(images, LABELS).read([3]))
    np.testing.assert_array_equal(image, np.stack([images[3].reshape(7, 11)] * 3))


def test_names_keep_their_order_and_are_numbers_where_not_given(pixels):
    assert ArraySource(pixels(5, 7, 11), LABELS, ("b", "a", "c")).classes == ("b", "a", "c")
    assert ArraySource(pixels(5, 7, 11), LABELS).classes == ("0", "1", "2")
    assert ArraySource(pixels(5, 7, 11), LABELS, ("b", "a", "c")).name(4) == "a/00004"


@pytest.mark.parametrize(
    ("shape", "kind", "labels", "names", "message"),
    [
        ((5, 7, 11, 3), "float32", LABELS, None, "Images .* of type float32"),
        ((5, 7), "uint8", LABELS, None, r"have the shape \(5, 7\)"),
        ((5, 7, 11, 4), "uint8", LABELS, None, r"have the shape \(5, 7, 11, 4\)"),
        ((0, 7, 11, 3), "uint8", [], None, "are empty"),
        ((5, 7, 11), "uint8", LABELS[:4], None, r"Labels .* shape \(4,\) for 5 images"),
        ((5, 7, 11), "uint8", [[0]] * 5, None, r"Labels .* shape \(5, 1\)"),
        ((5, 7, 11), "uint8", [0.0, 1.0, 2.0, 0.0, 1.0], None, "Labels .* of type float64"),
        ((5, 7, 11), "uint8", LABELS, ("a", "b"), r"Label 2 .* outside of 0\.\.1"),
        ((5, 7, 11), "uint8", [0, 1, -1, 0, 1], ("a", "b"), r"Label -1 .* outside of 0\.\.1"),
        ((5, 7, 11), "uint8", LABELS, ("a", "b", "c", "d"), "Class d .* has no images"),
        ((5, 7, 11), "uint8", [0, 2, 2, 0, 2], None, "Class 1 .* has no images"),
        ((5, 7, 11), "uint8", LABELS, ("a", "b", "a"), "'a' occurs twice"),
        ((5, 7, 11), "uint8", LABELS, ("a", "b", ""), "is empty"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(shape, kind, labels, names, message):
    with pytest.raises(ImageError, match=message):
        ArraySource(np.zeros(shape, kind), np.array(labels), names)


def test_an_npz_gives_its_arrays(tmp_path, pixels):
    images = pixels(5, 7, 11, 3)
    np.savez(tmp_path / "a.npz", images=images, labels=np.array(LABELS, np.uint8), names=np.array(["b", "a", "c"]))
    source = open(tmp_path / "a.npz")
    assert source.classes == ("b", "a", "c") and source.labels.dtype == np.int64
    assert source.fingerprint == ArraySource(images, LABELS, ("b", "a", "c")).fingerprint
    np.savez_compressed(tmp_path / "b.npz", images=images, labels=LABELS)
    assert open(str(tmp_path / "b.npz")).classes == ("0", "1", "2")


class Bomb:
    exploded = False

    def __reduce__(self):
        return (_explode, ())


def _explode():
    Bomb.exploded = True


@pytest.mark.parametrize("key", ["images", "labels", "names"])
def test_pickled_arrays_are_refused_without_running_them(tmp_path, pixels, key):
    arrays = {"images": pixels(5, 7, 11), "labels": np.array(LABELS), key: np.array([Bomb()], dtype=object)}
    np.savez(tmp_path / "bomb.npz", **arrays)
    with pytest.raises(ImageError, match="Object arrays cannot be loaded"):
        open(tmp_path / "bomb.npz")
    assert not Bomb.exploded


def test_a_missing_array_is_named(tmp_path, pixels):
    np.savez(tmp_path / "a.npz", images=pixels(5, 7, 11), y=LABELS)
    with pytest.raises(ImageError, match="no array 'labels', only images, y"):
        open(tmp_path / "a.npz")


def test_names_must_be_strings(tmp_path, pixels):
    np.savez(tmp_path / "a.npz", images=pixels(5, 7, 11), labels=LABELS, names=[1, 2, 3])
    with pytest.raises(ImageError, match=r"Names .* int64"):
        open(tmp_path / "a.npz")


@pytest.mark.parametrize("keep", [0, 50, 0.5, -40])
def test_a_damaged_npz_is_refused(tmp_path, pixels, keep):
    np.savez(tmp_path / "a.npz", images=pixels(5, 31, 37), labels=LABELS)
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(ImageError, match=r"a\.npz"):
        open(tmp_path / "a.npz")


def test_a_flipped_byte_in_an_npz_is_noticed(tmp_path, pixels):
    np.savez(tmp_path / "a.npz", images=pixels(5, 31, 37), labels=LABELS)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[1000] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(ImageError, match="Can't read"):
        open(tmp_path / "a.npz")
