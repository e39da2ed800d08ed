"""Captions: what a file of them may hold, what is left of one for a prompt, and what a missing one means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.diffusion.edits.captions import (
    captions_of,
    clean_caption,
    mentions,
    read_captions,
    write_captions,
)
from attar.errors import FileError, SettingsError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=31)


def count_words(text: str) -> int:
    return len(text.split())


@given(captions=st.dictionaries(TEXTS, TEXTS))
def test_what_is_written_is_read(tmp_path_factory, captions: dict[str, str]):
    file = tmp_path_factory.mktemp("captions") / "captions.jsonl"
    write_captions(file, captions)
    assert read_captions(file) == captions


def test_the_authors_lines_are_read_and_blank_ones_passed_over(tmp_path):
    file = tmp_path / "captions.jsonl"
    file.write_text(
        '{"file_name": "n02085620/a.JPEG", "text": "A dog\\u2019s"}\n\n{"text": "B", "file_name": "b/b.png"}'
    )
    assert read_captions(file) == {"n02085620/a.JPEG": "A dog’s", "b/b.png": "B"}


@pytest.mark.parametrize(
    "line", ['{"file_name": "a"}', '["a", "b"]', '{"file_name": "a", "text": 3}', "{", "[" * 99999]
)
def test_a_line_of_another_kind_is_refused_by_number(tmp_path, line: str):
    file = tmp_path / "captions.jsonl"
    file.write_text(f'{{"file_name": "a/1", "text": "one"}}\n{line}\n')
    with pytest.raises(FileError, match=r"Line 2 of .*captions.jsonl is no JSON object with file_name and text"):
        read_captions(file)


def test_two_captions_of_one_image_are_refused(tmp_path):
    file = tmp_path / "captions.jsonl"
    file.write_text('{"file_name": "a", "text": "one"}\n{"file_name": "a", "text": "two"}\n')
    with pytest.raises(FileError, match=r"Line 2 of .* gives another caption to a"):
        read_captions(file)


def test_a_missing_or_binary_file_is_one_sentence(tmp_path):
    with pytest.raises(FileError, match=r"There is no file .*absent"):
        read_captions(tmp_path / "absent")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match=r"Can't read .*binary"):
        read_captions(tmp_path / "binary")


def test_a_good_caption_loses_only_spaces_and_double_quotes():
    text = '  A "brown"\n beagle’s  “ball”. It runs. '
    assert clean_caption(text, ["beagle"], count_words) == "A brown beagle’s ball. It runs."


def test_whole_sentences_stay_as_long_as_they_fit():
    first, second, third = "A beagle " + "a " * 37 + "b.", "C " * 35 + "d.", "E."
    assert count_words(first) + count_words(second) == 76
    assert clean_caption(f"{first} {second} {third}", ["beagle"], count_words) == first
    assert clean_caption(f"{first} {second[2:]} {third}", ["beagle"], count_words) == f"{first} {second[2:]}"


def test_of_one_long_sentence_the_first_words_stay():
    text = "beagle " + " ".join(f"w{number}" for number in range(97))
    assert clean_caption(text, ["beagle"], count_words) == " ".join(text.split()[:75])


def test_a_class_that_is_not_named_is_put_before():
    assert clean_caption("A dog.", ["beagle", "hound"], count_words) == "A photo of a beagle. A dog."
    assert clean_caption("An English HOUND.", ["beagle", "hound"], count_words) == "An English HOUND."
    assert clean_caption(" ", ["beagle"], count_words) == "A photo of a beagle."


def test_the_name_put_before_counts_too():
    text = " ".join(f"w{number}" for number in range(75))
    made = clean_caption(text, ["golden retriever"], count_words)
    assert count_words(made) == 75
    assert made == "A photo of a golden retriever. " + " ".join(text.split()[:69])


@given(text=st.text('ab .!?"“\n', max_size=400))
def test_a_clean_caption_always_fits_and_names_the_class(text: str):
    made = clean_caption(text, ["sea lion", "seal"], count_words)
    assert count_words(made) <= 75
    assert mentions(made, ["sea lion"])
    assert not set(made) & set('"“\n')
    assert clean_caption(made, ["sea lion", "seal"], count_words) == made


@pytest.mark.parametrize(
    ("text", "name", "there"),
    [
        ("two Beagles", "beagle", True),
        ("churches", "church", True),
        ("an old english sheep-dog", "Old_English_sheep dog", True),
        ("a caterpillar", "cat", False),
        ("concat", "cat", False),
        ("a c+ b", "c+", True),
    ],
)
def test_a_name_counts_as_a_word_of_its_own(text: str, name: str, there: bool):
    assert mentions(text, ["zebra", name]) is there


def test_images_without_a_caption_are_counted_and_named():
    known = {"a/1.png": "one", "a/2.png": " ", "b/5.png": "five"}
    with pytest.raises(SettingsError) as refused:
        captions_of(["a/1.png", "a/2.png", "b/3.png"], known, None, [["cat"], ["cat"], ["dog"]])
    assert str(refused.value).split("\n") == [
        "2 of 3 images have no caption (first: a/2.png).",
        "Caption them, or use --caption-fallback template.",
    ]


def test_the_template_stands_in_where_that_is_allowed():
    names = [["cat"], ["cat"], ["dog", "hound"]]
    made = captions_of(["a/1.png", "a/2.png", "b/3.png"], {"a/1.png": "one"}, "template", names)
    assert made == ["one", "a photo of a cat", "a photo of a dog"]
