"""The images that the last stage of EDITS makes of a run's prototypes (edits.md 7, 11)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attar.diffusion.edits.files import EditsFiles, read_json
from attar.diffusion.edits.generate import Request, image_seed
from attar.diffusion.edits.job import Job
from attar.errors import FileError, SettingsError
from attar.files import digest
from attar.tensors import read_tensors


@dataclass(frozen=True, eq=False)
class Wanted:
    """An image of the set: its place, what it is made of, and the real image nearest to its cluster's centre.

    `part` is what records call it, `inputs` a hash of what it is made of.
    """

    label: int
    part: str
    file: Path
    request: Request
    medoid: int
    inputs: str


def wanted_images(job: Job, prototypes: EditsFiles) -> list[Wanted]:
    """The images of all classes, class by class.

    Raises SettingsError where ipc is no multiple of the prototypes (R8) or classes differ in how many they have,
    FileError where these aren't there, unfit, or of other images.
    """
    return list(_wanted(job, prototypes))


def _wanted(job: Job, prototypes: EditsFiles) -> Iterator[Wanted]:
    settings, places = job.settings, {job.source.name(index): index for index in range(len(job.source))}
    count: int | None = None
    for label, folder in enumerate(job.folders):
        file = prototypes.prototypes(folder)
        entries, latents = _read_prototypes(file)
        if settings.ipc % len(entries):
            raise SettingsError(
                f'IPC {settings.ipc} is not a multiple of the {len(entries)} prototypes per class in "{file}"',
                "Choose such an --ipc, or make the prototypes again: attar edits prototypes --restart.",
            )
        count = count or len(entries)
        if len(entries) != count:
            message = f"{file} has {len(entries)} prototypes, and the classes before it have {count}"
            raise SettingsError(message, "Make the prototypes again: attar edits prototypes --restart.")
        for number in range(settings.ipc):
            replica, cluster = divmod(number, count)
            entry, latent = entries[cluster], latents[cluster]
            if entry["images"][0] not in places:
                raise FileError(f"{file} is of other images: {entry['images'][0]} is not there", "Give those images.")
            seed = image_seed(settings.seed, job.source.classes[label], cluster, replica)
            text = "" if settings.control == "image-only" else entry["text"]
            medoid = places[entry["images"][0]]
            inputs = digest(latent.numpy().tobytes(), text, seed, job.content([medoid]))
            made = job.files.image(folder, number)
            yield Wanted(label, f"{folder}/{made.name}", made, Request(latent.float(), text, seed), medoid, inputs)


def _read_prototypes(file: Path) -> tuple[list[dict[str, Any]], Float[Tensor, "k c h w"]]:
    """(text and images of each prototype of a class, their latents); FileError where they aren't there or unfit."""
    for each in (file, file.with_suffix(".safetensors")):
        if not each.is_file():
            raise FileError(f"{each} is not there", "Make the prototypes first, or use attar edits run.")
    entries = read_json(file).get("prototypes")
    latents = read_tensors(file.with_suffix(".safetensors"))[0].get("latents", torch.empty(0, 0, 0, 0))
    sound = isinstance(entries, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("text"), str) and entry.get("images") for entry in entries
    )
    if not sound or not entries or len(entries) != len(latents):
        raise FileError(f"{file} does not fit its {len(latents)} latents", "Mend it, or make it again with --restart.")
    return entries, latents
