from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import attar.images
from attar.errors import ImageError
from attar.images import ArraySource, DigitsSource, FolderSource, JoinedSource, open


def test_the_exported_names_are_there_and_sorted():
    assert attar.images.__all__ == sorted(attar.images.__all__)
    assert all(hasattr(attar.images, name) for name in attar.images.__all__)


def test_importing_images_does_not_import_what_is_heavy_or_optional():
    code = (
        "import sys, attar.images; sys.exit(bool({'torch', 'sklearn', 'datasets', 'pillow_heif'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_folders_arrays_and_sources_are_opened(pets):
    folder, images, labels = pets
    source = open(str(folder))
    assert isinstance(source, FolderSource) and open(folder).fingerprint == source.fingerprint
    assert open(source) is source
    assert open((images, np.array(labels))).hashes() == source.hashes()


def test_the_digits_are_split_once_and_for_all():
    train, test, both = open("digits"), open("digits:test"), DigitsSource("all")
    assert (len(train), len(test), len(both)) == (1297, 500, 1797) and train.classes == tuple("0123456789")
    assert open("digits:train").fingerprint == train.fingerprint
    assert test.fingerprint == DigitsSource("test").fingerprint
    assert sorted(train.hashes() + test.hashes()) == sorted(both.hashes())
    np.testing.assert_allclose(test.counts / 500, both.counts / 1797, atol=0.003)
    assert train.grey and train.location == "digits" and test.location == "digits:test"


def test_digits_are_scikit_learns_scaled_to_bytes():
    digits = load_digits()
    source = DigitsSource("all")
    assert source.labels.tolist() == digits.target.tolist()
    for index, image in source.read([0, 996, 1796]):
        np.testing.assert_allclose(image[1] / 255, digits.images[index] / 16, atol=0.51 / 255)
    assert max(image.max() for _, image in source.read(range(9))) == 255


@pytest.mark.parametrize("form", [lambda a, b: f"{a}+{b}", lambda a, b: [a, str(b)], lambda a, b: (str(a), open(b))])
def test_several_folders_become_one_source(pets, tmp_path, form):
    for name in ("ants", "dogs"):
        (tmp_path / "more" / name).mkdir(parents=True)
        Image.new("L", (5, 3)).save(tmp_path / "more" / name / "1.png")
    source = open(form(pets[0], tmp_path / "more"))
    assert isinstance(source, JoinedSource) and source.classes == ("ants", "cats", "dogs")
    assert source.labels.tolist() == [1, 1, 1, 2, 2, 0, 2]
    assert source.location == f"{pets[0]}+{tmp_path / 'more'}"


def test_a_plus_in_a_folders_name_is_just_a_plus(pets):
    plus = pets[0].rename(pets[0].with_name("cats+dogs"))
    assert isinstance(open(plus), FolderSource)


def test_titles_can_be_given_for_any_source(pets, tmp_path):
    (tmp_path / "names.txt").write_text("tabby\nretriever\n")
    plain = ArraySource(pets[1], pets[2])
    titled = open(plain, class_names=tmp_path / "names.txt")
    assert titled.titles == ("tabby", "retriever") and titled.classes == ("0", "1") and plain.titles == ("0", "1")
    assert open(pets[0], class_names=str(tmp_path / "names.txt")).titles == ("tabby", "retriever")


def test_unknown_specs_say_what_is_accepted(tmp_path):
    with pytest.raises(ImageError, match=r"no folder or file 'digitz'\.\nDid you mean digits.*an \.npz file"):
        open("digitz")
    with pytest.raises(ImageError, match=r"no folder or file 'no/where'\.\nGive a folder"):
        open("no/where")
    (tmp_path / "a.zip").write_text("x")
    with pytest.raises(ImageError, match=r"a file, but no \.npz or \.tar"):
        open(tmp_path / "a.zip")
    for spec in (7, None, [], [1, 2], (1, 2, 3), np.zeros(3)):
        with pytest.raises(ImageError, match="Can't open images from"):
            open(spec)


@pytest.fixture
def damaged(pets):
    """The pets with a truncated JPEG, an empty file and a text file added: 3 of 8 can't be read."""
    folder = pets[0]
    jpeg = folder / "dogs" / "truncated.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (31, 37, 3), dtype=np.uint8)).save(jpeg)
    jpeg.write_bytes(jpeg.read_bytes()[:900])
    (folder / "cats" / "empty.png").write_bytes(b"")
    (folder / "cats" / "text.jpg").write_text("hello, I am text")
    return folder


def test_corrupt_images_are_listed_by_path(damaged):
    with pytest.raises(ImageError) as caught:
        open(damaged).hashes()
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("3 of 8 images in")
    assert lines[1:3] == [
        "  cats/empty.png: the file is empty",
        "  cats/text.jpg: it is no JPEG, PNG, WebP, BMP, GIF or HEIC file",
    ]
    assert lines[3].startswith("  dogs/truncated.jpg: truncated or damaged JPEG")
    assert "--skip-corrupt" in lines[4] and len(lines) == 5
    with pytest.raises(ImageError, match="3 of 8"):
        _ = open(damaged).fingerprint


def test_no_more_than_ten_corrupt_images_are_listed(pets):
    for number in range(13):
        (pets[0] / "cats" / f"x{number:02d}.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"x09.png: the file is empty\n  and 3 more\n") as caught:
        open(pets[0]).hashes()
    assert "x10" not in str(caught.value)


def test_corrupt_images_are_left_out_where_asked(damaged, pets):
    source = open(damaged, skip_corrupt=True)
    assert source.skipped == ("cats/empty.png", "cats/text.jpg", "dogs/truncated.jpg")
    assert source.counts.tolist() == [3, 2]
    assert source.fingerprint == ArraySource(pets[1], pets[2], ("cats", "dogs")).fingerprint
    assert source.subset([0]).skipped == source.skipped
    assert JoinedSource([source, source]).skipped == source.skipped * 2


def test_skipping_leaves_a_sound_source_as_it_is(pets):
    source = open(pets[0])
    assert open(source, skip_corrupt=True) is source and source.skipped == ()


def test_skipping_may_not_empty_a_class(pets):
    for file in (pets[0] / "dogs").iterdir():
        file.write_bytes(b"")
    with pytest.raises(ImageError, match=r"Class dogs .* without its corrupt images has no images"):
        open(pets[0], skip_corrupt=True)


def test_imagenette_and_imagewoof_make_twenty_classes(assets):
    source = open([assets / "data" / f"image{name}224" / "val" for name in ("nette", "woof")])
    assert len(source.classes) == 20 and len(source) == 900 and source.classes == tuple(sorted(source.classes))
    assert {"tench", "Samoyed"} < set(source.titles)
