from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from PIL import Image

from attar.errors import ImageError
from attar.images import ArraySource, FolderSource, JoinedSource
from attar.images.source import ahead


def test_images_come_in_the_order_asked_for(pets):
    folder, images, _ = pets
    read = list(FolderSource(folder).read([4, 0, 3, 0]))
    assert [index for index, _ in read] == [4, 0, 3, 0]
    for index, image in read:
        np.testing.assert_array_equal(image, images[index].transpose(2, 0, 1))


def test_order_holds_for_many_images(pixels):
    source = ArraySource(pixels(211, 3, 5, 3), np.arange(211) % 2)
    order = np.random.default_rng(1).permutation(211)
    assert [index for index, _ in source.read(order)] == order.tolist()


@pytest.mark.parametrize("shape", [(5, 7, 11, 3), (5, 31, 13, 3)])
def test_reading_gives_the_shorter_side_asked_for(shape, pixels):
    source = ArraySource(pixels(*shape), [0, 1, 0, 1, 0])
    assert all(min(image.shape[1:]) == 17 for _, image in source.read(range(5), shorter_side=17))


def test_a_folder_and_an_array_are_resized_alike(pets):
    folder, images, labels = pets
    for (_, one), (_, two) in zip(
        FolderSource(folder).read(range(5), 13), ArraySource(images, labels).read(range(5), 13), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_an_image_that_can_not_be_read_is_named_with_class_and_position(pets):
    folder, *_ = pets
    file = folder / "dogs" / "0003.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(ImageError, match=r"Can't read dogs/0003.png \(class dogs, image 4 of 5\): truncated"):
        list(FolderSource(folder).read(range(5)))


def test_no_more_than_a_window_is_decoded_ahead(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    started = []
    results = ahead(lambda item: started.append(item) or item, range(1000))
    assert next(results) == 0
    time.sleep(0.05)
    assert 1 < len(started) <= 3 * 4 + 1
    results.close()


def test_images_are_decoded_in_parallel(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    together = threading.Barrier(3, timeout=10)  # breaks unless three threads wait at once
    assert list(ahead(lambda item: together.wait() * 0 + item, range(6))) == list(range(6))


def test_equal_content_has_one_fingerprint_whatever_holds_it(pets, tmp_path):
    folder, images, labels = pets
    print_ = FolderSource(folder).fingerprint
    assert ArraySource(images, labels, ("cats", "dogs")).fingerprint == print_
    assert ArraySource(images.transpose(0, 3, 1, 2).copy(), labels, ("cats", "dogs")).fingerprint == print_
    bmp = tmp_path / "bmp"
    for file in folder.rglob("*.png"):
        (bmp / file.parent.name).mkdir(parents=True, exist_ok=True)
        Image.open(file).save(bmp / file.parent.name / f"{file.stem}.BMP")
    assert FolderSource(bmp).fingerprint == print_


def test_one_pixel_one_label_one_name_or_the_order_changes_the_fingerprint(pixels):
    images, labels, names = pixels(5, 7, 11, 3), np.array([0, 0, 0, 1, 1]), ("a", "b")
    other_pixel, other_label = images.copy(), labels.copy()
    other_pixel[4, 6, 10, 2] ^= 1
    other_label[0] = 1
    sources = [
        ArraySource(images, labels, names),
        ArraySource(other_pixel, labels, names),
        ArraySource(images, other_label, names),
        ArraySource(images, labels, ("a", "c")),
        ArraySource(images[[1, 0, 2, 3, 4]], labels, names),
        ArraySource(images.reshape(5, 11, 7, 3), labels, names),
    ]
    assert len({source.fingerprint for source in sources}) == len(sources)


def test_grey_is_noticed_and_one_coloured_pixel_too(pixels):
    images = pixels(5, 7, 11)
    assert ArraySource(images, [0, 0, 0, 1, 1]).grey
    for channel in range(3):
        coloured = np.repeat(images[..., None], 3, axis=3)
        coloured[4, 6, 10, channel] ^= 1
        assert not ArraySource(coloured, [0, 0, 0, 1, 1]).grey


def test_a_subset_keeps_classes_names_and_order(pets):
    folder, images, _ = pets
    whole = FolderSource(folder)
    part = whole.subset([3, 1]).subset(np.array([1, 0, 1]))
    assert part.classes == whole.classes and part.labels.tolist() == [0, 1, 0]
    assert [part.name(index) for index in range(3)] == ["cats/0001.png", "dogs/0003.png", "cats/0001.png"]
    assert part.hashes() == [whole.hashes()[index] for index in (1, 3, 1)]
    np.testing.assert_array_equal(next(part.read([1]))[1], images[3].transpose(2, 0, 1))
    assert whole.subset([4]).counts.tolist() == [0, 1]
    assert whole.subset([0, 4]).fingerprint == ArraySource(images[[0, 4]], [0, 1], ("cats", "dogs")).fingerprint


def test_a_subset_decodes_only_its_own_images_for_hashes(pets):
    folder, *_ = pets
    (folder / "cats" / "0000.png").write_bytes(b"")
    assert len(FolderSource(folder).subset([1, 3]).hashes()) == 2


def test_joined_sources_sort_and_merge_their_classes(pixels):
    first = ArraySource(pixels(3, 7, 11, 3), [0, 1, 1], ("mule", "cat"), "one")
    second = ArraySource(pixels(2, 5, 3, 3, seed=1), [1, 0], ("ant", "cat"), "two")
    both = JoinedSource([first, second])
    assert both.classes == ("ant", "cat", "mule") and both.labels.tolist() == [2, 1, 1, 1, 0]
    assert both.counts.tolist() == [1, 3, 1] and both.location == "one+two"
    assert both.name(0) == "one/mule/00000" and both.name(4) == "two/ant/00001"
    assert both.hashes() == first.hashes() + second.hashes()
    assert [image.shape for _, image in both.read([3, 0])] == [(3, 5, 3), (3, 7, 11)]
    np.testing.assert_array_equal(next(both.read([4]))[1], next(second.read([1]))[1])


def test_a_class_in_two_parts_has_the_first_ones_title(pixels):
    first = ArraySource(pixels(2, 7, 11), [0, 1], ("a", "b"))
    second = ArraySource(pixels(2, 7, 11), [0, 1], ("b", "c"))
    first.titles, second.titles = ("A", "B"), ("other", "C")
    assert JoinedSource([first, second]).titles == ("A", "B", "C")
