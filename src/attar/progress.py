"""What a long command tells while it runs; rich's bars, pictures and logs hang here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class Progress:
    """Silent by default; override what you want to see."""

    def plan(self, text: str) -> None:
        """Before the work: what will be done, how long it takes, what it needs."""

    def advance(self, task: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        """`done` of `total` parts of `task` are finished; `figures` are the latest values worth showing."""

    def picture(self, path: Path) -> None:
        """A picture of the work so far was written."""

    def note(self, text: str) -> None:
        """Something worth a line."""


SILENT = Progress()
