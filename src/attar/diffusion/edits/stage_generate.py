"""The last stage of EDITS: an image of every prototype, and the distilled set made of them (edits.md 7, 11, 17)."""

from __future__ import annotations

import datetime
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

import attar.distilled as distilled
from attar.devices import is_out_of_memory
from attar.diffusion.edits.files import EditsFiles, Record, read_json
from attar.diffusion.edits.generate import Generator, Request, image_seed, out_size, resized
from attar.diffusion.edits.image_prototypes import open_coder
from attar.diffusion.edits.job import Job, shortened
from attar.distilled import DistilledSet, Manifest, Origin
from attar.distilled.artefact import png_bytes
from attar.errors import FileError, SettingsError
from attar.files import digest, write_bytes
from attar.images.decode import decode
from attar.run import Value
from attar.synthesis.distillation import data_name
from attar.tensors import read_tensors

_LICENCES = {"stable-diffusion-v1-5/stable-diffusion-v1-5": "CreativeML OpenRAIL-M"}


@dataclass(frozen=True, eq=False)
class _Wanted:
    """An image of the set: its place, what it is made of, and the real image nearest to its cluster's centre."""

    label: int
    number: int
    request: Request
    medoid: int
    inputs: str


def deliver(job: Job, prototypes: EditsFiles) -> DistilledSet:
    """Make the images that are missing from `prototypes`, and write them all as a distilled set at `job.out`."""
    record = job.files.open_record("generate", job.asked("generate"))
    wanted = list(_wanted(job, prototypes))
    missing = [each for each in wanted if not record.is_done(_part(job, each), each.inputs, _file(job, each))]
    identity = _identity(job, wanted)
    if not missing and (job.out / "attar.json").is_file() and distilled.load(job.out).manifest.settings == identity:
        job.progress.note(f"{job.out} is finished; nothing to do.")
        return distilled.load(job.out)
    started = time.monotonic()
    if missing:
        _make_images(job, missing, len(wanted), record)
    images = np.stack([_read(job, each) for each in wanted])
    is_real = job.settings.control == "medoid"
    return distilled.write(
        job.out,
        images,
        np.array([each.label for each in wanted]),
        manifest=_manifest(job, identity, record, images.shape[-1], time.monotonic() - started),
        sources=[job.source.name(each.medoid) for each in wanted] if is_real else None,
        train_hashes=job.source.hashes(),
    )


def _wanted(job: Job, prototypes: EditsFiles) -> Iterator[_Wanted]:
    """The images of all classes; SettingsError where ipc is no multiple of a class's prototypes (R8)."""
    settings, places = job.settings, {job.source.name(index): index for index in range(len(job.source))}
    for label, folder in enumerate(job.folders):
        file = prototypes.prototypes(folder)
        entries, latents = _read_prototypes(file)
        if settings.ipc % len(entries):
            raise SettingsError(
                f'IPC {settings.ipc} is not a multiple of the {len(entries)} prototypes per class in "{file}".'
            )
        for number in range(settings.ipc):
            replica, cluster = divmod(number, len(entries))
            entry, latent = entries[cluster], latents[cluster]
            if entry["images"][0] not in places:
                raise FileError(f"{file} is of other images: {entry['images'][0]} is not there", "Give those images.")
            seed = image_seed(settings.seed, job.source.classes[label], cluster, replica)
            text = "" if settings.control == "image-only" else entry["text"]
            medoid = places[entry["images"][0]]
            inputs = digest(latent.numpy().tobytes(), text, seed, job.content([medoid]))
            yield _Wanted(label, number, Request(latent.float(), text, seed), medoid, inputs)


def _read_prototypes(file: Any) -> tuple[list[dict[str, Any]], torch.Tensor]:
    """(text and images of each prototype of a class, their latents); FileError where they aren't there or unfit."""
    if not file.is_file():
        raise FileError(f"{file} is not there", "Make the prototypes first, or use attar edits run.")
    entries, latents = read_json(file).get("prototypes"), read_tensors(file.with_suffix(".safetensors"))[0]["latents"]
    sound = isinstance(entries, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("text"), str) and entry.get("images") for entry in entries
    )
    if not sound or not entries or len(entries) != len(latents):
        raise FileError(f"{file} does not fit its {len(latents)} latents", "Mend it, or make it again with --restart.")
    return entries, latents


def _make_images(job: Job, missing: Sequence[_Wanted], total: int, record: Record) -> None:
    make, chunks = _maker(job, record)
    done = total - len(missing)
    ordered = sorted(missing, key=lambda each: chunks(each.request.text))
    for _, alike in itertools.groupby(ordered, key=lambda each: chunks(each.request.text)):
        rest = list(alike)
        size = job.means.batch
        while rest:
            started = time.monotonic()
            try:
                images = make(rest[:size])
            except RuntimeError as error:
                if not is_out_of_memory(error) or size == 1:
                    raise
                size = max(1, size // 2)
                job.progress.note(f"Out of memory: {size} at once from here on.")
                continue
            seconds = (time.monotonic() - started) / len(images)
            for each, image in zip(rest, images, strict=False):  # a batch is the first of them
                write_bytes(_file(job, each), png_bytes(image))
                about = {"seed": each.request.seed, "text": each.request.text, "seconds": round(seconds, 3)}
                record.keep(_part(job, each), each.inputs, **about)
            rest = rest[len(images) :]
            done += len(images)
            job.progress.advance("images", done, total)


def _maker(
    job: Job, record: Record
) -> tuple[Callable[[Sequence[_Wanted]], UInt8[np.ndarray, "n 3 out out"]], Callable[[str], int]]:
    """(what makes a batch of images, how many chunks a text has); controls without diffusion need the VAE alone."""
    settings, means = job.settings, job.means
    if settings.control in ("medoid", "vae", "decode"):
        coder = open_coder(settings, job.device, allow_download=means.allow_download)
        record.refuse_other_settings({"vae_fingerprint": coder.fingerprint})
        side = out_size(settings, coder.side)

        def shown(batch: Sequence[_Wanted]) -> UInt8[np.ndarray, "n 3 out out"]:
            if settings.control == "decode":
                images = list(coder.decode(torch.stack([each.request.latent for each in batch])))
            else:
                images = list(job.pixels([each.medoid for each in batch]))
            if settings.control == "vae":
                images = list(coder.decode(coder.encode(images)))
            return np.stack([resized(image.transpose(1, 2, 0), side) for image in images])

        return shown, lambda text: 1
    generator = Generator(
        settings,
        job.device,
        precision=means.precision,
        memory=means.memory,
        offload=means.offload,
        allow_download=means.allow_download,
    )
    record.refuse_other_settings({"model_fingerprint": generator.fingerprint})
    job.progress.plan(f"Images from {settings.model}: {generator.placement}")
    return lambda batch: generator([each.request for each in batch]), generator.chunks


def _read(job: Job, wanted: _Wanted) -> UInt8[np.ndarray, "3 side side"]:
    return decode(_file(job, wanted))


def _part(job: Job, wanted: _Wanted) -> str:
    return f"{job.folders[wanted.label]}/{wanted.number:05d}.png"


def _file(job: Job, wanted: _Wanted) -> Any:
    return job.files.image(job.folders[wanted.label], wanted.number)


def _identity(job: Job, wanted: Sequence[_Wanted]) -> dict[str, Value]:
    """What decided the set: the settings of all stages, the prototypes as they were used, and the images."""
    return {
        **shortened(job.settings.model_dump()),
        "prototypes": digest([each.inputs for each in wanted])[:16],
        "precision": job.means.precision,
        "data": data_name(job.source.location),
        "titles": digest(*job.source.titles)[:16],
        "data_fingerprint": job.source.fingerprint,
    }


def _manifest(job: Job, identity: dict[str, Value], record: Record, side: int, seconds: float) -> Manifest:
    settings, source = job.settings, job.source
    fingerprint = record.settings.get("model_fingerprint") or record.settings["vae_fingerprint"]
    licence = _LICENCES.get(settings.model, "unknown")
    scores = {"seconds": round(seconds, 1)}
    if job.device.type == "cuda":
        scores["peak_gb"] = round(torch.cuda.max_memory_allocated(job.device) / 1e9, 2)
    return Manifest(
        attar_version=version("attar"),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        method=settings.name,
        classes=list(source.classes),
        titles=list(source.titles),
        folders=[],
        ipc=settings.ipc,
        image_side=side,
        settings=identity,
        seeds={"distill": settings.seed},
        backbones=[Origin(name=data_name(settings.model), fingerprint=fingerprint, licence=licence)],
        data=Origin(name=data_name(source.location), fingerprint=source.fingerprint),
        train_images=len(source),
        scores=scores,
        files={},
    )
