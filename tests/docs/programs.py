"""Programs of the pages that aren't attar: looked at, not run."""

from __future__ import annotations

import argparse
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import InvalidRequirement, Requirement

ROOT = Path(__file__).parents[2]
_GIT = {"add", "clone", "commit", "diff", "init", "log", "pull", "push", "status", "switch", "tag"}


class PageError(Exception):
    """What is wrong with a command of a page."""


class _Parsed(Exception):  # noqa: N818 - nothing went wrong
    """The arguments are fine."""


def check_script(words: Sequence[str], patch: pytest.MonkeyPatch) -> None:
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


def check_shell(program: str, parts: Sequence[str]) -> None:
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


def check_targets(words: Sequence[str]) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    unknown = [word for word in words if not re.search(rf"^{re.escape(word)}:", makefile, re.MULTILINE)]
    if unknown:
        raise PageError(f"the Makefile has no target {', '.join(unknown)}")


def install(words: Sequence[str], site: Path) -> None:
    """pip is asked for attar, a wheel of it, or what the tests have too; modules of a package's folder go to `site`."""
    if words[:1] != ["install"] or len(words) < 2:
        raise PageError(f"pip {' '.join(words)} is not followed here")
    for word in words[1:]:
        if word.startswith("./"):
            _install_package(ROOT / word, site)
        elif not fnmatch(word, "dist/*.whl"):
            _check_package(re.sub(r"^\.(?=\[|$)", "attar", word))


def _check_package(wanted: str) -> None:
    try:
        package = Requirement(wanted)
        version(package.name)
    except (InvalidRequirement, PackageNotFoundError) as error:
        raise PageError(f"pip has no package {wanted}") from error
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    unknown = sorted(package.extras - known.keys()) if package.name == "attar" else []
    if unknown:
        raise PageError(f"attar has no extra {', '.join(unknown)}")


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


def git(words: Sequence[str]) -> None:
    """The verb exists; a clone makes its folder, empty, so that the page can go there."""
    verb, *rest = words or [""]
    if verb not in _GIT:
        raise PageError(f"git has no verb {verb!r}")
    if verb == "clone":
        address = next((index for index, word in enumerate(rest) if re.match(r"https://|git@", word)), None)
        if address is None:
            raise PageError("git clone names no address")
        folder, *_ = [*rest[address + 1 :], Path(rest[address]).stem]
        Path(folder).mkdir()


def behind_torchrun(words: Sequence[str]) -> Sequence[str]:
    """attar's own arguments: torchrun's parser takes those before `-m attar`."""
    from torch.distributed.run import get_args_parser

    try:
        given = get_args_parser().parse_args(words)
    except SystemExit as error:
        raise PageError("torchrun refuses these arguments") from error
    if not given.module or given.training_script != "attar":
        raise PageError("torchrun starts no -m attar")
    return given.training_script_args
