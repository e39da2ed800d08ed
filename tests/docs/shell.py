"""Commands of the pages: attar's are run in this process, the others are looked at (programs.py)."""

from __future__ import annotations

import glob
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from attar.cli import main
from docs.programs import PageError, behind_torchrun, check_script, check_shell, check_targets, git, install
from docs.supplies import MODELS, supply

_SEPARATORS = {"&&", "||", ";", "|", "&"}
_REDIRECTIONS = {">", ">>", "<"}


def run_line(command: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """One line of a bash block, in the folder where this process is: `folder`, or what `cd` made of it."""
    for words in _parts(command):
        with patch.context() as own:
            while words and (setting := re.fullmatch(r"([A-Z_][A-Z0-9_]*)=(.*)", words[0])):
                own.setenv(setting[1], setting[2])
                words = words[1:]
            own.setattr(sys, "path", [*_python_path(folder), *sys.path])
            if words:
                _run(words, folder, patch)


def _python_path(folder: Path) -> list[str]:
    """Where a command finds modules beside the installed ones."""
    named = [part for part in os.environ.get("PYTHONPATH", "").split(":") if part]
    return [str(Path(part).absolute()) for part in named] + [str(folder / "site")]


def _parts(command: str) -> Iterator[list[str]]:
    """The words of each command of a line, but for redirections."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in _SEPARATORS:
            yield words
            words = []
        elif word in _REDIRECTIONS:
            next(lexer, None)
        else:
            words.append(os.path.expandvars(word))
    yield words


def _run(words: list[str], folder: Path, patch: pytest.MonkeyPatch) -> None:
    program, *rest = words
    if program == "attar":
        _attar(rest, folder, patch)
    elif program == "torchrun":
        _attar(behind_torchrun(rest), folder, patch)
    elif program == "python" and rest[:2] == ["-m", "attar"]:
        _attar(rest[2:], folder, patch)
    elif program == "python":
        check_script(rest, patch)
    elif program.endswith(".sh"):
        check_shell(program, rest)
    elif program == "make":
        check_targets(rest)
    elif program == "pip":
        install(rest, folder / "site")
    elif program == "git":
        git(rest)
    elif program == "cd":
        _change_folder(rest, folder, patch)
    elif program == "export":
        _export(rest, patch)
    else:
        raise PageError(f"unknown command {program!r}")


def _change_folder(words: Sequence[str], folder: Path, patch: pytest.MonkeyPatch) -> None:
    """To a folder of the sandbox: what else there is on this machine, a reader needn't have."""
    (name,) = words or ["~"]
    there = Path(name).expanduser().resolve()
    if not there.is_dir() or not there.is_relative_to(folder.resolve()):
        raise PageError(f"there is no folder {name}")
    patch.chdir(there)


def _export(words: Sequence[str], patch: pytest.MonkeyPatch) -> None:
    for word in words:
        name, is_set, value = word.partition("=")
        if not is_set:
            raise PageError(f"export gives {name} no value")
        patch.setenv(name, value)


def _attar(words: Sequence[str], folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Run it here; an error leaves as it is."""
    for word in [*words, *MODELS.get(words[0] if words else "", ())]:
        if not _is_output(word, words):
            supply(word.removesuffix("/"), folder)
    given = [word for pattern in words for word in _expanded(pattern)]
    patch.setattr(sys, "argv", ["attar", *given])
    code = main.app(args=given, standalone_mode=False)
    if code not in (None, 0):
        raise PageError(f"exit code {code}")


def _is_output(word: str, words: Sequence[str]) -> bool:
    return any(before in ("--out", "-o") and word == after for before, after in pairwise(words))


def _expanded(word: str) -> list[str]:
    """As a shell does; a pattern that fits nothing stays as it is."""
    return sorted(glob.glob(word)) or [word]  # noqa: PTH207 - paths as they were typed
