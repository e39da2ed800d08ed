"""The second stage of EDITS: the images of each class clustered by what they show and what is said (edits.md 3, 4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attar.diffusion.edits.clip import open_clip
from attar.diffusion.edits.clusters import Clusters, cluster, nearest_members
from attar.diffusion.edits.files import Record
from attar.diffusion.edits.image_prototypes import open_coder
from attar.diffusion.edits.job import Job
from attar.diffusion.edits.query import fuse
from attar.diffusion.edits.stage_caption import captions_by_class
from attar.files import digest, write_text
from attar.tensors import read_tensors, write_tensors


def make_clusters(job: Job) -> None:
    """clusters/: the images of each class by what they show and what is said of them."""
    settings = job.settings
    record = job.files.open_record("fuse", job.asked("fuse"))
    captions = captions_by_class(job, needed=settings.fuse in ("query", "concat"))
    see = _Features(job, record)
    for label, folder in enumerate(job.folders):
        images = job.images(label)
        file, told = job.files.clusters(folder), captions(label)
        inputs = digest(job.content(images), told)
        if record.is_done(folder, inputs, file, file.with_suffix(".safetensors")):
            continue
        features, latent = see(label, told, inputs)
        found = cluster(
            features,
            settings.prototypes,
            seed=settings.seed % 2**32,  # the most that scikit-learn takes
            algorithm=settings.algorithm,
            outliers=settings.outliers,
            name=job.source.classes[label],
        )
        write_tensors(file.with_suffix(".safetensors"), {"centres": found.centres})
        write_text(file, json.dumps(_described(job, label, features, found) | {"latent": latent}, indent=1))
        record.keep(folder, inputs)
        job.progress.advance("clusters", label + 1, len(job.folders))


@dataclass(eq=False)
class _Features:
    """What the images of a class are clustered by; networks are opened where the class has no features on the disk."""

    job: Job
    record: Record
    _network: Any = None

    def __call__(self, label: int, told: Sequence[str], inputs: str) -> tuple[Float[Tensor, "n dim"], list[int]]:
        """(features, shape of the latents where these are the features)."""
        settings, file = self.job.settings, self.job.files.features(self.job.folders[label])
        of = digest(
            inputs, {name: self.job.asked("fuse")[name] for name in ("fuse", "clip", "model", "vae", "vae_side")}
        )
        parts, about = read_tensors(file) if file.is_file() else ({}, {})
        if about.get("of") != of:
            parts = self._latents(label) if settings.fuse == "vae" else self._clip(label, told)
            write_tensors(file, parts, {"of": of})
        images, texts, latents = parts.get("images"), parts.get("texts"), parts.get("latents")
        if latents is not None:
            latents = latents.float()
        features = fuse(settings.fuse, images, texts, latents, settings.temperature, settings.normalise)
        return features, [] if latents is None else list(latents.shape[1:])

    def _clip(self, label: int, told: Sequence[str]) -> dict[str, Tensor]:
        means = self.job.means
        if self._network is None:
            self._network = open_clip(self.job.settings.clip, device=means.device, allow_download=means.allow_download)
            self.record.refuse_other_settings({"clip_fingerprint": self._network.fingerprint})
        seen = {"images": self._network.images(self.job.pixels(self.job.images(label)))}
        return seen | ({"texts": self._network.texts(told)} if told else {})

    def _latents(self, label: int) -> dict[str, Tensor]:
        job = self.job
        if self._network is None:
            self._network = open_coder(job.settings, job.device, allow_download=job.means.allow_download)
            self.record.refuse_other_settings({"vae_fingerprint": self._network.fingerprint})
        images = job.images(label)
        seeds = [_posterior_seed(job.settings.seed, key) for key in job.keys(images)]
        sampled = seeds if job.settings.vae_sample else None
        return {"latents": self._network.encode(job.pixels(images), sampled).half()}


def _posterior_seed(seed: int, key: str) -> int:
    return int.from_bytes(hashlib.sha256(f"edits|{seed}|{key}|posterior".encode()).digest()[:8], "big") % 2**63


def _described(job: Job, label: int, features: Float[Tensor, "n dim"], found: Clusters) -> dict[str, Any]:
    """Clusters as people and the next stage read them: images by name, those of a cluster nearest first."""
    keys, members = job.keys(job.images(label)), found.members.tolist()
    nearest = [nearest_members(features, found, number, len(keys)) for number in range(len(found.centres))]
    gaps = torch.cdist(features.double(), found.centres.double()).tolist()
    return {
        "class": job.source.classes[label],
        "images": {key: {"cluster": own, "distance": gaps[row][own] if own >= 0 else None}
                   for row, (key, own) in enumerate(zip(keys, members, strict=True))},
        "nearest": [[keys[row] for row in rows] for rows in nearest],
    }  # fmt: skip
