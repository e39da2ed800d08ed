"""What all tests of the command line use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from attar.cli import main
from small import coloured, save_npz


@pytest.fixture
def attar(monkeypatch, capsys):
    """Run `attar ARGUMENTS` in this process: (exit code, stdout, stderr)."""

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["attar", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main.run()
        shown = capsys.readouterr()
        return left.value.code or 0, shown.out, shown.err

    return run


@pytest.fixture
def train(tmp_path) -> Path:
    return save_npz(coloured(5), tmp_path / "train.npz")


@pytest.fixture
def test_images(tmp_path) -> Path:
    return save_npz(coloured(5, seed=1), tmp_path / "test.npz")
