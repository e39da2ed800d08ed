"""Everything attar raises on purpose: one sentence, and one hint that says what to do.

AttarError                the user can mend it; the command line prints it and exits with 2
├── ImageError            images that can't be opened, read or decoded
├── BackboneError         unknown names, weights that don't fit, features that can't be right
├── SettingsError         a setting out of range, or settings that don't go together
├── ArtefactError         a distilled set that is missing, incomplete or altered
└── EvaluationError       sets, classes and protocols that don't fit each other
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AttarError(Exception):
    """Base of the errors that a user can mend: `message` is one sentence, `hint` what to try."""

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(message if hint is None else f"{message}\n{hint}")
        self.message = message
        self.hint = hint


class ImageError(AttarError):
    """Images that can't be opened, read or decoded."""


class BackboneError(AttarError):
    """A backbone that is unknown, whose weights don't fit, or whose features can't be right."""


class SettingsError(AttarError):
    """A setting out of range, or settings that don't go together."""


class ArtefactError(AttarError):
    """A distilled set that is missing, incomplete or altered."""


class EvaluationError(AttarError):
    """Sets, classes and protocols that don't fit each other."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint naming the entries of `known` that look most like `word`, or all of them where none does."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else f"Known names: {', '.join(names)}."
