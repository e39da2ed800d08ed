"""Text prototypes: one text for each cluster, made of the captions of its members or of the class' names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Protocol, final, runtime_checkable

from attar.diffusion.edits.captions import mentions, plain_text, read_captions
from attar.diffusion.edits.llm import LanguageModel
from attar.errors import SettingsError, nearest

WRITERS = ("medoid", "llm", "frequency", "file", "label", "label-all")
_NEAREST = 5  # captions that a language model is given
_TOP = 30  # words of a cluster that count, VLCP's tpk


@dataclass(frozen=True)
class Written:
    """A text, and why it is the nearest member's caption where something else was asked for."""

    text: str
    fell_back: str | None = None


@runtime_checkable
class Writer(Protocol):
    """Writes the text of one cluster."""

    def write(self, captions: Sequence[str], names: Sequence[str], *, of_class: Sequence[str], place: str) -> Written:
        """`captions` of all members, nearest to the centre first; `names` of the class, the first one first.

        `of_class` are the captions of all images of the class, `place` is "<class folder>/<number of the cluster>".
        """
        ...


def open_writer(
    kind: str,
    *,
    nearest_captions: int = _NEAREST,
    threshold: float = 0.7,
    substring: bool = False,
    file: Path | None = None,
    language_model: LanguageModel | None = None,
) -> Writer:
    """The writer called `kind` (edits.md 6, 8); SettingsError for an unknown one, or one that lacks what it needs.

    medoid       the caption of the member nearest to the centre
    llm          `language_model` merges the `nearest_captions` nearest ones (EDITS)
    frequency    the caption with the most frequent words of its cluster (VLCP)
    file         what `file` says, in the format of captions, under "<class folder>/<number of the cluster>"
    label        the class' first name
    label-all    all its names (D4M)

    `threshold` and `substring` belong to frequency alone.
    """
    if kind == "file" and file is not None:
        return _File(file, read_captions(file))
    if kind == "llm" and language_model is not None:
        return _Merged(language_model, nearest_captions)
    if kind == "frequency":
        return _Frequency(threshold, substring)
    simple: dict[str, Writer] = {"medoid": _Medoid(), "label": _Label(), "label-all": _AllLabels()}
    if kind in simple:
        return simple[kind]
    if kind in WRITERS:
        raise SettingsError(
            f"texts by {kind} lack their {'file' if kind == 'file' else 'model'}",
            "Name it, or use --text-proto medoid.",
        )
    raise SettingsError(f"there is no writer of texts {kind!r}", nearest(kind, WRITERS))


def finish_text(text: str, names: Sequence[str], truncate: Callable[[str], str]) -> tuple[str, bool]:
    """(the text as a prompt, whether `truncate` shortened it): one line that names the class.

    Where no name of the class is left in it, "A photo of a {name}." leads.
    """
    plain = plain_text(text)
    if not mentions(truncate(plain), names):
        plain = f"A photo of a {names[0]}. {plain}".strip()
    short = truncate(plain)
    return short, short != plain


@final
class _Medoid:
    def write(self, captions: Sequence[str], names: Sequence[str], *, of_class: Sequence[str], place: str) -> Written:
        del names, of_class, place
        return Written(captions[0])


@final
class _Label:
    def write(self, captions: Sequence[str], names: Sequence[str], *, of_class: Sequence[str], place: str) -> Written:
        del captions, of_class, place
        return Written(names[0])


@final
class _AllLabels:
    def write(self, captions: Sequence[str], names: Sequence[str], *, of_class: Sequence[str], place: str) -> Written:
        del captions, of_class, place
        return Written(", ".join(names))


@final
@dataclass(frozen=True)
class _File:
    path: Path
    texts: dict[str, str]

    def write(self, captions: Sequence[str], names: Sequence[str], *, of_class: Sequence[str], place: str) -> Written:
        del captions, names, of_class
        if place not in self.texts:
            message = f"{self.path} has no text for cluster {place}"
            raise SettingsError(message, 'Add a line with its file_name, as "<class folder>/<number of the cluster>".')
        return Written(self.texts[place])


@final
@dataclass(frozen=True)
class _Merged:
    model: LanguageModel
    nearest: int

    def write(self, captions: Sequence[str], names: Sequence[str], *, of_class: Sequence[str], place: str) -> Written:
        del of_class, place
        answer = self.model.merge(captions[: self.nearest], names[0])
        return Written(answer.text) if answer.refused is None else Written(captions[0], answer.refused)


@final
@dataclass(frozen=True)
class _Frequency:
    """VLCP's rule: the caption whose words are the most frequent ones of its cluster, and not of the whole class.

    Stop words, words of the class' names and those that a share `threshold` of the class' captions hold don't count,
    nor do any beyond the 30 most frequent. The authors look for the words anywhere in a caption as it is written,
    and so does `substring`; else they must be words of it, in any case. Ties, and captions without any such word, fall
    to the member nearest to the centre. Source: edits.md 8.
    """

    threshold: float
    substring: bool

    def write(self, captions: Sequence[str], names: Sequence[str], *, of_class: Sequence[str], place: str) -> Written:
        del place
        ignored = stop_words() | set(words(" ".join(names))) | self._common(of_class)
        counted = Counter(word for caption in captions for word in words(caption) if word not in ignored)
        frequent = dict(counted.most_common(_TOP))
        return Written(max(captions, key=lambda caption: self._score(caption, frequent)))

    def _common(self, captions: Sequence[str]) -> set[str]:
        held = Counter(word for caption in captions for word in set(words(caption)))
        least = self.threshold * len(captions) - 1e-9
        return {word for word, count in held.items() if count >= least}

    def _score(self, caption: str, frequent: dict[str, int]) -> int:
        within = caption if self.substring else set(words(caption))
        return sum(count for word, count in frequent.items() if word in within)


def words(text: str) -> list[str]:
    """The words of a text, in small letters: all runs of letters.

    >>> words("A dog's 2 Balls")
    ['a', 'dog', 's', 'balls']
    """
    return re.findall(r"[^\W\d_]+", text.lower())


@cache
def stop_words() -> frozenset[str]:
    """English words of grammar, which say nothing about a picture."""
    file = resources.files("attar.diffusion.edits").joinpath("stop_words.txt")
    return frozenset(file.read_text("utf-8").split())
