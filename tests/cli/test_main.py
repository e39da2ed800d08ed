"""The command line's own manners: what a bug report needs, and what is said to a typing mistake."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from importlib import metadata

import torch

from attar.cli import version


def test_the_version_comes_first_and_below_it_what_a_bug_report_needs(attar):
    code, out, err = attar("--version")
    assert (code, err) == (0, "") and out.startswith(f"attar {metadata.version('attar')}\nPython 3.")
    for name in ("torch", "torchvision", "timm"):
        assert re.search(rf"^{name} {re.escape(metadata.version(name))}\b", out, re.MULTILINE)
    assert (f"(CUDA {torch.version.cuda})" if torch.version.cuda else "(CPU build)") in out


def test_the_version_imports_nothing_heavy():
    """Half a second on an idle machine; a busy one is given three attempts, and four times as long."""
    code = "import sys\nfrom attar.cli.version import versions\nprint(versions())\nprint(*sys.modules)"
    times = []
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - started)
    assert not {"torch", "numpy", "timm", "pydantic"} & set(done.stdout.splitlines()[-1].split())
    assert min(times) < 2


def test_the_version_names_gpus_by_their_driver(tmp_path):
    for number, model in enumerate(("NVIDIA H200", "NVIDIA L4")):
        folder = tmp_path / f"0000:0{number}:00.0"
        folder.mkdir()
        (folder / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t 24\n")
    assert version._gpus(tmp_path) == ["NVIDIA H200", "NVIDIA L4"]
    assert version._gpus(tmp_path / "none") == []


def test_the_version_comes_out_without_torch(monkeypatch, tmp_path):
    monkeypatch.setattr(version.util, "find_spec", lambda name: None)
    monkeypatch.setattr(version.metadata, "version", _nothing)
    assert "torch not installed (unknown build)" in version.versions()


def _nothing(name: str) -> str:
    raise metadata.PackageNotFoundError(name)


def test_a_mistyped_verb_is_answered_with_the_nearest(attar):
    code, out, err = attar("distil", "photos")
    assert (code, out) == (2, "") and "Did you mean 'distill'?" in err


def test_a_mistyped_option_is_answered_with_the_nearest(attar):
    code, out, err = attar("distill", "photos", "--presett", "fast")
    assert (code, out) == (2, "") and "No such option: --presett" in err and "--preset," in err
