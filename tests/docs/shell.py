"""Commands of the pages: attar's are run in this process, the others are looked at."""

from __future__ import annotations

import argparse
import glob
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from attar.cli import main
from docs.supplies import MODELS, supply

ROOT = Path(__file__).parents[2]
_SEPARATORS = {"&&", "||", ";", "|", "&"}


class PageError(Exception):
    """What is wrong with a command of a page."""


def run_line(command: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """One line of a bash block, in `folder`, where this process is."""
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
    """The words of each command of a line; what `>` names is dropped with it."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in _SEPARATORS:
            yield words
            words = []
        else:
            words.append(os.path.expandvars(word))
    yield words


def _run(words: list[str], folder: Path, patch: pytest.MonkeyPatch) -> None:
    program, *rest = words
    if program == "attar":
        _attar(rest, folder, patch)
    elif program == "torchrun":
        _attar(_after_module(rest), folder, patch)
    elif program == "python" and rest[:2] == ["-m", "attar"]:
        _attar(rest[2:], folder, patch)
    elif program == "python":
        _check_script(rest, patch)
    elif program.endswith(".sh"):
        _check_shell(program, rest)
    elif program == "make":
        _check_targets(rest)
    elif program == "pip":
        _install(rest, folder)
    elif program == "export":
        for name, _, value in (word.partition("=") for word in rest):
            patch.setenv(name, value)
    elif program not in ("git", "cd"):
        raise PageError(f"unknown command {program!r}")


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


def _after_module(words: Sequence[str]) -> Sequence[str]:
    if "-m" not in words or words[words.index("-m") + 1] != "attar":
        raise PageError("torchrun starts no -m attar")
    return words[words.index("-m") + 2 :]


class _Parsed(Exception):  # noqa: N818 - nothing went wrong
    """The arguments are fine."""


def _check_script(words: Sequence[str], patch: pytest.MonkeyPatch) -> None:
    """The script exists, and its parser takes the arguments; scripts that read sys.argv are only looked for."""
    script = ROOT / words[0]
    if not script.is_file():
        raise PageError(f"there is no script {words[0]}")
    if "parse_args(" not in script.read_text("utf-8"):
        return
    before = set(sys.modules)
    with patch.context() as own:
        parse = argparse.ArgumentParser.parse_args

        def parsed(parser: argparse.ArgumentParser, *given: object) -> None:
            parse(parser, *given)
            raise _Parsed

        own.setattr(argparse.ArgumentParser, "parse_args", parsed)
        own.setattr(sys, "argv", list(words))
        own.setattr(sys, "path", [str(script.parent), *sys.path])
        try:
            runpy.run_path(str(script), run_name="__main__")
        except _Parsed:
            return
        except SystemExit as error:
            raise PageError(f"{words[0]} refuses these arguments") from error
        finally:
            for name in set(sys.modules) - before:
                if str(getattr(sys.modules[name], "__file__", "")).startswith(str(script.parent)):
                    del sys.modules[name]
    raise PageError(f"{words[0]} ended before it parsed its arguments")


def _check_shell(program: str, parts: Sequence[str]) -> None:
    """The script exists, is sound, and knows the parts named behind its folder."""
    script = ROOT / program
    if not script.is_file():
        raise PageError(f"there is no script {program}")
    if subprocess.run(["bash", "-n", script], capture_output=True).returncode:
        raise PageError(f"bash can't parse {program}")
    text = script.read_text("utf-8")
    unknown = [part for part in parts[1:] if re.search(rf"(?<![\w-]){re.escape(part)}(?![\w-])", text) is None]
    if unknown:
        raise PageError(f"{program} has no part {', '.join(unknown)}")


def _check_targets(words: Sequence[str]) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    unknown = [word for word in words if not re.search(rf"^{re.escape(word)}:", makefile, re.MULTILINE)]
    if unknown:
        raise PageError(f"the Makefile has no target {', '.join(unknown)}")


def _install(words: Sequence[str], folder: Path) -> None:
    """Extras of attar must exist; the entry points of a package in a folder are found from here on."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for word in words[1:]:
        package = re.fullmatch(r"(attar|\.)\[(.*)\]", word)
        unknown = [extra for extra in package[2].split(",") if extra not in known] if package else []
        if unknown:
            raise PageError(f"attar has no extra {', '.join(unknown)}")
        if word.startswith("./"):
            _install_package(ROOT / word, folder / "site")


def _install_package(package: Path, site: Path) -> None:
    """Its modules, and what pip would note of it."""
    if not (package / "pyproject.toml").is_file():
        raise PageError(f"there is no package {package.relative_to(ROOT)}")
    about = tomllib.loads((package / "pyproject.toml").read_text("utf-8"))["project"]
    notes = site / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    notes.mkdir(parents=True, exist_ok=True)
    (notes / "METADATA").write_text(f"Name: {about['name']}\nVersion: {about['version']}\n")
    groups = about["entry-points"].items()
    lines = [
        f"[{group}]\n" + "\n".join(f"{key} = {value}" for key, value in points.items()) for group, points in groups
    ]
    (notes / "entry_points.txt").write_text("\n".join(lines))
    for module in package.glob("*.py"):
        shutil.copy(module, site)
