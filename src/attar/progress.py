"""What a long command tells while it runs; rich's bars, pictures and logs hang here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import final


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


@final
class Together(Progress):
    """Tells all of `each`, in their order: bars and a log at once."""

    def __init__(self, *each: Progress):
        self._each = each

    def plan(self, text: str) -> None:
        for one in self._each:
            one.plan(text)

    def advance(self, task: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        for one in self._each:
            one.advance(task, done, total, figures)

    def picture(self, path: Path) -> None:
        for one in self._each:
            one.picture(path)

    def note(self, text: str) -> None:
        for one in self._each:
            one.note(text)


SILENT = Progress()
