"""What all tests of the command line use."""

from __future__ import annotations

import sys

import pytest

from attar.cli import main


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
