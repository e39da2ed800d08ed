"""A run's folder: what was asked, what happened, and where to continue.

settings.toml            what decides the result; a run with other settings is refused, or started afresh
places.toml              where on this machine the training images are
log.jsonl                one line of figures every few steps
checkpoint.safetensors   the state after a step
pictures/                what the images looked like along the way
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from attar.errors import SettingsError
from attar.files import write_atomic, write_text

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
        known, wanted = run.settings(), tomllib.loads(toml(settings))
        if known is None or not run.started:
            for leftover in (run._checkpoint, folder / "log.jsonl"):  # of a folder that was half deleted
                leftover.unlink(missing_ok=True)
            write_text(folder / "settings.toml", toml(wanted))
        elif known != wanted:
            names = sorted(name for name in known.keys() | wanted.keys() if known.get(name) != wanted.get(name))
            changes = ", ".join(f"{name} {known.get(name)!r} -> {wanted.get(name)!r}" for name in names)
            raise SettingsError(
                f"{folder} holds a run with other settings: {changes}.",
                "Use --restart to start afresh, or another --out.",
            )
        return run

    @property
    def started(self) -> bool:
        """Whether there is a checkpoint to continue from."""
        return self._checkpoint.is_file()

    def holds(self, settings: Mapping[str, Value]) -> bool:
        """Whether this is a started run with these settings."""
        return self.started and self.settings() == tomllib.loads(toml(settings))

    def settings(self) -> dict[str, Value] | None:
        """What settings.toml says, or None where there is none."""
        try:
            return tomllib.loads((self.folder / "settings.toml").read_text())
        except FileNotFoundError:
            return None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{self.folder / 'settings.toml'} is damaged.", "Use --restart.") from error

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out of the folder; SettingsError where one is at work in it."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder.with_name(f".{self.folder.name}.lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise SettingsError(
                f"another process is at work in {self.folder}", "wait for it, or choose another --out"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def note_place(self, **places: str) -> None:
        """Keep paths of this machine that are convenient later and decide nothing (`train`)."""
        write_text(self.folder / "places.toml", toml(places))

    def place(self, name: str) -> str | None:
        """A path that `note_place` kept, or None."""
        try:
            return tomllib.loads((self.folder / "places.toml").read_text()).get(name)
        except (FileNotFoundError, tomllib.TOMLDecodeError):
            return None

    def save_checkpoint(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Keep the state after `step` steps, in place of the last one."""
        tensors = {name: value.contiguous() for name, value in state.items()}
        metadata = {"step": str(step)}
        write_atomic(self._checkpoint, lambda path: save_file(tensors, path, metadata))

    def load_checkpoint(self) -> tuple[int, dict[str, Tensor]] | None:
        """(steps done, state) of the last checkpoint, or None."""
        try:
            with safe_open(self._checkpoint, "pt") as file:
                step = int(file.metadata()["step"])
                return step, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except FileNotFoundError:
            return None
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise SettingsError(f"{self._checkpoint} is damaged.", "Use --restart.") from error

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Append a line to log.jsonl."""
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")

    def forget_log_from(self, step: int) -> None:
        """Drop the lines of steps that a resumed run will take again."""
        path = self.folder / "log.jsonl"
        if path.is_file():
            whole = (line for line in path.read_text().splitlines() if line.endswith("}"))
            write_text(path, "".join(f"{line}\n" for line in whole if json.loads(line)["step"] < step))

    @property
    def pictures(self) -> Path:
        """Where pictures along the way go."""
        return self.folder / "pictures"

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"


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
