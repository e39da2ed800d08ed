"""Refined images as they are finished: a PNG file and a line of refined.jsonl each, so that a killed run goes on.

An image counts as finished where its file, its line and the settings agree; anything else is made again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import UInt8

from attar.distilled import png_bytes
from attar.files import append_line, make_folder, sha256, sync, write_bytes, write_text
from attar.images.decode import decode


@final
@dataclass(frozen=True)
class Line:
    """What refined.jsonl says of an image. Seconds are its share of its batch; latents are measured by element."""

    file: str
    input: str
    label: int
    seed: int
    settings: str
    output: str
    seconds: float
    plain_seconds: float
    """Of those, what a plain sample of the same model would have taken."""
    moved: float
    """‖z_end − z0‖ / √d: how far the latent ended from the image's."""
    std: dict[str, float]
    """Standard deviation of the latent at the ends of the window and at 0."""


@final
class RefinedImages:
    """The folder `refined` of a run and its lines, for images made with `settings` (a hash)."""

    def __init__(self, folder: Path, settings: str):
        self._images, self._log, self.settings = folder / "refined", folder / "refined.jsonl", settings
        self._lines = {line.file: line for line in self._read()}

    def line(self, file: str) -> Line | None:
        """What is known of a finished image, named "class/00012.png"; None where it isn't finished."""
        line = self._lines.get(file)
        if line is None or line.settings != self.settings:
            return None
        path = self._images / file
        return line if path.is_file() and sha256(path) == line.output else None

    def write(self, file: str, image: UInt8[np.ndarray, "3 s s"]) -> str:
        """Write an image; the hash of its file. It is finished once its line is added."""
        path = self._images / file
        write_bytes(path, png_bytes(image))
        return sha256(path)

    def add(self, line: Line) -> None:
        """Add the line of an image that is written."""
        append_line(self._log, json.dumps(asdict(line)))
        self._lines[line.file] = line

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        if self._log.is_file():
            sync(self._log)

    def image(self, file: str) -> UInt8[np.ndarray, "3 s s"]:
        """A finished image."""
        return decode(self._images / file)

    def _read(self) -> list[Line]:
        """The lines that can be read. One that a kill has cut leaves the file, or the next line would join it."""
        if not self._log.is_file():
            make_folder(self._images)
            return []
        texts = self._log.read_text(errors="replace").splitlines()
        lines = [line for line in map(_parsed, texts) if line is not None]
        if len(lines) < len(texts):
            write_text(self._log, "".join(f"{json.dumps(asdict(line))}\n" for line in lines))
        return lines


def _parsed(text: str) -> Line | None:
    try:
        return Line(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return None
