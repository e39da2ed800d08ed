"""Every code block of README and docs does what a reader will try with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attar.errors import AttarError
from docs.blocks import Block, blocks, commands, indented
from docs.programs import ROOT, PageError
from docs.sandbox import furnish, shrink
from docs.shell import run_line
from stub_hub import stub_hub

LANGUAGES = {"bash", "python", "text", "toml", "json", "yaml", "html", "markdown"}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples/attar-nearest/README.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
RUN_ELSEWHERE = {"docs/tutorial.md": "tests/test_notebook.py runs it whole, as examples/tutorial.ipynb"}
"""Pages whose blocks another test runs, and which."""


def place_of(page: Path, line: int) -> str:
    """As editors open it."""
    return f"{page.relative_to(ROOT)}:{line}"


every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Photos to work on, in a folder that is this process's and the user's home, and a hub on this machine."""
    furnish(tmp_path)
    shrink(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    before = set(sys.modules)
    with stub_hub():
        yield tmp_path
    for name in set(sys.modules) - before:  # a page's own modules mustn't meet the next page's
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@every_page
def test_the_blocks_of_a_page_run_in_its_order(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if elsewhere := RUN_ELSEWHERE.get(str(page.relative_to(ROOT))):
        pytest.skip(elsewhere)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.not_run is not None:
            continue
        if block.language == "bash":
            for line, command in commands(block):
                attempt(page, line, command, lambda command=command: run_line(command, folder, monkeypatch))
        elif block.language == "python":
            attempt(page, block.line, "python", lambda block=block: run_python(block, namespace))


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    """With the page's lines in tracebacks."""
    exec(compile("\n" * (block.line - 1) + block.text, block.page, "exec"), namespace)


def attempt(page: Path, line: int, what: str, act: Callable[[], object]) -> None:
    """Do it; what goes wrong names the page and the line."""
    try:
        act()
    except (Exception, SystemExit) as error:
        raise PageError(f"{place_of(page, line)}: {what}\n{type(error).__name__}: {error}") from error


@every_page
def test_code_is_fenced_and_names_its_language(page: Path) -> None:
    odd = {place_of(page, block.line): block.language for block in blocks(page) if block.language not in LANGUAGES}
    assert not odd
    assert not [place_of(page, line) for line in indented(page)]


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    all_blocks = [block for page in PAGES for block in blocks(page)]
    reasons = {place_of(block.page, block.line): block.not_run for block in all_blocks if block.not_run is not None}
    assert len(reasons) <= 5, reasons
    assert all(len(reason.split()) >= 3 for reason in reasons.values()), reasons


def test_every_block_of_a_page_that_is_run_elsewhere_is_a_cell_there() -> None:
    assert RUN_ELSEWHERE.keys() == {"docs/tutorial.md"}
    cells = json.loads((ROOT / "examples/tutorial.ipynb").read_text("utf-8"))["cells"]
    run = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert [block.text for block in blocks(ROOT / "docs/tutorial.md") if block.language != "text"] == run


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("attar distil photos/train", "No such command 'distil'"),
        ("attar distill photos/train --bakbone resnet18 --out a", "No such option: --bakbone"),
        ("attar distill photos/train --backbone resnet17 --out a.attar", "timm has no network 'resnet17'"),
        ("attar distill photos/train --backbone torchvision:rasnet18 --out a.attar", "torchvision has no network"),
        ("attar distill photo/train --backbone resnet18 --out a.attar", "photo/train"),
        ("attar distill photos/train --backbone resnet18 --set stepps=3 --out a.attar", "no setting 'stepps'"),
        ("attar verify photos-9.attar", "photos-9.attar"),
        ("torchrun --nproc-per-node 2 -m attar features photos/train --backbone resnet17", "no network 'resnet17'"),
        ("torchrun --nproc-per-node 2 train.py", "no -m attar"),
        ("OMP_NUM_THREADS=1 python benchmarks/step.py --quickly", "benchmarks/step.py refuses"),
        ("python benchmarks/no_such.py", "there is no script benchmarks/no_such.py"),
        ("benchmarks/results.sh OUT no-such-part", "has no part no-such-part"),
        ("benchmarks/no_such.sh OUT", "there is no script benchmarks/no_such.sh"),
        ("make breakfast", "no target breakfast"),
        ("pip install 'attar[hf,tea]'", "no extra tea"),
        ("pip install ./examples/attar-farthest", "there is no package examples/attar-farthest"),
        ("torchrun --procs 2 -m attar features photos/train --backbone resnet18", "torchrun refuses"),
        ("pip install 'attar [tea]'", "no extra tea"),
        ("pip install no-such-package-xyz", "no package no-such-package-xyz"),
        ("pip install -e", "no package -e"),
        ("pip uninstall attar", "pip uninstall attar is not followed"),
        ("pip install", "pip install is not followed"),
        ("export FOO", "gives FOO no value"),
        ("git frobnicate --hard", "git has no verb 'frobnicate'"),
        ("git clone attar", "names no address"),
        ("cd /nowhere/at/all", "no folder /nowhere/at/all"),
        ("cd /", "no folder /"),
        ("cd photos && attar verify small.attar", "small.attar"),
        ("git clone https://example.org/attar.git && cd attar-main", "no folder attar-main"),
        ("make demo && brew install attar", "unknown command 'brew'"),
    ],
)
def test_a_command_that_would_fail_a_reader_fails_here(command: str, told: str, folder, monkeypatch) -> None:
    with pytest.raises(Exception) as caught:  # click's, attar's and ours
        run_line(command, folder, monkeypatch)
    assert told in str(caught.value) or told in getattr(caught.value, "message", "")


@pytest.mark.parametrize(
    "command",
    [
        "attar --version > version.txt  # kept",
        "ATTAR_CACHE=$HOME/cache attar verify small.attar && attar verify photos-?",
        "python benchmarks/step.py --quick",
        "pip install '.[ssl,diffusion]' 'attar [hf]' dist/attar-0.1-py3-none-any.whl torch",
        "git clone --depth 1 https://example.org/attar.git && cd attar && pip install . && cd ~/photos && cd ..",
        "git clone git@example.org:you/attar.git copy && cd copy && export A=1 B=",
        "pip install ./examples/attar-nearest && attar distill digits --method nearest --backbone resnet18 --out d",
    ],
)
def test_a_command_that_works_for_a_reader_works_here(command: str, folder, monkeypatch) -> None:
    run_line(command, folder, monkeypatch)


def test_a_page_is_read_as_a_browser_shows_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n    attar one\n\n- a list\n\n    goes on\n\n"
        "    ```bash\n    attar two \\\n        --three  # why\n\n    # alone\n    attar four\n    ```\n\n"
        "<!-- not run: it takes a week -->\n```python\nfive()\n```\n\n```text\n"
    )
    bash, python, text = blocks(page)
    assert list(commands(bash)) == [(10, "attar two      --three  # why"), (14, "attar four")]
    assert (bash.not_run, python.line, python.text, python.not_run) == (None, 19, "five()", "it takes a week")
    assert text.language == "never closed"
    assert indented(page) == [3]


def test_what_fails_is_told_with_its_page_and_line(tmp_path: Path) -> None:
    def fail() -> None:
        raise AttarError("no photos", "Take some.")

    with pytest.raises(PageError, match=r"^docs/x\.md:7: attar photograph\nAttarError: No photos\.\nTake some\.$"):
        attempt(ROOT / "docs/x.md", 7, "attar photograph", fail)
