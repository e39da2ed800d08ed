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
    """What the images of a class are clustered by; what is on the disk serves where it is of this network and input."""

    job: Job
    record: Record
    _network: Any = None

    def __call__(self, label: int, told: Sequence[str], inputs: str) -> tuple[Float[Tensor, "n dim"], list[int]]:
        """(features, shape of the latents where these are the features)."""
        settings, file = self.job.settings, self.job.files.features(self.job.folders[label])
        of = digest(inputs, settings.fuse, self._open().fingerprint, *self._encoding())
        parts, about = read_tensors(file) if file.is_file() else ({}, {})
        if about.get("of") != of:
            parts = self._latents(label) if settings.fuse == "vae" else self._clip(label, told)
            write_tensors(file, parts, {"of": of})
        images, texts, latents = parts.get("images"), parts.get("texts"), parts.get("latents")
        if latents is not None:
            latents = latents.float()
        features = fuse(settings.fuse, images, texts, latents, settings.temperature, settings.normalise)
        return features, [] if latents is None else list(latents.shape[1:])

    def _open(self) -> Any:
        """The VAE or CLIP; DoneOtherwiseError where the clusters that are done are of another."""
        if self._network is None:
            settings, means = self.job.settings, self.job.means
            if settings.fuse == "vae":
                self._network = open_coder(settings, self.job.device, allow_download=means.allow_download)
            else:
                self._network = open_clip(settings.clip, device=means.device, allow_download=means.allow_download)
            kind = "vae_fingerprint" if settings.fuse == "vae" else "clip_fingerprint"
            self.record.refuse_other_settings({kind: self._network.fingerprint})
        return self._network

    def _encoding(self) -> tuple[Any, ...]:
        """What decides latents beside network and images."""
        settings = self.job.settings
        if settings.fuse != "vae":
            return ()
        return self._network.side, settings.seed if settings.vae_sample else None

    def _clip(self, label: int, told: Sequence[str]) -> dict[str, Tensor]:
        seen = {"images": self._network.images(self.job.pixels(self.job.images(label)))}
        return seen | ({"texts": self._network.texts(told)} if told else {})

    def _latents(self, label: int) -> dict[str, Tensor]:
        job = self.job
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
