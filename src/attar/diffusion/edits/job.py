"""What all stages of EDITS know: the images, the settings, the files, and where to work."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attar.devices import pick_device
from attar.diffusion import stock
from attar.diffusion.edits.absent import absent
from attar.diffusion.edits.clip import truncate
from attar.diffusion.edits.files import EditsFiles
from attar.diffusion.edits.settings import EditsSettings, Stage
from attar.diffusion.labels import imagenet, names_of
from attar.files import digest, safe_names
from attar.images.source import ImageSource
from attar.progress import Progress
from attar.synthesis.distillation import data_name

_NAMED = ("model", "vae", "clip", "captioner_model")


@dataclass(frozen=True)
class Means:
    """Where the stages work and what they may do; it decides nothing of what comes out but the rounding."""

    device: str = "auto"
    precision: str = "auto"
    memory: int | None = None
    offload: str = "auto"
    batch: int = 4
    allow_download: bool = False
    allow_offload: bool = False
    allow_remote_text: bool = False


@dataclass(frozen=True, eq=False)
class Job:
    """One run. `captions` and `texts` are files that the user brings."""

    source: ImageSource
    out: Path
    settings: EditsSettings
    files: EditsFiles
    means: Means
    progress: Progress
    captions: Path | None = None
    texts: Path | None = None

    @cached_property
    def device(self) -> torch.device:
        """Where networks run."""
        return pick_device(self.means.device)

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """A name for each class that is safe as a folder."""
        return safe_names(self.source.classes)

    @cached_property
    def names(self) -> list[tuple[str, ...]]:
        """All names of each class, the one for prompts first: its title, and ImageNet's names where it is of it."""
        return [class_names(*both) for both in zip(self.source.classes, self.source.titles, strict=True)]

    @cached_property
    def _members(self) -> list[list[int]]:
        return [np.flatnonzero(self.source.labels == label).tolist() for label in range(len(self.source.classes))]

    @cached_property
    def _hashes(self) -> list[bytes]:
        return self.source.hashes()

    def images(self, label: int) -> list[int]:
        """The images of a class."""
        return self._members[label]

    def keys(self, indices: Sequence[int]) -> list[str]:
        """What images are called in the file of captions: "<class folder>/<image>"."""
        return [self.source.name(index) for index in indices]

    def pixels(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """The images, uint8 [3, h, w], one after the other."""
        return (image for _, image in self.source.read(indices))

    def content(self, indices: Sequence[int]) -> str:
        """A hash of what images are called and show."""
        return digest(self.keys(indices), [self._hashes[index] for index in indices])

    def asked(self, stage: Stage) -> dict[str, Any]:
        """The settings that decide `stage`; models by a name that doesn't hang on where they lie."""
        return shortened(self.settings.of(stage))

    @cached_property
    def fit(self) -> tuple[Callable[[str], int], Callable[[str], str]]:
        """(the number of the diffusion model's tokens in a text, a text cut to as many as a prompt holds).

        Prompts that are read in chunks hold any text: then nothing is counted or cut.
        """
        if self.settings.long_prompts == "chunks":
            return lambda text: 0, lambda text: text
        kind = stock.library("transformers", "EDITS").CLIPTokenizer
        tokenizer = stock.load(
            kind,
            self.settings.model,
            subfolder="tokenizer",
            absent=absent("diffusion model"),
            allow_download=self.means.allow_download,
        )

        def count(text: str) -> int:
            return len(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)

        return count, lambda text: truncate(tokenizer, text)


def class_names(name: str, title: str) -> tuple[str, ...]:
    """All names of a class by its folder and its title, the one for prompts first (edits.md 12).

    >>> class_names("n02108551", "n02108551")    # doctest: +SKIP
    ('Tibetan mastiff',)
    """
    known = names_of(name if name in imagenet().wnids else title)
    first = known[0] if title == name else title
    return (first, *(other for other in known if other.casefold() != first.casefold()))


def shortened(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that travel: models are called by the last parts of their paths."""
    return {name: data_name(value) if name in _NAMED and value else value for name, value in settings.items()}


def free_networks() -> None:
    """Give back what the networks of a stage took on a GPU, before the next one loads its own."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
