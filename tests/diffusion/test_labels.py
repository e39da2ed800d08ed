"""Classes by name: the table of 1000, what is refused, a model's own classes, and maps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.diffusion.labels import Labels, imagenet, imagenet_index, names_of, own_labels, read_label_map
from attar.errors import SettingsError
from attar.images.subsets import subset

# diver.md 9
REPEATED = {
    "sand viper": (54, 66), "grass snake": (55, 57), "partridge": (82, 86), "crayfish": (123, 124),
    "crawfish": (123, 124), "crane": (134, 517), "cardigan": (264, 474), "catamount": (286, 287),
    "panther": (286, 290), "sus scrofa": (341, 342), "polecat": (358, 361), "panda": (387, 388), "tub": (435, 876),
    "wagon": (436, 734), "gong": (494, 577), "horn": (513, 566), "harp": (593, 594), "maillot": (638, 639),
    "missile": (657, 744),
}  # fmt: skip

LISTED = {
    "imagenette": (0, 217, 482, 491, 497, 566, 569, 571, 574, 701),
    "imagewoof": (193, 182, 258, 162, 155, 167, 159, 273, 207, 229),
    "imagenet-fruits": (953, 954, 949, 950, 951, 957, 952, 945, 943, 948),
    "imagenet-cats": (281, 282, 283, 284, 285, 291, 292, 290, 289, 287),
    "imagenet-birds": (84, 130, 88, 144, 145, 22, 96, 9, 100, 89),
    "imagenet-a": (255, 376, 984, 364, 500, 986, 333, 576, 148, 135),
    "imagenet-b": (129, 916, 90, 275, 995, 874, 102, 259, 685, 139),
    "imagenet-c": (565, 94, 554, 535, 92, 392, 291, 136, 324, 11),
    "imagenet-d": (9, 258, 13, 262, 19, 339, 321, 24, 93, 322),
    "imagenet-e": (816, 96, 100, 145, 739, 713, 783, 76, 688, 326),
}
YELLOW = (309, 986, 954, 951, 987, 779, 599, 291, 72, 11)

# edits.md 12: index and first name, typed there from the papers' lists
NAMED = {
    "tench": 0, "English springer": 217, "cassette player": 482, "chain saw": 491, "church": 497, "French horn": 566,
    "garbage truck": 569, "gas pump": 571, "golf ball": 574, "parachute": 701, "Shih-Tzu": 155,
    "Rhodesian ridgeback": 159, "beagle": 162, "English foxhound": 167, "Border terrier": 182,
    "Australian terrier": 193, "golden retriever": 207, "Old English sheepdog": 229, "Samoyed": 258, "dingo": 273,
    "green mamba": 64, "garden spider": 74, "Saluki": 176, "Doberman": 236, "langur": 374, "bonnet": 452,
    "cocktail shaker": 503, "vacuum": 882, "window screen": 904, "gyromitra": 993,
}  # fmt: skip


def test_exactly_nineteen_names_are_repeated_and_each_is_refused():
    assert {name: tuple(sorted(same)) for name, same in imagenet()._known.items() if len(same) > 1} == REPEATED
    for name, (first, second) in REPEATED.items():
        with pytest.raises(SettingsError) as refused:
            imagenet_index(name)
        told = f'Label "{name}" names more than one ImageNet class ({first}, {second}).'
        assert str(refused.value) == f"{told}\nGive the WordNet id or an index map."


def test_a_whole_label_tells_what_its_first_name_does_not():
    assert (imagenet_index("tub, vat"), imagenet_index("maillot, tank suit")) == (876, 639)
    assert (imagenet_index("n02012849"), imagenet_index("n03126707")) == (134, 517)  # crane, the bird; the machine


@pytest.mark.parametrize("name", LISTED)
def test_the_ids_of_each_subset_are_the_classes_listed(name: str):
    assert tuple(imagenet_index(wnid) for wnid in subset(name) or ()) == LISTED[name]


def test_the_names_of_each_subset_are_the_classes_listed():
    assert {name: imagenet_index(name) for name in NAMED} == NAMED
    for index in (*YELLOW, *(index for listed in LISTED.values() for index in listed)):
        whole = ", ".join(imagenet().names[index])
        assert imagenet_index(whole) == index == imagenet_index(imagenet().names[index][0])


@given(st.sampled_from(list(NAMED)), st.randoms(use_true_random=False))
def test_case_and_the_kind_of_space_do_not_count(name: str, random):
    letters = [random.choice([letter.upper(), letter.lower()]) for letter in name]
    spelt = "".join(random.choice(" _-") if letter in " -" else letter for letter in letters)
    assert imagenet_index(f" {spelt}  ") == NAMED[name]


def test_an_unknown_name_brings_the_closest():
    with pytest.raises(SettingsError) as refused:
        imagenet_index("beegle")
    first, hint = str(refused.value).split("\n")
    assert first == 'Label "beegle" is not one of the 1000 ImageNet classes this model knows.'
    assert hint.startswith("Closest: beagle, ") and hint.count(",") == 2
    assert hint.endswith(". A --label-map FILE says which is meant.")


def test_all_names_of_a_class_the_first_one_first():
    assert names_of("n02123045") == names_of("tabby_cat") == ("tabby", "tabby cat")
    assert names_of("crane") == ("crane",) and names_of("my_cat") == ("my cat",)


OWN = own_labels({"0": "cat", "2": "ship", "1": "dog, hound"})


def test_a_models_own_classes_by_folder_then_title_then_any_name():
    assert OWN.indices(["n1", "Hound", "n3"], ["ship", "cat", "CAT"]) == [2, 1, 0]
    with pytest.raises(SettingsError) as refused:
        OWN.indices(["n1"], ["frog"])
    told = 'Label "frog" is not one of the 3 classes this model knows.\nIt knows cat, dog, ship. '
    assert str(refused.value).startswith(told)
    with pytest.raises(SettingsError, match=r'Label "a" names more than one class \(0, 1\).\nGive the index map.'):
        Labels((("a",), ("a", "b"))).index("a")


def test_a_folders_name_that_several_have_is_settled_by_the_title():
    assert imagenet().indices(["crane", "517"], ["oystercatcher", "beagle"]) == [143, 162]
    with pytest.raises(SettingsError, match='Label "crane" names more than one'):
        imagenet().indices(["crane"], ["no such thing"])


def test_a_map_comes_first():
    assert OWN.indices(["cat", "dog", "x"], ["cat", "dog", "x"], {"cat": 2, "x": "hound"}) == [2, 1, 1]
    with pytest.raises(SettingsError, match=r"The label map says 3, and the model knows 0\.\.2"):
        OWN.indices(["cat"], ["cat"], {"cat": 3})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.json", '{"cats": 281, "dogs": "n02088364", "cranes": "crane, bird"}'),
        ("map.csv", 'cats,281\n\n"dogs", n02088364\ncranes,"crane, bird"\n'),
    ],
)
def test_both_layouts_of_a_map_say_the_same(tmp_path, name: str, text: str):
    (tmp_path / name).write_text(text)
    assert read_label_map(tmp_path / name) == {"cats": 281, "dogs": "n02088364", "cranes": "crane, bird"}


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", "[1]"), ("a.json", "{"), ("a.json", '{"a": 1.5}'), ("a.json", '{"a": true}'), ("a.csv", "a,1,2\n")],
)
def test_anything_else_is_no_map(tmp_path, name: str, text: str):
    (tmp_path / name).write_text(text)
    with pytest.raises(SettingsError, match=r'Give JSON {"folder"'):
        read_label_map(tmp_path / name)
    with pytest.raises(SettingsError, match="Can't read the label map"):
        read_label_map(tmp_path / "absent.csv")


def test_classes_numbered_with_gaps_are_refused():
    with pytest.raises(ValueError, match="numbered"):
        own_labels({"0": "cat", "2": "dog"})
