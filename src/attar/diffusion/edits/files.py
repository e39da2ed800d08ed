"""The files that EDITS' stages hand to each other, in `<out>.run`, and the record of what each stage made them of.

captions.jsonl                       a caption of each image
features/<class>.safetensors         what CLIP or the VAE made of the images and captions
clusters/<class>.json                which image is in which cluster, and who is nearest to its centre
clusters/<class>.safetensors         the centres
prototypes/<class>.json              the text of each prototype, and the images it was made of: to be read, and edited
prototypes/<class>.safetensors       the latent of each prototype
images/<class>/00000.png             the images
images.jsonl, stages/<stage>.jsonl   records: the settings, and a hash of the input of every part that is done

A stage compares its input with its own record alone: what a person changes in a file that is done stays, and the next
stage uses it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attar.diffusion.edits.settings import STAGES, Stage
from attar.errors import FileError, SettingsError
from attar.files import append_line, make_folder, sha256, sweep, write_bytes


@dataclass(frozen=True)
class EditsFiles:
    """Where everything lies in the folder of a run; classes are named by their folders."""

    folder: Path

    @property
    def captions(self) -> Path:
        """A line for each image."""
        return self.folder / "captions.jsonl"

    @property
    def answers(self) -> Path:
        """What a language model said, so that nothing is asked twice."""
        return self.folder / "llm_cache.jsonl"

    def features(self, name: str) -> Path:
        """The features of a class."""
        return self.folder / "features" / f"{name}.safetensors"

    def clusters(self, name: str) -> Path:
        """The clusters of a class; the centres lie beside it."""
        return self.folder / "clusters" / f"{name}.json"

    def prototypes(self, name: str) -> Path:
        """The prototypes of a class; the latents lie beside it."""
        return self.folder / "prototypes" / f"{name}.json"

    def image(self, name: str, number: int) -> Path:
        """Image `number` of a class."""
        return self.folder / "images" / name / f"{number:05d}.png"

    def record(self, stage: Stage) -> Path:
        """What `stage` has done."""
        return self.folder / ("images.jsonl" if stage == "generate" else f"stages/{stage}.jsonl")

    def open_record(self, stage: Stage, settings: Mapping[str, Any]) -> Record:
        """The record of `stage`; SettingsError where it was made with other settings."""
        for folder in (self.folder, *(self.folder / name for name in ("features", "clusters", "prototypes"))):
            sweep(folder)
        record = Record(self.record(stage))
        record.refuse_other_settings(settings)
        return record

    def forget_from(self, stage: Stage, *, captions: bool = True) -> None:
        """Delete what `stage` and those after it made; what a language model answered stays, and features do.

        Features carry a hash of what they were made of. Captions stay where no record says that attar made them, or
        where `captions` is not set: they may be a person's own.
        """
        made: dict[Stage, str] = {"fuse": "clusters", "prototypes": "prototypes", "generate": "images"}
        for late in reversed(STAGES[STAGES.index(stage) :]):  # a kill leaves no stage whose input is gone
            if late == "caption" and captions and self.record(late).is_file():
                self.captions.unlink(missing_ok=True)  # before the record, without which they would seem a person's
            self.record(late).unlink(missing_ok=True)
            if late in made and (self.folder / made[late]).is_dir():
                shutil.rmtree(self.folder / made[late])


class DoneOtherwiseError(SettingsError):
    """A stage was done with other settings, or of another input."""


class Record:
    """What a stage has made: its settings, and of each part that is done a hash of what it was made of."""

    def __init__(self, file: Path):
        self.settings: dict[str, Any] = {}
        self._inputs: dict[str, str] = {}
        self._seconds: dict[str, float] = {}
        self._file = file
        for line in _whole_lines(file):
            if "settings" in line:
                self.settings |= line["settings"]
            else:
                self._note(line)
        self._unwritten: dict[str, Any] = {}

    def __contains__(self, part: str) -> bool:
        """Whether `part` was made, of whatever."""
        return part in self._inputs

    def seconds(self, parts: Iterable[str]) -> float:
        """What `parts` took, those of earlier sessions included."""
        return sum(self._seconds[part] for part in parts)

    def refuse_other_settings(self, settings: Mapping[str, Any]) -> None:
        """Take `settings` for this stage's, beside those it has; SettingsError where some differ."""
        changes = self.changes(settings)
        if changes:
            raise self._refusal(f"other settings: {changes}")
        self._unwritten |= {name: value for name, value in settings.items() if name not in self.settings}
        self.settings = {**self.settings, **settings}

    def changes(self, settings: Mapping[str, Any]) -> str:
        """How `settings` differ from those it has, in words: "seed 1 -> 2"; nothing where they don't."""
        known = self.settings
        differing = sorted(name for name in settings if name in known and known[name] != settings[name])
        return ", ".join(f"{name} {known[name]!r} -> {settings[name]!r}" for name in differing)

    def is_done(self, part: str, inputs: str, *files: Path) -> bool:
        """Whether `part` was made of `inputs` (a hash) and its files are there; SettingsError where of others."""
        if part not in self._inputs or not all(file.is_file() for file in files):
            return False
        if self._inputs[part] != inputs:
            raise self._refusal(f"another input of {part}")
        return True

    def keep(self, part: str, inputs: str, **about: Any) -> None:
        """`part` is done, and its files are on the disk; `about` is what else is worth a line."""
        make_folder(self._file.parent)
        if self._unwritten:  # not before something is done: a run that failed at once is free to change them
            append_line(self._file, json.dumps({"settings": self._unwritten}))
            self._unwritten = {}
        line = {"part": part, "inputs": inputs, **about}
        append_line(self._file, json.dumps(line))
        self._note(line)

    def _note(self, line: Mapping[str, Any]) -> None:
        self._inputs[line["part"]] = line["inputs"]
        self._seconds[line["part"]] = float(line.get("seconds", 0.0))

    def _refusal(self, what: str) -> DoneOtherwiseError:
        return DoneOtherwiseError(
            f"{self._file} is of {what}.",
            "Use --restart to make this, and all that follows from it, afresh, or another --out.",
        )


def content(file: Path) -> str:
    """Hex SHA-256 of a file; FileError where an earlier stage has not made it."""
    if not file.is_file():
        raise FileError(f"{file} is not there", "Run the stage before, or attar edits run.")
    return sha256(file)


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file, which a person may have edited; FileError where it is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"can't read {file}: {error}", "Mend it, or make it again with --restart.") from error
    if not isinstance(found, dict):
        raise FileError(f"{file} holds no JSON object", "Mend it, or make it again with --restart.")
    return found


def drop_cut_line(file: Path) -> str:
    """The text of a file of JSON lines, without a last one that a kill has cut: it is taken off, also on the disk.

    A last line that only lacks its end gets it. FileError where the file can't be read.
    """
    try:
        content = file.read_bytes()
        lines, end, last = content.rpartition(b"\n")  # bytes: the cut may go through a letter
        whole = content + b"\n" if _is_object(last) else lines + end
        if last:
            write_bytes(file, whole)
        return whole.decode()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"can't read {file}: {error}", "Make it again with --restart.") from error


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _whole_lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a record."""
    try:
        lines = [json.loads(line) for line in drop_cut_line(file).splitlines()]
        if all("settings" in line or {"part", "inputs"} <= line.keys() for line in lines):
            return lines
    except (ValueError, AttributeError, TypeError, RecursionError):
        pass
    raise FileError(f"{file} is damaged", "Make it again with --restart.")
