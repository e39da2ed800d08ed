"""Subsets of ImageNet by name: the papers' classes, chosen in the order of the images' own."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from attar.cli.options import chosen_classes
from attar.errors import ImageError
from attar.images import ArraySource, open
from attar.images.subsets import subset, subset_names

INDICES = {  # lgm.md 10 and diver.md 9, which have them from GLaD's code
    "imagenette": [0, 217, 482, 491, 497, 566, 569, 571, 574, 701],
    "imagewoof": [193, 182, 258, 162, 155, 167, 159, 273, 207, 229],
    "imagenet-birds": [84, 130, 88, 144, 145, 22, 96, 9, 100, 89],
    "imagesquawk": [84, 130, 88, 144, 145, 22, 96, 9, 100, 89],
    "imagenet-fruits": [953, 954, 949, 950, 951, 957, 952, 945, 943, 948],
    "imagefruit": [953, 954, 949, 950, 951, 957, 952, 945, 943, 948],
    "imagenet-cats": [281, 282, 283, 284, 285, 291, 292, 290, 289, 287],
    "imagemeow": [281, 282, 283, 284, 285, 291, 292, 290, 289, 287],
    "imagenet-a": [255, 376, 984, 364, 500, 986, 333, 576, 148, 135],
    "imagenet-b": [129, 916, 90, 275, 995, 874, 102, 259, 685, 139],
    "imagenet-c": [565, 94, 554, 535, 92, 392, 291, 136, 324, 11],
    "imagenet-d": [9, 258, 13, 262, 19, 339, 321, 24, 93, 322],
    "imagenet-e": [816, 96, 100, 145, 739, 713, 783, 76, 688, 326],
}


def timm_info(name: str) -> Path:
    """A table of timm's; its import would take seconds."""
    return Path(find_spec("timm").origin).parent / "data" / "_info" / name


@pytest.fixture
def woof(pixels) -> ArraySource:
    """One image of each class of imagewoof and of two others, one before and one after them."""
    names = tuple(sorted({*subset("imagewoof"), "n01440764", "n03888257"}))
    return ArraySource(pixels(len(names), 3, 5, 3), np.arange(len(names)), names)


def test_every_list_has_the_classes_that_its_authors_number():
    wnids = timm_info("imagenet_synsets.txt").read_text().split()
    assert len(wnids) == 1000 and {*INDICES, "imagenet-100"} == {*subset_names()}
    for name, indices in INDICES.items():
        assert subset(name) == tuple(wnids[index] for index in indices), name


def test_the_lists_are_of_what_they_are_called():
    """By the words of WordNet, which know nothing of indices."""
    rows = timm_info("imagenet_synset_to_lemma.txt").read_text().splitlines()
    words = dict(row.split("\t", 1) for row in rows)
    assert [words[wnid].split(",")[0] for wnid in subset("imagemeow")] == [
        "tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat", "lion", "tiger", "jaguar", "snow leopard",
        "lynx",
    ]  # fmt: skip
    assert words[subset("imagenet-birds")[1]] == "flamingo" and words[subset("imagefruit")[1]] == "banana"


def test_the_hundred_classes_are_those_of_the_list(assets):
    file = assets.parent / "data" / "imagenet100_wnids.txt"
    if not file.is_file():
        pytest.skip("no list")
    assert list(subset("imagenet-100")) == file.read_text().split()


@pytest.mark.parametrize("name", ["imagenette", "imagewoof"])
def test_the_real_folders_have_the_classes_of_their_list(name, assets):
    listed = json.loads((assets / "data" / f"{name}224" / "classes.json").read_text())["classes"]
    assert {entry["wnid"] for entry in listed} == set(subset(name))
    both = "+".join(str(assets / "data" / f"{each}224" / "val") for each in ("imagewoof", "imagenette"))
    part = open(both, classes=chosen_classes(name))
    assert part.classes == tuple(sorted(subset(name))) and part.titles == tuple(row["name"] for row in listed)
    assert len(open(both, classes=chosen_classes("imagenette, imagewoof")).classes) == 20


@pytest.mark.parametrize("wanted", ["imagewoof", ["imagewoof"], subset("imagewoof"), Path("imagewoof")])
def test_a_subset_is_chosen_in_the_order_of_the_images_classes(woof, wanted):
    part = open(woof, classes=wanted)
    assert part.classes == tuple(sorted(subset("imagewoof"))) != subset("imagewoof")
    assert part.hashes() == woof.hashes()[1:-1] and part.labels.tolist() == list(range(10))


def test_a_file_or_a_class_of_that_name_comes_first(woof, pixels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagewoof").write_text("n01440764\nn03888257\n")
    assert open(woof, classes=chosen_classes("imagewoof")).classes == ("n01440764", "n03888257")
    assert open(woof, classes="imagewoof").classes == ("n01440764", "n03888257")
    odd = ArraySource(pixels(3, 3, 5, 3), np.arange(3), ("ant", "bee", "imagenette"))
    assert open(odd, classes=["imagenette", "ant"]).classes == ("ant", "imagenette")


def test_classes_that_are_missing_are_counted(woof):
    with pytest.raises(
        ImageError, match=r"no classes 'n02102040', 'n02979186', 'n03000684' and 5 more in arrays\."
    ) as caught:
        open(woof, classes=["imagenette"])
    assert "WordNet id" in caught.value.hint
    with pytest.raises(ImageError, match=r"no classes .* and 6 more in arrays\."):
        open(woof, classes=["imagenette", "ant"])


def test_a_mistyped_subset_is_guessed(woof):
    with pytest.raises(ImageError, match=r"no class 'imagenete' in arrays\.\nDid you mean imagenette"):
        open(woof, classes=["imagenete"])
    assert subset("imagenet") is None
