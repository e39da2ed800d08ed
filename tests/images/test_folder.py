from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from attar import images
from attar.errors import ImageError
from attar.files import cache_folder
from attar.images import FolderSource


def put(*files):
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (11, 7), "red").save(file)


def test_labels_follow_the_sorted_folders(pets):
    source = FolderSource(pets[0])
    assert source.classes == source.titles == ("cats", "dogs")
    assert source.labels.dtype == np.int64 and source.labels.tolist() == [0, 0, 0, 1, 1]
    assert source.counts.tolist() == [3, 2] and len(source) == 5
    assert source.name(3) == "dogs/0003.png" and source.location == str(pets[0])


def test_numeric_folders_sort_as_strings(tmp_path):
    put(*(tmp_path / name / "a.png" for name in ("2", "10", "1")))
    assert FolderSource(tmp_path).classes == ("1", "10", "2")


def test_nested_files_of_all_endings_are_found_and_hidden_or_other_ones_are_not(tmp_path):
    put(*(tmp_path / "a" / name for name in ("z.PNG", "deep/er/x.jpeg", "b.Jpg", "c.webp", "d.bmp")))
    put(tmp_path / "a" / ".hidden.png", tmp_path / "a" / ".folder" / "x.png", tmp_path / ".git" / "x.png")
    put(tmp_path / "b" / "1.png", tmp_path / "loose.png")
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    source = FolderSource(tmp_path)
    assert source.classes == ("a", "b")
    names = [source.name(index) for index in range(len(source))]
    assert names == ["a/b.Jpg", "a/c.webp", "a/d.bmp", "a/deep/er/x.jpeg", "a/z.PNG", "b/1.png"]


def test_missing_folder(tmp_path):
    with pytest.raises(ImageError, match="There is no folder"):
        FolderSource(tmp_path / "nowhere")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ImageError, match="is a file, not a folder"):
        FolderSource(tmp_path / "file")


def test_a_folder_without_class_folders(tmp_path):
    put(tmp_path / "a.png")
    with pytest.raises(ImageError, match="holds no class folders"):
        FolderSource(tmp_path)


def test_an_empty_class_is_named(pets):
    (pets[0] / "eels").mkdir()
    with pytest.raises(ImageError, match=r"Class eels .* has no images"):
        FolderSource(pets[0])


def test_a_single_class(pets):
    shutil.rmtree(pets[0] / "dogs")
    with pytest.raises(ImageError, match="only one class, cats"):
        FolderSource(pets[0])


def test_the_folder_above_the_parts_is_refused(tmp_path):
    put(tmp_path / "train" / "a" / "1.png", tmp_path / "val" / "a" / "1.png")
    with pytest.raises(ImageError, match=r"holds train, val instead of class folders[\s\S]*Give .*train"):
        FolderSource(tmp_path)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "a\udcff"])
def test_control_characters_in_a_class_name_are_refused_and_not_repeated(pets, name):
    put(pets[0] / name / "a.png")
    with pytest.raises(ImageError, match="control characters") as caught:
        FolderSource(pets[0])
    assert name not in str(caught.value)


def test_odd_but_sound_class_names_are_kept(tmp_path):
    names = ("<script>", "=cmd()", "con", "\u05db\u05dc\u05d1", "\U0001f415")
    put(*(tmp_path / name / "a.png" for name in names))
    assert FolderSource(tmp_path).classes == tuple(sorted(names))


@pytest.mark.parametrize("place", [".", ".."])
@pytest.mark.parametrize("content", [{"classes": [{"wnid": "cats", "name": "tabby"}]}, {"cats": "tabby"}])
def test_titles_come_from_classes_json_here_or_above(pets, place, content):
    (pets[0] / place / "classes.json").write_text(json.dumps(content))
    assert FolderSource(pets[0]).titles == ("tabby", "dogs")


@pytest.mark.parametrize("text", ["not JSON", "[1, 2]", '{"classes": [1]}', '{"classes": [{"wnid": [], "name": "a"}]}'])
def test_a_classes_json_of_another_layout_is_ignored(pets, text):
    (pets[0] / "classes.json").write_text(text)
    assert FolderSource(pets[0]).titles == ("cats", "dogs")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.txt", "tabby cat\n\nretriever\n"),
        ("names.json", '["tabby cat", "retriever"]'),
        ("names.json", '{"dogs": "retriever", "cats": "tabby cat"}'),
        ("names.json", '{"classes": [{"wnid": "dogs", "name": "retriever"}, {"wnid": "cats", "name": "tabby cat"}]}'),
    ],
)
def test_titles_from_a_file_of_ones_own(pets, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert images.open(pets[0], class_names=tmp_path / name).titles == ("tabby cat", "retriever")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("names.txt", "only one\n", "1 class names, the images have 2"),
        ("names.txt", "a\nb\x1b[31m\n", "control characters"),
        ("names.json", "{", "isn't valid JSON"),
        ("names.json", '{"cats": "tabby"}', "no title for class dogs"),
        ("names.json", "[1, 2]", "none of the layouts"),
        ("names.json", '{"cats": 1, "dogs": 2}', "none of the layouts"),
    ],
)
def test_titles_that_do_not_fit_are_refused(pets, tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ImageError, match=message):
        images.open(pets[0], class_names=tmp_path / name)


def test_a_titles_file_that_is_missing(pets):
    with pytest.raises(ImageError, match="Can't read class names"):
        images.open(pets[0], class_names=pets[0] / "nowhere.txt")


@pytest.fixture
def decoded(monkeypatch):
    """The names of files examined so far."""
    from attar.images import encoded

    files, decode = [], encoded.decode_and_examine
    monkeypatch.setattr(encoded, "decode_and_examine", lambda file, side: files.append(file.name) or decode(file, side))
    return files


def test_hashes_are_remembered_between_runs(pets, decoded):
    first = FolderSource(pets[0])
    assert (first.hashes(), first.grey) and len(decoded) == 5
    again = FolderSource(pets[0])
    assert again.hashes() == first.hashes() and again.grey == first.grey and len(decoded) == 5


def test_greyness_is_remembered(tmp_path, decoded):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("L", (11, 7), 99).save(tmp_path / name / "1.png")
    assert FolderSource(tmp_path).grey and FolderSource(tmp_path).grey and len(decoded) == 2


def test_a_file_that_changed_is_decoded_again(pets, decoded):
    before = FolderSource(pets[0]).hashes()
    Image.new("RGB", (13, 5)).save(pets[0] / "cats" / "0001.png")
    decoded.clear()
    after = FolderSource(pets[0]).hashes()
    assert decoded == ["0001.png"] and [a == b for a, b in zip(before, after, strict=True)].count(False) == 1


def test_a_file_of_the_same_size_is_known_by_its_time_of_change(tmp_path, decoded):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (11, 7), "red").save(tmp_path / name / "1.bmp")
    before = FolderSource(tmp_path).hashes()
    Image.new("RGB", (11, 7), "blue").save(tmp_path / "a" / "1.bmp")
    os.utime(tmp_path / "a" / "1.bmp", ns=(1, 1))
    after = FolderSource(tmp_path).hashes()
    assert after[0] != before[0] and after[1] == before[1] and len(decoded) == 3


@pytest.mark.parametrize("damage", [lambda: cache_folder().write_text("a file"), lambda: spoil(b"no database" * 999)])
def test_a_memo_that_can_not_be_used_is_done_without(pets, damage):
    expected = FolderSource(pets[0]).hashes()
    shutil.rmtree(cache_folder())
    damage()
    assert FolderSource(pets[0]).hashes() == expected


def spoil(content):
    cache_folder().mkdir()
    (cache_folder() / "hashes.sqlite").write_bytes(content)


def test_imagenette(assets):
    source = FolderSource(assets / "data" / "imagenette224" / "train")
    assert len(source) == 1200 and (source.counts == 120).all() and len(source.classes) == 10
    assert source.classes[0] == "n01440764" and source.titles[0] == "tench" and not source.grey
    assert all(image.shape == (3, 64, 64) for _, image in source.read(range(0, 1200, 97), shorter_side=64))
