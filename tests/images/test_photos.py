"""Photos without labels: which are found, in which order, and what is said of those that can't be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attar.errors import ImageError
from attar.images.photos import find_photos, read_photos


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """photos/ with three photos at several depths, among what is none."""
    for number, name in enumerate(["b.PNG", "a/10.png", "a/2.png", ".hidden.png", ".trash/x.png"]):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (7, 11), (number, 0, 0)).save(file, "PNG")
    (tmp_path / "photos" / "notes.txt").write_text("none")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def found(*places) -> list[str]:
    return [path.as_posix() for path in find_photos(places)]


def test_a_folder_is_walked_in_the_order_of_names(photos):
    assert found("photos") == ["photos/a/10.png", "photos/a/2.png", "photos/b.PNG"]
    assert found(photos) == [str(photos / name) for name in ("a/10.png", "a/2.png", "b.PNG")]


def test_files_come_in_the_order_given_whatever_their_ending_and_each_once(photos):
    assert found("photos/b.PNG", "photos/notes.txt", "photos") == [
        "photos/b.PNG", "photos/notes.txt", "photos/a/10.png", "photos/a/2.png",
    ]  # fmt: skip


def test_patterns_find_what_they_say(photos):
    assert found("photos/a/*") == ["photos/a/10.png", "photos/a/2.png"]
    assert found("photos/**/[b1]*.*") == ["photos/a/10.png", "photos/b.PNG"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(photos):
    (photos / "a" / "2.png").rename(photos / "a[2].png")
    assert found("photos/a[2].png") == ["photos/a[2].png"]


@pytest.mark.parametrize(
    ("place", "sentence"),
    [("fotos", "no photo or folder 'fotos'"), ("empty", "'empty' holds no photos"), ("*.jpg", "holds no photos")],
)
def test_places_without_photos_are_refused(photos, place, sentence):
    with pytest.raises(ImageError, match=sentence):
        find_photos(["photos", place])


def test_photos_are_read_in_order_with_the_error_in_place(photos):
    (photos / "a" / "2.png").write_bytes(b"no png")
    read = list(read_photos(find_photos(["photos"]), 5, np.shape))
    assert read[0] == read[2] == (3, 7, 5)
    assert isinstance(read[1], ImageError) and "can't read photos/a/2.png: " in read[1].message


def test_a_photo_that_vanishes_is_an_error_too(photos):
    names = find_photos(["photos"])
    names[0].unlink()
    assert isinstance(next(iter(read_photos(names, 5, np.shape))), ImageError)
