from __future__ import annotations

import numpy as np
import pytest

from attar.errors import ImageError, SettingsError
from attar.images import ArraySource, open

CLASSES = ("ant", "bee", "cow", "dog cat", "eel")


@pytest.fixture
def source(pixels):
    whole = ArraySource(pixels(53, 3, 5, 3), np.arange(53) % 5, CLASSES)
    whole.titles = tuple(name.upper() for name in CLASSES)
    return whole


def test_other_classes_disappear_and_the_order_stays(source):
    part = open(source, classes=["eel", "bee"])
    assert part.classes == ("bee", "eel") and part.titles == ("BEE", "EEL") and part.counts.tolist() == [11, 10]
    kept = [index for index in range(53) if index % 5 in (1, 4)]
    assert part.labels.tolist() == [0 if index % 5 == 1 else 1 for index in kept]
    assert part.hashes() == [source.hashes()[index] for index in kept]
    assert part.name(0) == "bee/00001" and source.classes == CLASSES
    assert part.subset([1, 0]).classes == ("bee", "eel")


def test_classes_from_a_file(source, tmp_path):
    (tmp_path / "some.txt").write_text("# ImageNet's way\ncow a large animal\n\ndog cat # two words\nant\t0\n")
    for form in (tmp_path / "some.txt", str(tmp_path / "some.txt")):
        assert open(source, classes=form).classes == ("ant", "cow", "dog cat")


def test_classes_that_are_not_there(source, tmp_path):
    with pytest.raises(ImageError, match=r"There is no class 'beee' in arrays\.\nDid you mean bee"):
        open(source, classes=["beee", "ant"])
    with pytest.raises(ImageError, match=r"There are no classes 'x', 'y' in arrays\.\nIt has ant \(ANT\), bee \(BEE\)"):
        open(source, classes=("x", "ant", "y"))
    with pytest.raises(ImageError, match="Can't read class names from"):
        open(source, classes=tmp_path / "nowhere.txt")


def test_a_title_stands_for_the_one_class_that_has_it(source, tmp_path):
    source.titles = ("tench", "Great white shark", "crane", "ant", "CRANE")
    assert open(source, classes=["Tench", "cow"]).classes == ("ant", "cow")
    assert open(source, classes=["ant", "bee"]).classes == ("ant", "bee")  # a name, and another class' title
    (tmp_path / "some.txt").write_text("great white shark # by title\ncow of the field\n")
    assert open(source, classes=tmp_path / "some.txt").classes == ("bee", "cow")
    with pytest.raises(
        ImageError, match=r"no class 'Crane' in arrays\.\nSeveral are titled so, give a name: cow, eel\."
    ):
        open(source, classes=["ant", "Crane"])
    with pytest.raises(ImageError, match=r"no class 'tensh' in arrays\.\nDid you mean ant \(tench\)\?"):
        open(source, classes=["tensh", "bee"])


def test_a_refusal_lists_ten_classes_at_most(pixels):
    source = ArraySource(pixels(23, 3, 5, 3), np.arange(23), tuple(f"n{number:08}" for number in range(23)))
    with pytest.raises(ImageError, match=r"It has n00000000, (n\d{8}, ){8}n00000009 and 13 more\.") as caught:
        open(source, classes=[*"vwxyz"])
    assert caught.value.message == "there are no classes 'v', 'w', 'x' and 2 more in arrays"


@pytest.mark.parametrize("classes", [[], ["ant"], ["ant", "ant"]])
def test_fewer_than_two_classes_are_too_few(source, classes):
    with pytest.raises(ImageError, match=f"{len(set(classes))} of the classes in arrays is too few"):
        open(source, classes=classes)


def test_a_limit_draws_the_same_images_every_time(source):
    part = open(source, limit=3)
    names = [part.name(index) for index in range(len(part))]
    assert part.counts.tolist() == [3] * 5 and len(set(names)) == 15 and part.classes == CLASSES
    assert [open(source, limit=3).name(index) for index in range(15)] == names
    assert [int(name[-5:]) for name in names] == sorted(int(name[-5:]) for name in names)
    assert open(source, limit=99).fingerprint == source.fingerprint
    assert set(names) < {open(source, limit=4).name(index) for index in range(20)}


def test_a_limit_draws_a_class_alike_whatever_the_others(source):
    some, all_ = open(source, classes=["cow", "eel"], limit=3), open(source, limit=3)
    assert some.hashes() == [all_.hashes()[index] for index in range(15) if all_.labels[index] in (2, 4)]


def test_a_limit_is_at_least_one(source):
    with pytest.raises(SettingsError, match="Can't keep 0 images a class"):
        open(source, limit=0)


def test_the_hundred_classes_of_imagenet(pixels, assets):
    file = assets.parent / "data" / "imagenet100_wnids.txt"
    if not file.is_file():
        pytest.skip("no list")
    wnids = [line.split()[0] for line in file.read_text().splitlines() if line.strip() and line[0] != "#"]
    source = ArraySource(pixels(101, 3, 5), np.arange(101), (*wnids, "zebra"))
    assert open(source, classes=file).classes == tuple(wnids)
