"""A run's folder: what was asked, what happened, and where to continue.

settings.toml            what decides the result; a run with other settings is refused, or started afresh
places.toml              where the run works on this machine: training images, device, chunk, process
log.jsonl                one line of figures every few steps
checkpoint.json          the last step whose state is whole, and the files in checkpoint/ that hold it
pictures/                what the images looked like along the way
journey/                 all images along the way, small

Several processes can work in one folder: each writes the state of its own images, and the first one all the rest.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import sys
import threading
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from attar import processes
from attar.errors import FileError, SettingsError
from attar.files import append_line, make_folder, sweep, sync, write_text
from attar.html import block, facts, note, picture, sparkline
from attar.tensors import read_tensors, write_tensors

_SHOWN = 8  # figures of a step in a notebook: recovery logs one for each layer of its network, last

Value = str | int | float | bool | list[float] | None


@dataclass(frozen=True)
class Run:
    """The folder of one run; see the module's text."""

    folder: Path

    @classmethod
    def beside(cls, out: str | Path) -> Run:
        """The folder in which the run that makes `out` keeps its state."""
        return cls(Path(f"{os.path.abspath(out)}.run"))  # noqa: PTH100 ("." and ".." get a name; links stay)

    @classmethod
    def begin(cls, out: Path, settings: Mapping[str, Value], *, restart: bool = False) -> Run:
        """Begin the run that makes `out`, or continue it. SettingsError where one with other settings is there."""
        run = cls.beside(out)
        folder = run.folder
        if restart and (folder / "settings.toml").is_file():
            shutil.rmtree(folder)
        for each in (folder, run.pictures, run.journey, run._parts):
            sweep(each)
        known, wanted = run.settings(), tomllib.loads(toml(settings))
        if known is None or not run.started:
            for leftover in (run._checkpoint, run._log):  # of a folder that was half deleted
                leftover.unlink(missing_ok=True)
            for seen in (run.pictures, run.journey):
                shutil.rmtree(seen, ignore_errors=True)
            run._forget_parts(but=[])
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

    def save_checkpoint(self, step: int, state: Mapping[str, Tensor], *, images: int) -> None:
        """Keep the state after `step` steps, in place of the last one; all processes of the job call it together.

        Single numbers in `state` are the same for all; other tensors have a row for each of the images that this
        process owns, its share of `images`.
        """
        shares = [processes.share(images, process=number) for number in range(processes.count())]
        names = [f"{step:06d}-{own.start}-{own.stop}.safetensors" for own in shares]
        about = {"step": str(step), "images": str(images), "first": str(shares[processes.number()].start)}
        write_tensors(self._parts / names[processes.number()], state, about)
        processes.wait()
        if processes.is_first():
            if self._log.is_file():
                sync(self._log)
            parts = [{"first": own.start, "file": name} for own, name in zip(shares, names, strict=True)]
            write_text(self._checkpoint, json.dumps({"step": step, "images": images, "parts": parts}))
            self._forget_parts(but=names)

    def load_checkpoint(self) -> tuple[int, dict[str, Tensor]] | None:
        """(steps done, state of the images that this process owns) of the last checkpoint, or None.

        As many processes may read as like, however many wrote.
        """
        if not self._checkpoint.is_file():
            return None
        try:
            told = json.loads(self._checkpoint.read_text())
            step, images, parts = int(told["step"]), int(told["images"]), told["parts"]
            own = processes.share(images)
            ends = [*(int(part["first"]) for part in parts[1:]), images]
            needed = [
                part for part, end in zip(parts, ends, strict=True) if part["first"] < own.stop and own.start < end
            ]
            first = int(needed[0]["first"])
            read = [self._read_part(part, {"step": str(step), "images": str(images)}) for part in needed]
            return step, _rows(read, own.start - first, own.stop - first)
        except (FileError, AttributeError, LookupError, TypeError, ValueError, RuntimeError, OSError) as error:
            raise SettingsError(f"{self._checkpoint} is damaged.", "Use --restart.") from error

    def _read_part(self, part: Mapping[str, Any], about: Mapping[str, str]) -> dict[str, Tensor]:
        """The tensors of one file of the checkpoint; ValueError where it is of another."""
        state, metadata = read_tensors(self._parts / Path(part["file"]).name)
        if metadata != {**about, "first": str(part["first"])}:
            raise ValueError(f"{part['file']} belongs to another checkpoint")
        return state

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Append a line to log.jsonl."""
        append_line(self._log, json.dumps({"step": step, **figures}))

    def logged(self) -> list[dict[str, float]]:
        """The finite figures in log.jsonl, a line each, with their `step`; lines that a kill has cut are left out."""
        try:
            lines = self._log.read_text(errors="replace").splitlines()
        except OSError:
            return []
        known = (json.loads(line) for line in lines if math.isfinite(_step_of(line)))
        return [{name: float(value) for name, value in one.items() if _is_finite(value)} for one in known]

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
    def journey(self) -> Path:
        """Where the frames of all images go: see `attar.distilled.journey`."""
        return self.folder / "journey"

    def _repr_html_(self) -> str:
        """What a notebook shows: figures, the curve of the loss, the last picture, settings; words where some lack."""
        logged, pictures = self.logged(), sorted(self.pictures.glob("*.png"))
        last = [f"{name} {value:.6g}" for name, value in logged[-1].items()] if logged else ["no step was logged yet"]
        try:
            settings = facts("Settings", self.settings() or {})
        except SettingsError as error:
            settings = note(str(error))
        return block(
            str(self.folder),
            note(", ".join(last[:_SHOWN])),
            sparkline([line["loss"] for line in logged if "loss" in line], "loss"),
            picture(pictures[-1]) if pictures else note("There is no picture yet."),
            settings,
        )

    def _forget_parts(self, *, but: Sequence[str]) -> None:
        for part in self._parts.glob("*.safetensors"):
            if part.name not in but:
                part.unlink(missing_ok=True)

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.json"

    @property
    def _parts(self) -> Path:
        return self.folder / "checkpoint"

    @property
    def _places(self) -> Path:
        return self.folder / "places.toml"

    @property
    def _log(self) -> Path:
        return self.folder / "log.jsonl"


def _rows(parts: Sequence[Mapping[str, Tensor]], start: int, stop: int) -> dict[str, Tensor]:
    """Rows start..stop-1 of all parts one after the other; single numbers are the first part's."""
    return {
        name: value if value.ndim == 0 else torch.cat([part[name] for part in parts])[start:stop].clone()
        for name, value in parts[0].items()
    }


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
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return math.inf


def _is_finite(value: object) -> bool:
    """Whether it is a number that a float holds."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def toml(values: Mapping[str, Value]) -> str:
    """A flat table as TOML; JSON's strings, numbers, booleans and lists are TOML's too, once DEL is escaped."""
    lines = (
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items() if value is not None
    )
    return "".join(lines).replace("\x7f", "\\u007f").encode(errors="replace").decode()


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C, or a queue's SIGTERM, wait for the end of a step: yields a function that says whether it came.

    A second Ctrl-C interrupts at once; SIGTERM may come twice, from a queue and from torchrun. Outside the main thread,
    where Python delivers no signals, nothing changes.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def press(number, frame):
        pressed.set()
        if number == signal.SIGINT:
            signal.signal(number, previous[number])

    for number in previous:
        signal.signal(number, press)
    try:
        yield pressed.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
