"""What mkdocs puts into the reference pages: help texts, tables of settings, and the tree of errors.

A page asks by a comment on a line of its own, so that the file reads well anywhere:

    <!-- commands -->
    <!-- fields attar.synthesis.settings:Settings -->
    <!-- tree attar.errors -->
"""

from __future__ import annotations

import contextlib
import dataclasses
import html
import importlib
import io
import os
import re
from typing import Any

_WIDTH = 86
_ASKED = re.compile(r"^<!-- (commands|fields|tree) ?(\S*) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs calls this with the text of each page."""
    makers = {"commands": _commands, "fields": _fields, "tree": _tree}
    return _ASKED.sub(lambda asked: makers[asked[1]](asked[2]), markdown)


def _commands(_: str) -> str:
    """The help text of every command, as `attar VERB --help` prints it."""
    from typer.main import get_command

    from attar.cli.main import app

    os.environ["TERMINAL_WIDTH"] = os.environ["COLUMNS"] = str(_WIDTH)
    group: Any = get_command(app)
    parts = [_help(group, [])]
    parts += [f"## attar {name}\n\n{_help(group, [name])}" for name in group.commands]
    return "\n\n".join(parts)


def _help(group: Any, words: list[str]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        group.main(args=[*words, "--help"], prog_name="attar", standalone_mode=True)
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return "```text\n" + "\n".join(lines).strip("\n") + "\n```"


def _fields(place: str) -> str:
    """A table of a record's fields: name, default, permitted values, meaning."""
    module, _, name = place.partition(":")
    record = getattr(importlib.import_module(module), name)
    rows = _pydantic_rows(record) if hasattr(record, "model_fields") else _dataclass_rows(record)
    lines = [f"| `{name}` | {kind} | {default} | {html.escape(about)} |" for name, kind, default, about in rows]
    return "\n".join(["| setting | what it takes | default | what it is |", "|---|---|---|---|", *lines])


def _pydantic_rows(record: Any) -> list[tuple[str, str, str, str]]:
    return [
        (name, _kind(record.__annotations__.get(name, ""), field.metadata), _value(field), field.description or "")
        for name, field in record.model_fields.items()
        if name != "options"
    ]


def _dataclass_rows(record: Any) -> list[tuple[str, str, str, str]]:
    return [(field.name, _kind(field.type, []), _value(field), "") for field in dataclasses.fields(record)]


def _value(field: Any) -> str:
    missing = field.default is dataclasses.MISSING or repr(field.default) == "PydanticUndefined"
    return "needed" if missing else f"`{field.default}`"


def _kind(annotation: Any, limits: list[Any]) -> str:
    """'int, at least 1' of an annotation as it is written and pydantic's limits."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    named = [
        f"{word} {value:g}"
        for limit in limits
        for sign, word in words.items()
        if (value := getattr(limit, sign, None)) is not None and abs(value) < 1e9
    ]
    text = str(annotation).removeprefix("Literal[").removesuffix("]") if "Literal" in str(annotation) else annotation
    return ", ".join([str(text).replace("|", "or").replace('"', ""), *named])


def _tree(module: str) -> str:
    """The docstring of a module that draws a tree, whose lines must stay as they are."""
    return f"```text\n{importlib.import_module(module).__doc__.strip()}\n```"
