"""One fault after another: break a command at its k-th call, look at what is left, and give the command again."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import attar
from attar.errors import AttarError
from attar.run import Run
from faults.injection import Fail, Fault, Kill, PowerLoss, Tree, read_tree
from faults.phases import OUT, STEPS, Attempt, Phase, artefact, leftovers

MENDABLE = 2


@dataclass(frozen=True)
class Kind:
    """A sort of fault, by the name that the table prints."""

    name: str
    at: Callable[[int], Fault]


KILL = Kind("kill -9", Kill)
POWER = tuple(Kind(f"power loss, draw {draw}", lambda k, draw=draw: PowerLoss(k, draw)) for draw in range(4))
ERRORS = tuple(
    Kind(f"{errno.errorcode[number]}, {'lasting' if lasting else 'once'}", lambda k, n=number, x=lasting: Fail(k, n, x))
    for number in (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES)
    for lasting in (False, True)
)
KINDS = (KILL, *POWER, *ERRORS)


class Stage:
    """A phase with the folder that it starts from, and what it makes undisturbed."""

    def __init__(self, phase: Phase, folder: Path):
        self.phase = phase
        self._start, self._work = folder / "start", folder / "work"
        phase.prepare(self._start)
        self.old = artefact(self._start)
        self._begin()
        self.whole = phase.attempt(self._work, modelled=True)
        assert self.whole.code == 0, self.whole.outcome.err
        assert self.whole.disk == read_tree(self._work), "the layer missed a write"
        assert not leftovers(self._work)
        self.new = artefact(self._work)

    def calls(self, kind: Kind) -> list[str]:
        """The calls of the undisturbed command that can go wrong in this way; power can also fail once it is done."""
        kinds = kind.at(1).kinds
        last = ["end"] if kind in POWER else []
        return [call for call in self.whole.log if call.partition(" ")[0] in kinds] + last

    def sweep(self, kind: Kind, numbers: Iterable[int]) -> Iterator[str]:
        """What is wrong after a fault at each of the calls `numbers`, the first being 1; nothing where all is well."""
        calls = self.calls(kind)
        for number in numbers:
            call = calls[number - 1]
            try:
                self._try(kind.at(number), calls[: number - 1], call)
            except (AssertionError, AttarError, OSError) as error:
                yield f"{self.phase.name}, {kind.name}, call {number} ({call}): {error}"

    def _try(self, fault: Fault, done: list[str], call: str) -> None:
        self._begin()
        first = self.phase.attempt(self._work, fault)
        if isinstance(fault, Fail):
            self._check_error(first, fault, call)
        else:
            assert first.outcome.killed, f"it was not killed: {first}"
            self._check_kept(done, fault)
        self._check_between()
        assert call != "end" or artefact(self._work) == self.new, "what was done is undone"
        again = self.phase.attempt(self._work)
        assert again.code == 0, f"the same command fails afterwards: {again.outcome.err}"
        self._check_result(again)

    def _begin(self) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        shutil.copytree(self._start, self._work)

    def _check_error(self, attempt: Attempt, fault: Fail, call: str) -> None:
        """Done all the same, or one sentence; and nothing lies about where the disk lets it be deleted."""
        said = attempt.outcome.err
        assert not attempt.outcome.killed and "Traceback" not in said, said
        if attempt.code == 0:
            self._check_result(attempt)
        else:
            assert not self.phase.hardy, f"it stopped: {said}"
            assert attempt.code == MENDABLE, f"exit code {attempt.code}: {said}"
            sentence = re.findall(r"^attar: .+\n.+\n\Z", said, re.MULTILINE)
            assert len(sentence) == 1, said
            if fault.number == errno.ENOSPC and call.startswith(("create", "write")):
                assert re.search(r"[\d,]+ bytes are needed and [\d,]+ free", said), f"no figures: {said}"
        deletes = not fault.lasting or "unlink" not in fault.kinds
        assert not deletes or not self._left(), f"left lying: {self._left()}"

    def _left(self) -> list[str]:
        """What lies about, except for an old set that the new one has replaced: it stays where in doubt."""
        replaced = self.old is not None and artefact(self._work) == self.new
        return [name for name in leftovers(self._work) if not (replaced and name.endswith(".old"))]

    def _check_between(self) -> None:
        """The set is absent, or the old one, or the new one; and says so itself."""
        now = artefact(self._work)
        assert now is None or now in (self.old, self.new), f"neither old nor new: {_difference(now, self.new)}"
        assert now is not None or self.old is None, f"the old set is gone: {leftovers(self._work)}"
        if now is not None:
            attar.load(self._work / OUT).verify()

    def _check_kept(self, done: list[str], fault: Fault) -> None:
        """The last checkpoint is whole; no step that one had kept is lost."""
        place = f"{OUT}.run/checkpoint.json"
        saved = [number for number, call in enumerate(done) if call == f"rename {place}"]
        if isinstance(fault, PowerLoss) and saved and f"sync {OUT}.run" not in done[saved[-1] :]:
            saved.pop()
        kept = min(len(saved), STEPS)  # one after each step, and one at the end
        checkpoint = Run.beside(self._work / OUT).load_checkpoint()
        there = 0 if checkpoint is None else checkpoint[0]
        assert kept <= there, f"{kept} steps were kept, and {there} are there"

    def _check_result(self, attempt: Attempt) -> None:
        now = artefact(self._work)
        assert now == self.new, f"other bytes: {_difference(now, self.new)}"
        assert attempt.result == self.whole.result, "another result is printed"


def _difference(now: Tree | None, wanted: Tree | None) -> str:
    if now is None or wanted is None:
        return f"{'a set' if wanted else 'no set'} was expected"
    return ", ".join(sorted(name for name in now.keys() | wanted.keys() if now.get(name) != wanted.get(name)))
