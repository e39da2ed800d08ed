"""All blocks of a recovery: which images each holds, and the queue in which a process makes those that it owns.

Each block has a file: its state while it is being made, its images once it is finished. So a run continues with any
number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import UInt8
from torch import Tensor

from attar.compression.block import Block
from attar.errors import FileError
from attar.tensors import read_tensors, write_tensors

_LONG = 100  # steps; in shorter recoveries a tenth says little


@dataclass(frozen=True)
class Layout:
    """Which images make a block of at most `size`: image k of consecutive classes (scdd.md 3.5).

    Where there are fewer classes than that, a block holds several images of each, whose statistics stand for more.
    """

    classes: int
    ipc: int
    size: int

    def __len__(self) -> int:
        return -(-self.ipc // self._images) * self._a_round

    def classes_of(self, block: int) -> list[int]:
        """The class of each image, all classes before the next image of any; the last of a round may be fewer."""
        return [label for _, label in self._held(block)]

    def places(self, block: int) -> list[int]:
        """Where its images stand in a set that has the images of a class side by side."""
        return [label * self.ipc + image for image, label in self._held(block)]

    def _held(self, block: int) -> list[tuple[int, int]]:
        """(number in its class, class) of each image."""
        turn, part = divmod(block, self._a_round)
        images = range(turn * self._images, min((turn + 1) * self._images, self.ipc))
        classes = range(part * self.size, min((part + 1) * self.size, self.classes))
        return [(image, label) for image in images for label in classes]

    @property
    def _images(self) -> int:
        """Of a class, in a block."""
        return max(1, self.size // self.classes)

    @property
    def _a_round(self) -> int:
        """Blocks that hold all classes once."""
        return -(-self.classes // self.size)


@final
class Blocks:
    """The blocks numbered `own`, `start`ed and stepped one after the other until each has taken `steps`.

    Files of another run than `identity`, and damaged ones, count as missing: their blocks are made again.
    """

    def __init__(self, own: Sequence[int], start: Callable[[int], Block], steps: int, folder: Path, identity: str):
        self._start, self._steps, self._folder, self._identity = start, steps, folder, identity
        taken = {number: self._taken(number) for number in own}
        self._waiting = [number for number in own if taken[number] < steps]
        self._current: Block | None = None
        self.left = sum(steps - count for count in taken.values())
        """Steps that are still to be taken."""

    def step(self) -> Block | None:
        """Take a step of the block at hand, which comes back; None where all are finished."""
        if self._current is None:
            if not self._waiting:
                return None
            self._current = self._open(self._waiting.pop(0))
        block = self._current
        block.step()
        self.left -= 1
        if self._steps >= _LONG and block.steps == self._steps // 10:
            block.refuse_unknown()
        if block.steps == self._steps:
            block.figures()  # refuses what isn't finite
            self._write(block.number, {"images": block.images()})
            self._current = None
        return block

    def save(self) -> None:
        """Keep the state of the block at hand."""
        if self._current is not None:
            self._current.figures()
            self._write(self._current.number, self._current.state_dict())

    def images(self, number: int) -> UInt8[Tensor, "n 3 side side"]:
        """Those of a finished block, whoever made it; FileError where its file is gone."""
        found = self._read(number)
        if "images" not in found:
            raise FileError(f"{self._path(number)} is missing or damaged", "Give the same command again.")
        return found["images"]

    def _open(self, number: int) -> Block:
        block, known = self._start(number), self._read(number)
        if known:
            block.load_state_dict(known)
        return block

    def _taken(self, number: int) -> int:
        known = self._read(number)
        return self._steps if "images" in known else int(known.get("steps", torch.tensor(0)))

    def _read(self, number: int) -> dict[str, Tensor]:
        try:
            tensors, about = read_tensors(self._path(number))
        except (FileNotFoundError, FileError):
            return {}
        return tensors if about == self._about(number) else {}

    def _write(self, number: int, tensors: dict[str, Tensor]) -> None:
        write_tensors(self._path(number), tensors, self._about(number))

    def _about(self, number: int) -> dict[str, str]:
        return {"run": self._identity, "block": str(number)}

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.safetensors"
