"""The last stage of EDITS: an image of every prototype, and the distilled set made of them (edits.md 7, 11, 17)."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import torch

import attar.distilled as distilled
from attar.diffusion.edits.earlier import origins
from attar.diffusion.edits.files import EditsFiles, Record
from attar.diffusion.edits.job import Job, shortened
from attar.diffusion.edits.making import make_images, precision_of
from attar.diffusion.edits.wanted import Wanted, wanted_images
from attar.distilled import DistilledSet, Manifest, Origin
from attar.files import digest
from attar.images.decode import decode
from attar.run import Value
from attar.synthesis.distillation import data_name

_LICENCES = {"stable-diffusion-v1-5/stable-diffusion-v1-5": "CreativeML OpenRAIL-M"}


def deliver(job: Job, prototypes: EditsFiles) -> DistilledSet:
    """Make the images that are missing from `prototypes`, and write them all as a distilled set at `job.out`."""
    record = job.files.open_record("generate", {**job.asked("generate"), "precision": precision_of(job)})
    wanted = wanted_images(job, prototypes)
    missing = [each for each in wanted if not record.is_done(each.part, each.inputs, each.file)]
    identity = _identity(job, prototypes, wanted)
    if not missing and (job.out / "attar.json").is_file() and distilled.load(job.out).manifest.settings == identity:
        job.progress.note(f"{job.out} is finished; nothing to do.")
        return distilled.load(job.out)
    if missing:
        make_images(job, missing, len(wanted), record)
    images = np.stack([decode(each.file) for each in wanted])
    is_real = job.settings.control == "medoid"
    seconds = record.seconds(each.part for each in wanted)
    return distilled.write(
        job.out,
        images,
        np.array([each.label for each in wanted]),
        manifest=_manifest(job, identity, record, images.shape[-1], seconds),
        sources=[job.source.name(each.medoid) for each in wanted] if is_real else None,
        train_hashes=job.source.hashes(),
    )


def _identity(job: Job, prototypes: EditsFiles, wanted: Sequence[Wanted]) -> dict[str, Value]:
    """What decided the set: the settings of all stages, the prototypes as they were used, and the images."""
    return {
        **shortened(job.settings.model_dump()),
        **origins(job, prototypes),
        "prototypes": digest([each.inputs for each in wanted])[:16],
        "precision": precision_of(job),
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
        began_from_photos=settings.keeps_photos,
    )
