"""The images of a refinement, batch by batch: which are left, how many at a time, and when to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch
from jaxtyping import UInt8

from attar.devices import is_out_of_memory
from attar.diffusion.dive import Dived, dive, image_seed
from attar.diffusion.models import LatentDiffusion
from attar.diffusion.originals import Originals
from attar.diffusion.refine_settings import RefineSettings
from attar.diffusion.refined import Line, RefinedImages
from attar.errors import SettingsError
from attar.files import safe_names
from attar.images.facts import examine
from attar.progress import Progress
from attar.run import deferred_interrupt


@final
@dataclass(frozen=True)
class Piece:
    """One image to be made, in `file`, of original `index` and the noise of `seed`."""

    index: int
    label: int
    seed: int
    file: str


@final
@dataclass(frozen=True, eq=False)
class Refining:
    """What is to be made of all originals, and what is finished of it."""

    originals: Originals
    model: LatentDiffusion
    conditions: Sequence[int | str]
    settings: RefineSettings
    finished: RefinedImages
    progress: Progress

    @cached_property
    def pieces(self) -> list[Piece]:
        """All images, in the order of the refined set."""
        folders, seed, replicas = safe_names(self.originals.classes), self.settings.seed, self.settings.replicas
        labels, places = self.originals.labels.tolist(), self.originals.places_in_class
        return [
            Piece(
                index,
                label,
                image_seed(seed, label, place, replica),
                f"{folders[label]}/{place * replicas + replica:05d}.png",
            )
            for index, (label, place) in enumerate(zip(labels, places, strict=True))
            for replica in range(replicas)
        ]

    def plan(self, batch: int) -> str:
        """What will be done, in words."""
        settings, classes = self.settings, len(self.originals.classes)
        passes = settings.first * (1 if settings.cfg == 1 else 2)
        how = "encoded and decoded" if settings.vae_only else f"{settings.first} steps ({passes} passes) each"
        many = f"{len(self.pieces)} images of {classes} classes"
        return f"{many}, {how}, {batch} at a time through {self.model.name} ({self.model.placement})"

    def finish(self, batch: int) -> list[Line]:
        """Make what is left; the lines of all images in order.

        KeyboardInterrupt, with words on how to go on, where it was pressed before all were made.
        """
        todo = [piece for piece in self.pieces if self.finished.line(piece.file) is None]
        total = len(self.pieces)
        if len(todo) < total:
            self.progress.note(f"Continuing after {total - len(todo)} of {total} images.")
        try:
            with deferred_interrupt() as interrupted:
                while todo and not interrupted():
                    part = todo[:batch]
                    images = self.originals.read([piece.index for piece in part])
                    dived = self._dive(part, images)
                    if dived is None:
                        batch = len(part) // 2
                        continue
                    self._keep(part, images, dived)
                    first, todo = len(todo) == total, todo[len(part) :]
                    self.progress.advance("refining", total - len(todo), total)
                    if first and todo and self.model.device.type == "cpu":
                        self._foretell(dived.seconds / len(part), len(todo))
        except KeyboardInterrupt:  # pressed twice: the batch at work is lost
            pass
        finally:
            self.finished.sync()
            self.model.release()
        if todo:
            raise KeyboardInterrupt(f"The same command again continues after {total - len(todo)} of {total} images.")
        lines = [self.finished.line(piece.file) for piece in self.pieces]
        return [line for line in lines if line is not None]

    def images(self) -> UInt8[np.ndarray, "n 3 side side"]:
        """All images, once they are finished."""
        return np.stack([self.finished.image(piece.file) for piece in self.pieces])

    def _dive(self, part: Sequence[Piece], images: Sequence[UInt8[np.ndarray, "3 _ _"]]) -> Dived | None:
        """The batch refined; None where the memory can't hold it, but may hold half of it."""
        conditions = [self.conditions[piece.label] for piece in part]
        try:
            return dive(self.model, images, conditions, [piece.seed for piece in part], self.settings)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(part) == 1:
                raise SettingsError(
                    f"one image of {self.model.side} pixels doesn't fit into the memory of {self.model.device}",
                    "choose --offload sequential" if self.model.device.type == "cuda" else "free some of it",
                ) from error
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        self.progress.note(f"Out of memory with {len(part)} images at a time; going on with {len(part) // 2}.")
        return None

    def _keep(self, part: Sequence[Piece], images: Sequence[UInt8[np.ndarray, "3 _ _"]], dived: Dived) -> None:
        for number, piece in enumerate(part):
            line = Line(
                file=piece.file,
                input=examine(images[number]).sha256.hex(),
                label=piece.label,
                seed=piece.seed,
                settings=self.finished.settings,
                output=self.finished.write(piece.file, dived.images[number]),
                seconds=dived.seconds / len(part),
                plain_seconds=dived.plain_seconds / len(part),
                moved=dived.moved[number],
                std=dived.stds[number],
            )
            self.finished.add(line)

    def _foretell(self, seconds: float, images: int) -> None:
        left = seconds * images
        told = f"{left / 60:.0f} minutes" if left > 90 else f"{left:.0f} seconds"
        self.progress.note(f"{seconds:.1f} s an image on this CPU: about {told} for the other {images}.")
