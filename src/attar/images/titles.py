"""Titles of classes, the names people read ("tench" for n01440764), from a JSON or text file."""

from __future__ import annotations

import json
from pathlib import Path

from attar.errors import ImageError
from attar.images.checks import check_names

_LAYOUTS = (
    'Give a text file with one title a line in class order, or JSON: a list of titles in class order, {"folder": '
    '"title"}, or {"classes": [{"wnid": "folder", "name": "title"}]}.'
)


def read_titles(file: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """A title for each class, in class order, from a file in one of the layouts that the error message lists."""
    text = _text(file)
    titles = _from_json(file, text, classes) if file.suffix.lower() == ".json" else _lines(text)
    if len(titles) != len(classes):
        raise ImageError(f"{file} has {len(titles)} class names, the images have {len(classes)} classes", _LAYOUTS)
    return _checked(tuple(titles), file)


def find_titles(folder: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Titles from a classes.json in `folder` or its parent; the class's own name where there is none for it."""
    for place in (folder, folder.absolute().parent):
        file = place / "classes.json"
        if file.is_file():
            known = _mapping(_parsed(file)) or {}
            return _checked(tuple(known.get(name, name) for name in classes), file)
    return classes


def find_names(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """(names, titles) of classes that are numbered, in the order of their numbers, from a file in `folder`.

    That is classes.json (a list of names; {"0": "name", "1": "name", ...}; {"classes": [{"wnid": "name", "name":
    "title"}, ...]}) or classes.txt (one name a line). None where there is none, or none of these layouts.
    """
    if (folder / "classes.json").is_file():
        content = _parsed(folder / "classes.json")
        if isinstance(content, list) and all(isinstance(name, str) for name in content):
            return tuple(content), tuple(content)
        known = _mapping(content) or {}
        if isinstance(content, dict) and isinstance(content.get("classes"), list) and known:
            return tuple(known), _checked(tuple(known.values()), folder / "classes.json")
        if known and set(known) == {str(number) for number in range(len(known))}:
            names = tuple(known[str(number)] for number in range(len(known)))
            return names, names
    if (folder / "classes.txt").is_file():
        names = tuple(_lines(_text(folder / "classes.txt")))
        return names, names
    return None


def _from_json(file: Path, text: str, classes: tuple[str, ...]) -> list[str]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{file} isn't valid JSON: {error}", _LAYOUTS) from error
    if isinstance(content, list) and all(isinstance(title, str) for title in content):
        return content
    known = _mapping(content)
    if known is None:
        raise ImageError(f"{file} has none of the layouts for class names", _LAYOUTS)
    missing = [name for name in classes if name not in known]
    if missing:
        raise ImageError(f"{file} has no title for class {missing[0]}", _LAYOUTS)
    return [known[name] for name in classes]


def _parsed(file: Path) -> object:
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):  # a classes.json that isn't meant for us
        return None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ImageError(f"can't read class names from {file}: {error}", _LAYOUTS) from error


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _mapping(content: object) -> dict[str, str] | None:
    """Folder to title, from either JSON layout that has both; None for anything else."""
    if isinstance(content, dict) and isinstance(content.get("classes"), list):
        rows = content["classes"]
        if not all(isinstance(row, dict) and {"wnid", "name"} <= row.keys() for row in rows):
            return None
        content = {row["wnid"]: row["name"] for row in rows if isinstance(row["wnid"], str)}
    if isinstance(content, dict) and all(isinstance(title, str) for title in content.values()):
        return content
    return None


def _checked(titles: tuple[str, ...], file: Path) -> tuple[str, ...]:
    for title in titles:
        check_names((title,), str(file))  # two classes may share a title
    return titles
