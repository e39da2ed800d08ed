"""Captions of images: a file of them, what of a caption a prompt can hold, and what stands in for one that is missing.

The file has a JSON object a line, `{"file_name": "<class folder>/<image>", "text": "..."}`, as EDITS' authors publish
theirs (edits.md 2).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from attar.errors import FileError, SettingsError
from attar.files import write_text

PROMPT_TOKENS = 75  # CLIP's 77 less the marks of beginning and end


def read_captions(file: Path) -> dict[str, str]:
    """Image ("<class>/<image>") to caption; FileError for a file that can't be read or has a line of another kind."""
    try:
        lines = file.read_text("utf-8").split("\n")
    except FileNotFoundError as error:
        raise FileError(f"there is no file {file}", "Check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"can't read {file}: {error}", "It should be a text file in UTF-8, a JSON object a line."
        ) from error
    captions: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            name, text = _parse(line, f"line {number} of {file}")
            if captions.setdefault(name, text) != text:
                raise FileError(f"line {number} of {file} gives another caption to {name}", "Keep one of them.")
    return captions


def write_captions(file: Path, captions: Mapping[str, str]) -> None:
    """Write captions, in their order, as `read_captions` reads them."""
    lines = (
        json.dumps({"file_name": name, "text": text}, ensure_ascii=False) + "\n" for name, text in captions.items()
    )
    write_text(file, "".join(lines))


def clean_caption(text: str, names: Sequence[str], count_tokens: Callable[[str], int]) -> str:
    """A caption as a prompt: one line, no double quotes, as many first sentences as 75 tokens hold, and a class name.

    `names` are the class' names, the first one first: where none of them occurs, "A photo of a {name}." leads. Of a
    first sentence that is too long as many words stay as fit. The authors delete every "'s" too (edits.md 2); we don't.

    >>> clean_caption(' A "fine"  dog. ', ["beagle"], lambda text: len(text.split()))
    'A photo of a beagle. A fine dog.'
    """
    plain = plain_text(text)
    kept = _fitting(plain, "", count_tokens)
    if mentions(kept, names):
        return kept
    lead = f"A photo of a {names[0]}."
    return f"{lead} {_fitting(plain, f'{lead} ', count_tokens)}".strip()


def plain_text(text: str) -> str:
    """`text` on one line, without double quotes."""
    return " ".join(re.sub('["“”„]', "", text).split())


def mentions(text: str, names: Sequence[str]) -> bool:
    """Whether one of `names`, or its plural, stands in `text` as words of its own, in any case.

    >>> mentions("Two Golden-Retrievers", ["golden retriever"]), mentions("a caterpillar", ["cat"])
    (True, False)
    """
    words = _words(text)
    return any(re.search(rf"(?<!\w){re.escape(_words(name))}(e?s)?(?!\w)", words) for name in names)


def captions_of(
    images: Sequence[str],
    known: Mapping[str, str],
    fallback: Literal["template"] | None,
    names: Sequence[Sequence[str]],
) -> list[str]:
    """The caption of each image ("<class>/<image>"), from `known` or, with a fallback, "a photo of a {name}".

    `names` are the names of each image's class. An empty caption is none. SettingsError where there is no fallback for
    a missing one.
    """
    missing = [image for image in images if not known.get(image, "").strip()]
    if missing and fallback is None:
        raise SettingsError(
            f"{len(missing)} of {len(images)} images have no caption (first: {missing[0]})",
            "Caption them, or use --caption-fallback template.",
        )
    return [known.get(image, "").strip() or template(own[0]) for image, own in zip(images, names, strict=True)]


def template(name: str) -> str:
    """What can be said of an image of which only the class is known."""
    return f"a photo of a {name}"


def _parse(line: str, place: str) -> tuple[str, str]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    match entry:
        case {"file_name": str(name), "text": str(text)}:
            return name, text
    raise FileError(f"{place} is no JSON object with file_name and text", "Mend or remove that line.")


def _fitting(text: str, lead: str, count_tokens: Callable[[str], int]) -> str:
    """As many first sentences of `text` as 75 tokens hold behind `lead`; of one that is too long its first words."""
    return _first_that_fit(re.split(r"(?<=[.!?]) ", text), lead, count_tokens) or _first_that_fit(
        text.split(), lead, count_tokens
    )


def _first_that_fit(parts: Sequence[str], lead: str, count_tokens: Callable[[str], int]) -> str:
    kept = ""
    for part in parts:
        longer = f"{kept} {part}".strip()
        if count_tokens(f"{lead}{longer}") > PROMPT_TOKENS:
            break
        kept = longer
    return kept


def _words(text: str) -> str:
    return " ".join(re.sub("[_-]", " ", text.casefold()).split())
