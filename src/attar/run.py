"""A run's folder: what was asked, what happened, and where to continue.

settings.toml            what decides the result; a run with other settings is refused, or started afresh
places.toml              where the run works on this machine: training images, device, chunk, process
log.jsonl                one line of figures every few steps
checkpoint.safetensors   the state after a step
pictures/                what the images looked like along the way
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import threading
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from torch import Tensor

from attar.errors import FileError, SettingsError
from attar.files import append_line, make_folder, sweep, sync, write_text
from attar.tensors import read_tensors, write_tensors

Value = str | int | float | bool | list[float] | None


@dataclass(frozen=True)
class Run:
    """The folder of one run; see the module's text."""

    folder: Path

    @classmethod
    def beside(cls, out: Path) -> Run:
        """The folder in which the run that makes `out` keeps its state."""
        return cls(Path(f"{os.path.abspath(out)}.run"))  # noqa: PTH100 ("." and ".." get a name; links stay)

    @classmethod
    def begin(cls, out: Path, settings: Mapping[str, Value], *, restart: bool = False) -> Run:
        """Begin the run that makes `out`, or continue it. SettingsError where one with other settings is there."""
        run = cls.beside(out)
        folder = run.folder
        if restart and (folder / "settings.toml").is_file():
            shutil.rmtree(folder)
        sweep(folder)
        sweep(run.pictures)
        known, wanted = run.settings(), tomllib.loads(toml(settings))
        if known is None or not run.started:
            for leftover in (run._checkpoint, run._log):  # of a folder that was half deleted
                leftover.unlink(missing_ok=True)
            write_text(folder / "settings.toml", toml(wanted))
        else:
            _refuse_changes(folder, known, wanted, known.keys() | wanted.keys())
        return run

    def refuse_others(self, settings: Mapping[str, Value]) -> None:
        """SettingsError where a started run differs from `settings`, which may be a part of all."""
        known = self.settings()
        if known is not None and self.started:
            _refuse_changes(self.folder, known, tomllib.loads(toml(settings)), settings.keys())

    @property
    def started(self) -> bool:
        """Whether there is a checkpoint to continue from."""
        return self._checkpoint.is_file()

    def follows(self, settings: Mapping[str, Value]) -> bool:
        """Whether this is a started run with these settings, which may be a part of all."""
        known = self.settings() if self.started else None
        wanted = tomllib.loads(toml(settings))
        return known is not None and all(known.get(name) == wanted.get(name) for name in settings)

    def settings(self) -> dict[str, Value] | None:
        """What settings.toml says, or None where there is none."""
        try:
            return tomllib.loads((self.folder / "settings.toml").read_text())
        except FileNotFoundError:
            return None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SettingsError(f"{self.folder / 'settings.toml'} is damaged.", "Use --restart.") from error

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out of the folder; SettingsError where one is at work in it."""
        make_folder(self.folder.parent)
        lock = FileLock(self.folder.with_name(f".{self.folder.name}.lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            who = f" (number {self.place('process')})" if self.place("process") else ""
            raise SettingsError(
                f"another process{who} is at work in {self.folder}", "wait for it, or choose another --out"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def note_place(self, **places: str) -> None:
        """Keep what is true of this machine, is convenient later and decides nothing (`train`, `chunk`)."""
        write_text(self._places, toml(places))

    def place(self, name: str) -> str | None:
        """What `note_place` kept, or None."""
        return self.places().get(name)

    def places(self) -> dict[str, str]:
        """All that `note_place` kept; nothing where the file is missing or damaged."""
        try:
            return {key: str(value) for key, value in tomllib.loads(self._places.read_text()).items()}
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError):
            return {}

    def save_checkpoint(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Keep the state after `step` steps, in place of the last one."""
        if self._log.is_file():
            sync(self._log)
        write_tensors(self._checkpoint, state, {"step": str(step)})

    def load_checkpoint(self) -> tuple[int, dict[str, Tensor]] | None:
        """(steps done, state) of the last checkpoint, or None."""
        try:
            state, metadata = read_tensors(self._checkpoint)
            return int(metadata["step"]), state
        except FileNotFoundError:
            return None
        except (FileError, KeyError, ValueError) as error:
            raise SettingsError(f"{self._checkpoint} is damaged.", "Use --restart.") from error

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Append a line to log.jsonl."""
        append_line(self._log, json.dumps({"step": step, **figures}))

    def forget_log_from(self, step: int) -> None:
        """Drop the lines of steps that a resumed run will take again."""
        if self._log.is_file():
            lines = self._log.read_text(errors="replace").splitlines()
            write_text(self._log, "".join(f"{line}\n" for line in lines if _step_of(line) < step))

    @property
    def pictures(self) -> Path:
        """Where pictures along the way go."""
        return self.folder / "pictures"

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def _places(self) -> Path:
        return self.folder / "places.toml"

    @property
    def _log(self) -> Path:
        return self.folder / "log.jsonl"


def _refuse_changes(
    folder: Path, known: Mapping[str, Value], wanted: Mapping[str, Value], names: Iterable[str]
) -> None:
    differing = sorted(name for name in names if known.get(name) != wanted.get(name))
    if differing:
        changes = ", ".join(f"{name} {known.get(name)!r} -> {wanted.get(name)!r}" for name in differing)
        raise SettingsError(
            f"{folder} holds a run with other settings: {changes}.", "Use --restart to start afresh, or another --out."
        )


def _step_of(line: str) -> float:
    """The step of a line of the log; infinite for one that a kill has cut."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return math.inf


def toml(values: Mapping[str, Value]) -> str:
    """A flat table as TOML; JSON's strings, numbers, booleans and lists are TOML's too, once DEL is escaped."""
    lines = (
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items() if value is not None
    )
    return "".join(lines).replace("\x7f", "\\u007f").encode(errors="replace").decode()


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C wait for the end of a step: yields a function that says whether it was pressed.

    A second Ctrl-C interrupts at once. Outside the main thread, where Python delivers no signals, nothing changes.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return
    previous = signal.getsignal(signal.SIGINT)

    def press(number, frame):
        pressed.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, press)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, previous)
