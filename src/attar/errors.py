"""Everything attar raises on purpose: one sentence, and one hint that says what to do.

AttarError                the user can mend it; the command line prints it and exits with 2
├── ImageError            images that can't be opened, read or decoded
├── BackboneError         unknown names, weights that don't fit, features that can't be right
├── FileError             files of ours that are damaged or find no room on the disk
├── SettingsError         a setting out of range, or settings that don't go together
├── ArtefactError         a distilled set that is missing, incomplete or altered
├── EvaluationError       sets, classes and protocols that don't fit each other
└── ProcessError          another process of the same job that is gone

Messages are written in lower case without a full stop, so that they compose; they are shown as sentences. A text that
ends in a stop is a sentence already and stays as it is: its first word may be a path.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

_Kind = TypeVar("_Kind")
_MAKERS = {
    "Backbone": "attar.backbone({})",
    "Classifier": "attar.classifier(attar.load({}), backbone)",
    "DistilledSet": "attar.load({})",
    "EditsSettings": "attar.choose_edits({})",
    "ImageSource": "attar.open({})",
    "LatentDiffusion": "attar.diffusion.models.open_diffusion({})",
    "RecoverySettings": "attar.choose_recovery({})",
    "RefineSettings": "attar.choose_refinement({})",
    "Run": "attar.run.Run(pathlib.Path({}))",
    "Settings": "attar.choose_settings({})",
    "SqueezeSettings": "attar.SqueezeSettings({})",
    "Squeezed": "attar.backbones.squeezed.read_squeezed({})",
}
"""What makes an object of a class, from a path or a name where there is one."""


class AttarError(Exception):
    """Base of the errors that a user can mend: `message` is one sentence, `hint` what to try.

    >>> print(AttarError("there is no folder photos", "Did you mean photo?"))
    There is no folder photos.
    Did you mean photo?
    """

    def __init__(self, message: str, hint: str | None = None):
        super().__init__("\n".join(_sentence(text) for text in (message, hint) if text is not None))
        self.message = message
        self.hint = hint


class ImageError(AttarError):
    """Images that can't be opened, read or decoded."""


class BackboneError(AttarError):
    """A backbone that is unknown, whose weights don't fit, or whose features can't be right."""


class FileError(AttarError):
    """A file of ours that is damaged, or finds no room on the disk."""


class SettingsError(AttarError):
    """A setting out of range, or settings that don't go together."""


class ArtefactError(AttarError):
    """A distilled set that is missing, incomplete or altered."""


class EvaluationError(AttarError):
    """Sets, classes and protocols that don't fit each other."""


class ProcessError(AttarError):
    """Another process of the same job that has ended, or can't be reached."""


def _sentence(text: str) -> str:
    """`text` with a capital and a full stop, except for lists (of several lines) and what ends in a stop already."""
    if "\n" in text or text.endswith((".", "!", "?", ":")):
        return text
    is_word = re.match(r"[a-z]+('[a-z]+)? ", text)
    return f"{text[:1].upper() if is_word else text[:1]}{text[1:]}."


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint naming the entries of `known` that look most like `word`, or all of them where none does."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else f"Known names: {', '.join(names)}."


def expect(value: object, kind: type, parameter: str) -> None:
    """SettingsError where `value`, given as `parameter`, isn't of class `kind`; its hint says what makes one of it."""
    if isinstance(value, kind):
        return
    typed = repr(str(value)) if isinstance(value, str | Path) else ""
    given = "None" if value is None else f"the {type(value).__name__} {typed}" if typed else _a(type(value))
    maker = _MAKERS[kind.__name__].format(typed or ("**settings" if isinstance(value, dict) else "..."))
    raise SettingsError(f"{_a(kind)} is needed as {parameter}, not {given}", f"write {maker}")


def expect_all(values: Any, kind: type[_Kind], parameter: str) -> list[_Kind]:
    """`values` as a list, of one where one is given alone; SettingsError where any of them isn't of class `kind`."""
    alone = isinstance(values, kind | str) or not isinstance(values, Iterable)
    listed: list[Any] = [values] if alone else [*values]
    for value in listed:
        expect(value, kind, parameter)
    return listed


def _a(kind: type) -> str:
    return f"{'an' if kind.__name__[0] in 'AEIOUaeiou' else 'a'} {kind.__name__}"
