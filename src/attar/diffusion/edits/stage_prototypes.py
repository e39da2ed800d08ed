"""The third stage of EDITS: a latent and a text of each cluster (edits.md 5, 6)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attar.diffusion.edits.files import Record, content, read_json
from attar.diffusion.edits.image_prototypes import image_prototype, open_coder
from attar.diffusion.edits.job import Job
from attar.diffusion.edits.llm import LanguageModel
from attar.diffusion.edits.stage_caption import captions_by_class
from attar.diffusion.edits.texts import Writer, finish_text, open_writer
from attar.errors import FileError, SettingsError
from attar.files import digest, write_text
from attar.tensors import read_tensors, write_tensors


def make_prototypes(job: Job) -> None:
    """prototypes/: a latent and a text of each cluster."""
    settings = job.settings
    record = job.files.open_record("prototypes", job.asked("prototypes"))
    captions = captions_by_class(job, needed=settings.text_proto in ("medoid", "llm", "frequency"))
    writer = open_texts(job)
    draw = _ImagePrototypes(job, record)
    shortened = fell_back = 0
    for label, folder in enumerate(job.folders):
        clusters, file, told = job.files.clusters(folder), job.files.prototypes(folder), captions(label)
        texts = content(job.texts) if job.texts is not None else ""
        hashes = [content(clusters), content(clusters.with_suffix(".safetensors"))]
        inputs = digest(job.content(job.images(label)), hashes, told, job.names[label], texts)
        if record.is_done(folder, inputs, file, file.with_suffix(".safetensors")):
            continue
        nearest = _nearest(job, label)
        entries = [_text(job, writer, label, number, members, told) for number, members in enumerate(nearest)]
        shortened += sum(entry["shortened"] for entry in entries)
        fell_back += sum(entry["fell_back"] is not None for entry in entries)
        write_tensors(file.with_suffix(".safetensors"), {"latents": draw(label, nearest).half()})
        about = {"class": job.source.classes[label], "prototypes": entries}
        write_text(file, json.dumps(about, indent=1, ensure_ascii=False))
        record.keep(folder, inputs)
        job.progress.advance("prototypes", label + 1, len(job.folders))
    if shortened:
        job.progress.note(f"{shortened} texts were shortened to what a prompt holds.")
    if fell_back:
        job.progress.note(f"{fell_back} texts are their nearest member's caption, for want of an answer.")


def open_texts(job: Job) -> Writer:
    """The writer of the settings; SettingsError where it lacks a key, a permission (R5, R7) or its file."""
    settings = job.settings
    model = None
    if settings.text_proto == "llm" and settings.llm_model and settings.llm_url:  # as the settings have seen to
        model = LanguageModel(
            settings.llm_model,
            settings.llm_url,
            cache=job.files.answers,
            key_variable=settings.llm_key,
            allow_remote=job.means.allow_remote_text,
        )
    return open_writer(
        settings.text_proto,
        nearest_captions=settings.k_text,
        threshold=settings.frequency_threshold,
        substring=settings.frequency_substring,
        file=job.texts,
        language_model=model,
    )


@dataclass(eq=False)
class _ImagePrototypes:
    """The latents of a class's clusters; the VAE is opened where a class needs it."""

    job: Job
    record: Record
    _coder: Any = None

    def __call__(self, label: int, nearest: Sequence[Sequence[int]]) -> Float[Tensor, "k c h w"]:
        settings = self.job.settings
        if settings.image_proto == "centre":
            file = self.job.files.clusters(self.job.folders[label])
            centres = read_tensors(file.with_suffix(".safetensors"))[0]["centres"]
            shape = read_json(file).get("latent")
            if not shape:
                message = f"{file} has no centres of latents, which image_proto centre needs"
                raise SettingsError(message, "Cluster latents (--fuse vae --restart), or choose another --image-proto.")
            return centres.unflatten(1, shape).float()
        if self._coder is None:
            self._coder = open_coder(settings, self.job.device, allow_download=self.job.means.allow_download)
            self.record.refuse_other_settings({"vae_fingerprint": self._coder.fingerprint})
        count = 1 if settings.image_proto == "medoid" else settings.k_image
        images = self.job.images(label)
        chosen = ([images[member] for member in members[:count]] for members in nearest)
        latents = (self._coder.encode(self.job.pixels(each)) for each in chosen)
        return torch.stack([image_prototype(settings.image_proto, each) for each in latents])


def _nearest(job: Job, label: int) -> list[list[int]]:
    """Of each cluster its members, nearest to the centre first, by their places in the class."""
    file = job.files.clusters(job.folders[label])
    places = {key: place for place, key in enumerate(job.keys(job.images(label)))}
    try:
        return [[places[key] for key in members] for members in read_json(file)["nearest"]]
    except (LookupError, TypeError) as error:
        raise FileError(f"{file} is damaged", "Make it again with --restart.") from error


def _text(
    job: Job, writer: Writer, label: int, number: int, members: Sequence[int], told: Sequence[str]
) -> Mapping[str, Any]:
    """The text of a cluster and where it comes from, as the file of prototypes holds it."""
    names, keys = job.names[label], job.keys(job.images(label))
    place = f"{job.source.classes[label]}/{number}"
    captions = [told[member] for member in members] if told else []
    written = writer.write(captions, names, of_class=told, place=place)
    text, shortened = finish_text(written.text, names, job.fit[1])
    if written.fell_back:
        job.progress.note(f"{place} has its nearest member's caption: {written.fell_back}.")
    many = max(job.settings.k_image, job.settings.k_text)
    return {
        "text": text,
        "images": [keys[member] for member in members[:many]],
        "writer": "medoid" if written.fell_back else job.settings.text_proto,
        "fell_back": written.fell_back,
        "shortened": shortened,
    }
