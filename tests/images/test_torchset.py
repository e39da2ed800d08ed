from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset

from attar.errors import ImageError
from attar.images import ArraySource, DatasetSource, open

LABELS = [0, 1, 0, 1, 1]


class Items(torch.utils.data.Dataset):
    """A dataset of given items, with an attribute for labels or classes where asked for."""

    def __init__(self, images, given=LABELS, /, **attributes):
        self.items = list(zip(images, given, strict=True))
        self.__dict__.update(attributes)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


@pytest.fixture
def images(pixels):
    return pixels(5, 7, 11, 3)


FORMS = {
    "Pillow": Image.fromarray,
    "numpy": lambda image: image,
    "bytes": lambda image: torch.from_numpy(image).permute(2, 0, 1),
    "floats": lambda image: torch.from_numpy(image).permute(2, 0, 1).float() / 255,
    "halves": lambda image: (torch.from_numpy(image).permute(2, 0, 1) / 255).half(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_image_gives_the_same_source(images, form):
    source = DatasetSource(Items([FORMS[form](image) for image in images]))
    expected = ArraySource(images, LABELS)
    assert source.fingerprint == expected.fingerprint and source.location == "Items"
    np.testing.assert_array_equal(next(source.read([3], 13))[1], next(expected.read([3], 13))[1])


@pytest.mark.parametrize("form", [lambda i: torch.from_numpy(i)[None], lambda i: i, Image.fromarray])
def test_grey_items_fill_three_channels(pixels, form):
    images = pixels(5, 7, 11)
    assert DatasetSource(Items(map(form, images))).hashes() == ArraySource(images, LABELS).hashes()


def test_a_lazily_opened_jpeg_stays_whole_when_read_small(tmp_path):
    Image.new("RGB", (97, 89)).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as lazy:
        source = DatasetSource(Items([lazy] * 5))
        assert next(source.read([0], 7))[1].shape == (3, 7, 7)
        assert next(source.read([0]))[1].shape == (3, 89, 97)


@pytest.mark.parametrize("labels", [LABELS, torch.tensor(LABELS), np.array(LABELS)])
@pytest.mark.parametrize("attribute", ["targets", "labels"])
def test_labels_are_taken_from_the_dataset_without_reading_items(images, attribute, labels):
    source = DatasetSource(Items(images, ["unread"] * 5, **{attribute: labels}))
    assert source.labels.tolist() == LABELS


def test_class_names_are_given_or_the_datasets_own_or_numbers(images):
    items = Items(images, classes=["cat", "dog"])
    assert DatasetSource(items).classes == ("cat", "dog") and DatasetSource(items).name(3) == "dog/00003"
    assert DatasetSource(items, ("a", "b")).classes == ("a", "b")
    assert open(Subset(items, [4, 2])).classes == ("0", "1")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((3, 7, 11), 1.5), "outside of 0..1"),
        (torch.full((3, 7, 11), -0.5), "outside of 0..1"),
        (torch.full((3, 7, 11), torch.nan), "outside of 0..1"),
        (torch.zeros(3, 7, 11, dtype=torch.int64), "type is torch.int64"),
        (torch.zeros(7, 11), r"shape is \(7, 11\)"),
        (np.zeros((7, 11, 4), np.uint8), r"shape is \(7, 11, 4\)"),
        (np.zeros((7, 11, 3)), "type is float64"),
        ("a path", "type is str"),
    ],
)
def test_other_images_are_refused_by_name(image, message):
    source = DatasetSource(Items([image] * 5, classes=["cat", "dog"]))
    with pytest.raises(
        ImageError, match=rf"can't read cat/00000 \(class cat, image 1 of 5\): its .*{message}|{message}"
    ):
        list(source.read([0]))


def test_a_dataset_that_can_not_read_an_image_is_told_apart_from_a_bug(images):
    class Broken(Items):
        def __getitem__(self, index):
            raise self.error

    broken = Broken(images, targets=LABELS, error=OSError("disk on fire"))
    with pytest.raises(ImageError, match="disk on fire"):
        list(DatasetSource(broken).read([0]))
    broken.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        list(DatasetSource(broken).read([0]))


def test_labels_that_are_no_integers_are_refused(images):
    with pytest.raises(ImageError, match="Labels in Items"):
        DatasetSource(Items(images, targets=["cat"] * 5))
