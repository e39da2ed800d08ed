"""Text prototypes: what each writer makes of captions and names; VLCP's rule by the worked case of edits.md 8."""

from __future__ import annotations

from pathlib import Path

import pytest

from attar.diffusion.edits.captions import mentions, write_captions
from attar.diffusion.edits.llm import LanguageModel
from attar.diffusion.edits.texts import WRITERS, Writer, Written, finish_text, open_writer, stop_words, words
from attar.errors import SettingsError
from stub_llm import says, serving

RUNNING = ["A beagle runs on grass", "A beagle sits on green grass near a fence", "A beagle sleeps"]
SWIMMING = ["A beagle swims in water", "A brown beagle in water with a ball"]
NAMES = ("beagle", "English hound")


def write(writer: Writer, captions: list[str], of_class: list[str] | None = None, place: str = "n1/0") -> Written:
    return writer.write(captions, NAMES, of_class=captions if of_class is None else of_class, place=place)


def first_words(text: str) -> str:
    return " ".join(text.split()[:7])


def test_medoid_and_labels():
    assert write(open_writer("medoid"), RUNNING) == Written(RUNNING[0])
    assert write(open_writer("label"), []) == Written("beagle")
    assert write(open_writer("label-all"), []) == Written("beagle, English hound")


def test_the_worked_case_of_the_frequency_rule():
    writer = open_writer("frequency")
    assert write(writer, RUNNING, RUNNING + SWIMMING).text == RUNNING[1]
    assert write(writer, SWIMMING, RUNNING + SWIMMING).text == SWIMMING[1]


def test_the_scores_of_the_worked_case():
    """3, 6, 1 and 3, 4: the winner falls by as much as its caption loses."""
    writer, everything = open_writer("frequency"), RUNNING + SWIMMING
    shorter = [RUNNING[0], "A beagle sits on grass", RUNNING[2]]  # 3, 3, 1: a tie
    assert write(writer, shorter, everything).text == RUNNING[0]
    assert write(writer, ["A beagle swims in water", "A beagle in water"], everything).text == SWIMMING[0]


def test_words_that_most_captions_of_the_class_hold_do_not_count():
    captions = ["dusk dusk dusk", "a kite"]
    of_class = [*captions, "dusk", "dusk", "sand"]  # dusk is in 3 of 5
    assert write(open_writer("frequency", threshold=0.61), captions, of_class).text == "dusk dusk dusk"
    assert write(open_writer("frequency", threshold=0.6), captions, of_class).text == "a kite"
    of_many = ["dusk"] * 55 + ["sand"] * 45  # .55 · 100 is above 55 in floating point
    assert write(open_writer("frequency", threshold=0.55), captions, of_many).text == "a kite"


def test_names_and_stop_words_do_not_count():
    assert write(open_writer("frequency"), ["English beagle English", "the of and", "kite"], ["x"]).text == "kite"


def test_only_the_most_frequent_words_count():
    letters = "abcdefghijklmnopqrstuvwxyzéèêë"
    twice = [f"zz{one} zz{one} zz{other} zz{other}" for one, other in zip(letters[::2], letters[1::2], strict=True)]
    once = " ".join(f"xx{letter}" for letter in letters)  # 30 points, but for the 30 words that come twice
    assert write(open_writer("frequency"), [once, *twice], ["z"]).text == twice[0]
    assert write(open_writer("frequency"), [once, *twice[3:]], ["z"]).text == once  # of which 6 count now


def test_without_a_word_that_counts_the_nearest_caption_stays():
    assert write(open_writer("frequency"), ["A beagle", "The beagle"], RUNNING).text == "A beagle"


def test_substring_looks_inside_words_as_the_authors_do():
    captions = ["sun sun sun", "a sunny day"]
    assert write(open_writer("frequency"), captions, ["z"]).text == "sun sun sun"
    assert write(open_writer("frequency", substring=True), captions, ["z"]).text == "a sunny day"
    shouted = ["sun", "SUN sea SUN"]
    assert write(open_writer("frequency"), shouted, ["z"]).text == "SUN sea SUN"
    assert write(open_writer("frequency", substring=True), ["SUN SUN", "sun"], ["z"]).text == "sun"


def test_stop_words_are_grammar_alone():
    found = stop_words()
    assert 150 <= len(found) <= 220
    assert {"a", "the", "on", "in", "with", "and", "s"} <= found
    assert not found & {"near", "green", "grass", "water", "dog", "runs", "sits"}  # of the worked case, and nouns
    assert all(word == word.lower() and words(word) == [word] for word in found)


def test_texts_of_a_file_go_by_class_and_cluster(tmp_path):
    file = tmp_path / "texts.jsonl"
    write_captions(file, {"n1/0": "one", "n1/1": "two"})
    writer = open_writer("file", file=file)
    assert write(writer, RUNNING, place="n1/1") == Written("two")
    with pytest.raises(SettingsError, match=r"texts.jsonl has no text for cluster n2/0"):
        write(writer, RUNNING, place="n2/0")


def test_a_language_model_is_given_the_nearest_captions_alone(tmp_path):
    with serving(says("A beagle outside.")) as stub:
        model = LanguageModel("m", stub.url, cache=tmp_path / "cache.jsonl")
        made = write(open_writer("llm", language_model=model, nearest_captions=2), [*RUNNING, *SWIMMING])
        assert made == Written("A beagle outside.")
        asked = stub.requests[0]["messages"][-1]["content"]
        assert all(caption in asked for caption in RUNNING[:2])
        assert not any(caption in asked for caption in [RUNNING[2], *SWIMMING])


def test_a_refusal_falls_back_to_the_nearest_caption_and_says_so(tmp_path):
    with serving(says(None, refusal="I can't")) as stub:
        model = LanguageModel("m", stub.url, cache=tmp_path / "cache.jsonl")
        assert write(open_writer("llm", language_model=model), RUNNING) == Written(RUNNING[0], "the model refused")


def test_unknown_and_unfurnished_writers_are_refused():
    with pytest.raises(SettingsError, match="There is no writer of texts 'medoids'"):
        open_writer("medoids")
    with pytest.raises(SettingsError, match="Texts by file lack their file"):
        open_writer("file")
    with pytest.raises(SettingsError, match="Texts by llm lack their model"):
        open_writer("llm")


def test_every_writer_keeps_the_contract(tmp_path):
    file = Path(tmp_path / "texts.jsonl")
    write_captions(file, {"n1/0": "one"})
    with serving(says("A beagle.")) as stub:
        model = LanguageModel("m", stub.url, cache=tmp_path / "cache.jsonl")
        for kind in WRITERS:
            writer = open_writer(kind, file=file, language_model=model)
            assert isinstance(writer, Writer)
            assert write(writer, RUNNING) == write(writer, RUNNING)
            assert write(writer, RUNNING).text


def test_a_finished_text_is_one_line_that_names_the_class():
    assert finish_text(' A "big"\n beagle ', NAMES, first_words) == ("A big beagle", False)
    assert finish_text("A dog", NAMES, first_words) == ("A photo of a beagle. A dog", False)


def test_a_long_text_is_cut_and_that_is_said():
    assert finish_text("A beagle on a very green lawn at noon", NAMES, first_words) == (
        "A beagle on a very green lawn",
        True,
    )


def test_a_name_that_would_be_cut_off_is_put_before():
    made, was_cut = finish_text("On a very green and wide lawn a beagle", NAMES, first_words)
    assert (made, was_cut) == ("A photo of a beagle. On a", True)
    assert mentions(made, NAMES)
