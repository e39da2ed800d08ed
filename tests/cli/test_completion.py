"""Shells complete verbs, options and values, from lists that are the real ones, without importing torch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import pytest
import typer

from attar.backbones import list_backbones
from attar.backbones.architectures import _OWN
from attar.cli import names
from attar.cli.main import app
from attar.compression.recovery_settings import RECOVERIES, RECOVERY_PRESETS
from attar.diffusion.edits.settings import EDITS_PRESETS
from attar.diffusion.refine_settings import REFINE_PRESETS
from attar.evaluation.protocols import PROTOCOLS
from attar.evaluation.student_protocols import STUDENT_PROTOCOLS
from attar.selection import SELECTIONS
from attar.synthesis.objectives import OBJECTIVES
from attar.synthesis.presets import PRESETS

VALUES = ("--preset", "--method", "--protocol", "--backbone", "--student", "--arch", "--device", "--precision")
OPEN = {("import", "--method")}  # any word: what made a set of others
COMPLETE = (
    "import sys\nsys.argv = ['attar']\nfrom attar.cli.main import run\n"
    "try:\n    run()\nexcept SystemExit:\n    pass\n"
    "print('MODULES', *sys.modules, file=sys.stderr)"
)


def completed(shell: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What the shell is told where the last of `words` is being typed."""
    line = " ".join(("attar", *words))
    asked = {"bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words))}}
    other = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    environment = os.environ | {"_ATTAR_COMPLETE": f"complete_{shell}", **asked.get(shell, other)}
    return subprocess.run(
        [sys.executable, "-c", COMPLETE], capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["dis"], ["distill"]),
        (["distill", "--pre"], ["--preset", "--precision"]),
        (["distill", "photos", "--backbone", "dinov2_vits"], ["dinov2_vits14"]),
        (["evaluate", "a.attar", "-p", "probe-v1/"], ["probe-v1/std", "probe-v1/centre", "probe-v1/tuned"]),
        (["edits", "p"], ["prototypes"]),
    ],
)
def test_bash_completes_verbs_options_and_values_without_torch_or_pydantic(words, offered):
    done = completed("bash", *words)
    shown, _, modules = done.stderr.partition("MODULES")
    assert done.stdout.split() == offered and shown == ""
    imported = set(modules.split())
    assert "attar.cli.main" in imported and not {"torch", "numpy", "timm", "PIL"} & imported
    assert "pydantic" not in imported or "typer._adapters" in imported  # newer typer imports it by itself


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete_too(shell):
    assert "soft-fkd" in completed(shell, "evaluate", "photos.attar", "-p", "soft-fk").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_the_shell_asks_attar(shell):
    done = subprocess.run(
        [sys.executable, "-m", "attar", "--show-completion", shell],
        capture_output=True, text=True, env=os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        check=True,
    )  # fmt: skip
    assert f"complete_{shell}" in done.stdout and "attar" in done.stdout


def test_a_completion_takes_no_longer_than_typing():
    """Design: 0.5 s; a busy machine is given time for three attempts, and four times as long."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        completed("bash", "dis")
        times.append(time.perf_counter() - started)
    assert min(times) < 2


def commands() -> dict[str, Any]:
    return typer.main.get_command(app).commands  # type: ignore[attr-defined]


def options(*wanted: str) -> list[Any]:
    return [
        pytest.param(name, option, id=f"{name} {option.opts[0]}")
        for name, command in commands().items()
        for option in command.params
        if {*option.opts} & {*wanted} and (name, option.opts[0]) not in OPEN
    ]


@pytest.mark.parametrize(("command", "option"), options(*VALUES))
def test_every_option_with_a_list_of_names_offers_it(command, option):
    context = typer.Context(commands()[command])
    offered = [item.value for item in option.shell_complete(context, "")]
    assert len(offered) > 1
    first = offered[0]
    assert first in [item.value for item in option.shell_complete(context, first[:-1])]
    assert option.shell_complete(context, "no such value") == []


def test_what_is_offered_is_what_there_is():
    assert list(names.BACKBONES) == [entry.name for entry in list_backbones()]
    assert list(names.OBJECTIVES) == list(OBJECTIVES) and list(names.SELECTIONS) == list(SELECTIONS)
    assert names.RECOVERIES == RECOVERIES and list(names.PRESETS) == list(PRESETS)
    assert {*names.RECOVERY_PRESETS} == RECOVERY_PRESETS.keys() - PRESETS.keys()
    assert list(names.EDITS_PRESETS) == list(EDITS_PRESETS) and list(names.REFINE_PRESETS) == list(REFINE_PRESETS)
    assert list(names.PROBES) == list(PROTOCOLS)
    assert {*names.SOFT_PROTOCOLS, *names.HARD_PROTOCOLS} == {*STUDENT_PROTOCOLS}
    assert {*names.NETWORKS} == {*_OWN, "resnet18"}


def test_methods_of_other_packages_are_offered(tmp_path, monkeypatch):
    record = tmp_path / "dotted-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: dotted\nVersion: 1.0\n")
    (record / "entry_points.txt").write_text("[attar.objectives]\ndotted = dotted:Dotted\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert names.offer_methods("dot") == ["dotted"]
    assert names.offer_methods("k") == ["kcenter", "kmeans"]
