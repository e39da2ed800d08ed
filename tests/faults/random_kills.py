"""kill -9 at random moments of a real distillation and evaluation, each followed by the same commands."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import attar
from attar.errors import AttarError
from attar.run import Run
from faults.children import Child, Outcome
from faults.injection import Tree
from faults.phases import OUT, artefact, at_work, command_line

_NETWORK = ("--backbone", "py:small:network", "--device", "cpu")
_DISTILL = (*_NETWORK, "--out", OUT, "--steps", "8", "--ipc", "1", "--set", "statistics_views=0")
_EVALUATE = (*_NETWORK, "--protocol", "probe-v1", "--json")
_IN_A_ROW = 3
_PATIENCE = 600.0  # seconds: the digits take ten of them on an idle core


@dataclass
class Campaign:
    """What kills did: where they hit, how often the commands ended, and what was wrong afterwards."""

    folder: Path
    train: str = "digits"
    test: str = "digits:test"
    seed: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    ends: int = 0
    wrong: list[str] = field(default_factory=list)

    def run(self, kills: int, tell: Callable[[int], object] = lambda kills: None) -> None:
        """Kill up to three processes in a row, let the next one end, compare, begin again; until all kills are done."""
        generator = random.Random(self.seed)
        started = time.monotonic()
        whole, seconds = self._end(), time.monotonic() - started
        while sum(self.hits.values()) < kills:
            for _ in range(min(generator.randint(1, _IN_A_ROW), kills - sum(self.hits.values()))):
                child = self._begin()
                time.sleep(generator.uniform(0, seconds))
                child.kill()
                if child.wait().killed:
                    self.hits[self._state(whole[1])] += 1
            if self._end() != whole:
                self.wrong.append(f"other bytes or another result after {sum(self.hits.values())} kills")
            self.ends += 1
            tell(sum(self.hits.values()))

    def _begin(self) -> Child:
        self.folder.mkdir(exist_ok=True)
        with at_work(self.folder):
            return Child(
                lambda: (
                    command_line("distill", self.train, *_DISTILL)
                    or command_line("evaluate", OUT, "--test", self.test, *_EVALUATE)
                )
            )

    def _end(self) -> tuple[str, Tree | None]:
        """What the commands print and make when nothing disturbs them; the folder is empty afterwards."""
        outcome: Outcome = self._begin().wait(_PATIENCE)
        if outcome.value != 0:
            self.wrong.append(f"exit code {outcome.value}: {outcome.err}")
        made = artefact(self.folder)
        shutil.rmtree(self.folder)
        rows = json.loads(outcome.out)["rows"] if outcome.value == 0 else []  # beside them stand dates and seconds
        return str(rows), made

    def _state(self, whole: Tree | None) -> str:
        """How far the commands had come; what is damaged goes to `wrong`."""
        made = artefact(self.folder)
        if made is None:
            try:
                started = Run.beside(self.folder / OUT).load_checkpoint() is not None
            except AttarError as error:
                self.wrong.append(str(error))
                started = True
            return "distilling" if started else "before the first step"
        try:
            attar.load(self.folder / OUT).verify()
            assert made == whole, "a set with other bytes"
        except (AttarError, AssertionError) as error:
            self.wrong.append(str(error))
        return "evaluating"
