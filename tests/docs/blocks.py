"""Code blocks of a Markdown page, with the lines they stand on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"( *)```(.*)")
_NOT_RUN = re.compile(r"<!-- not run: (.*) -->")


@dataclass(frozen=True)
class Block:
    """What stands between two fences; `line` is the first line of it, counted from 1."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None
    """Why it isn't run; None where it is."""


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in its order; a fence that nothing closes goes on to the end, as in a browser."""
    found, inside = [], False
    lines = page.read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        fence = _FENCE.fullmatch(line)
        if fence is None:
            continue
        if not inside:
            start, indent, language = number + 1, fence[1], fence[2].strip()
            reason = _NOT_RUN.fullmatch(lines[number - 1].strip()) if number else None
        else:
            text = "\n".join(code.removeprefix(indent) for code in lines[start:number])
            found.append(Block(page, start + 1, language, text, reason[1] if reason else None))
        inside = not inside
    if inside:
        found.append(Block(page, start + 1, "never closed", "", None))
    return found


def indented(page: Path) -> list[int]:
    """The lines where a block that is only indented begins: after an empty line, outside of fences and lists."""
    found, inside, in_list, before = [], False, False, ""
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if _FENCE.fullmatch(line):
            inside = not inside
        elif not inside and line.strip():
            if re.match(r"\s*([-*+]|\d+\.) ", line):
                in_list = True
            elif not line.startswith(" "):
                in_list = line.startswith(("!!!", "???", "===")) or (in_list and before != "")
            elif line.startswith("    ") and not in_list and not before:
                found.append(number)
        before = line.strip()
    return found


def commands(block: Block) -> Iterator[tuple[int, str]]:
    """(line, command) of a bash block; a line that ends in a backslash goes on in the next one."""
    started, command = block.line, ""
    for number, line in enumerate(block.text.splitlines(), block.line):
        started = started if command else number
        command += line
        if command.endswith("\\"):
            command = command[:-1] + " "
            continue
        if command.strip() and not command.lstrip().startswith("#"):
            yield started, command
        command = ""
    if command:
        yield started, command
