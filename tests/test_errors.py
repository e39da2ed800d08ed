"""Messages are shown as sentences, whichever way they were written."""

from __future__ import annotations

import pickle

import pytest

from attar.errors import AttarError, ImageError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("can't read it", "Can't read it."),
        ("there is no folder photos", "There is no folder photos."),
        ("Can't read it.", "Can't read it."),
        ("photos exists and is no set.", "photos exists and is no set."),
        ("'resnet18' can't be built", "'resnet18' can't be built."),
        ("photos/train is a file", "photos/train is a file."),
        ("vit_tiny has no weights", "vit_tiny has no weights."),
        ("x.npz is a file", "x.npz is a file."),
        ("Did you mean resnet18?", "Did you mean resnet18?"),
        ("3 images can't be read:\n  a.png\n  b.png", "3 images can't be read:\n  a.png\n  b.png"),
    ],
)
def test_messages_and_hints_are_shown_as_sentences_and_kept_as_given(text: str, shown: str):
    error = AttarError(text, text)
    assert str(error) == f"{shown}\n{shown}" and (error.message, error.hint) == (text, text)
    assert str(AttarError(text)) == shown and AttarError(text).hint is None


def test_an_error_from_another_process_reads_the_same():
    error = ImageError("can't read it", "Look at it")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "Can't read it.\nLook at it."
