"""How the last stage of EDITS makes its images: batch by batch, each written and recorded as soon as it is made."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from attar.devices import is_out_of_memory
from attar.diffusion.edits.files import Record
from attar.diffusion.edits.generate import Generator, dtype_of, out_size, resized
from attar.diffusion.edits.image_prototypes import open_coder
from attar.diffusion.edits.job import Job
from attar.diffusion.edits.wanted import Wanted
from attar.distilled.artefact import png_bytes
from attar.errors import SettingsError
from attar.files import write_bytes

_WITHOUT_DIFFUSION = ("medoid", "vae", "decode")

Make = Callable[[Sequence[Wanted]], UInt8[np.ndarray, "n 3 out out"]]


def needs_diffusion(job: Job) -> bool:
    """Whether images are sampled; some controls need the VAE alone."""
    return job.settings.control not in _WITHOUT_DIFFUSION


def precision_of(job: Job) -> str:
    """What the networks that make the images work in, "float32" or another; SettingsError for an unknown precision."""
    dtype = dtype_of(job.means.precision, job.device)
    return str(dtype if needs_diffusion(job) else torch.float32).removeprefix("torch.")


def make_images(job: Job, missing: Sequence[Wanted], total: int, record: Record) -> None:
    """Make what is `missing` of `total` images, smaller batches where the memory ends.

    SettingsError where one image doesn't fit.
    """
    make, chunks = _maker(job, record)
    done, size = total - len(missing), job.means.batch
    ordered = sorted(missing, key=lambda each: chunks(each.request.text))
    for _, alike in itertools.groupby(ordered, key=lambda each: chunks(each.request.text)):
        rest = list(alike)
        while rest:
            batch, started = rest[:size], time.monotonic()
            images = _made(job, make, batch)
            if images is None:
                size = len(batch) // 2
                continue
            seconds = (time.monotonic() - started) / len(images)
            for each, image in zip(batch, images, strict=True):
                write_bytes(each.file, png_bytes(image))
                about = {"seed": each.request.seed, "text": each.request.text, "seconds": round(seconds, 3)}
                record.keep(each.part, each.inputs, **about)
            rest = rest[len(batch) :]
            done += len(batch)
            job.progress.advance("images", done, total)


def _made(job: Job, make: Make, batch: Sequence[Wanted]) -> UInt8[np.ndarray, "n 3 out out"] | None:
    """The images of a batch; None where the memory can't hold it, but may hold half of it."""
    try:
        return make(batch)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if len(batch) == 1:
            raise SettingsError(
                f"one image of {job.settings.model} doesn't fit into the memory of {job.device}",
                "choose --offload sequential" if job.device.type == "cuda" else "free some of it",
            ) from error
    if job.device.type == "cuda":
        torch.cuda.empty_cache()
    job.progress.note(f"Out of memory: {len(batch) // 2} at once from here on.")
    return None


def _maker(job: Job, record: Record) -> tuple[Make, Callable[[str], int]]:
    """(what makes a batch of images, how many chunks a text has)."""
    if not needs_diffusion(job):
        return _shower(job, record), lambda text: 1
    means = job.means
    generator = Generator(
        job.settings,
        job.device,
        precision=means.precision,
        memory=means.memory,
        offload=means.offload,
        allow_download=means.allow_download,
    )
    record.refuse_other_settings({"model_fingerprint": generator.fingerprint})
    job.progress.plan(f"Images from {job.settings.model}: {generator.placement}")
    return lambda batch: generator([each.request for each in batch]), generator.chunks


def _shower(job: Job, record: Record) -> Make:
    """The controls without diffusion: the real image, that image through the VAE, or the decoded prototype."""
    settings = job.settings
    coder = open_coder(settings, job.device, allow_download=job.means.allow_download)
    record.refuse_other_settings({"vae_fingerprint": coder.fingerprint})
    side = out_size(settings, coder.side)

    def shown(batch: Sequence[Wanted]) -> UInt8[np.ndarray, "n 3 out out"]:
        if settings.control == "decode":
            images = list(coder.decode(torch.stack([each.request.latent for each in batch])))
        else:
            images = list(job.pixels([each.medoid for each in batch]))
        if settings.control == "vae":
            images = list(coder.decode(coder.encode(images)))
        return np.stack([resized(image.transpose(1, 2, 0), side) for image in images])

    return shown
