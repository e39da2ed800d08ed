"""Latent diffusion models behind one interface: DiT by class, Stable Diffusion by prompt.

What a method needs is the same of both: images to latents and back, and the noise that the network sees in a latent.
The networks are diffusers', unchanged; the steps between are the method's own (`attar.diffusion.sampling`).
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, final

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor
from torch.nn import functional

from attar.diffusion import labels, stock


class Prediction(NamedTuple):
    """The noise in each latent, with its condition and without one; `variance` in -1..1 where the network tells it."""

    conditional: Float32[Tensor, "n c s s"]
    unconditional: Float32[Tensor, "n c s s"] | None
    variance: Float32[Tensor, "n c s s"] | None


@dataclass(frozen=True, eq=False, kw_only=True)
class LatentDiffusion(abc.ABC):
    """A frozen text- or class-conditional diffusion model over the latents of an autoencoder.

    `side` is in pixels, `latent` the shape (channels, s, s). `alphas` are the cumulative products of the schedule for
    its T timesteps, `final_alpha` the one before the first of them, `offset` what is added to evenly spaced timesteps
    (diver.md 2). `guidance` is the usual scale of classifier-free guidance; `placement` says where the weights are.
    """

    name: str
    fingerprint: str
    pipeline: Any
    side: int
    latent: tuple[int, int, int]
    alphas: Float64[Tensor, " steps"]
    final_alpha: float
    offset: int
    device: torch.device
    dtype: torch.dtype
    weight_bytes: int
    placement: str
    label_map: labels.LabelMap
    guidance: ClassVar[float]

    @property
    @abc.abstractmethod
    def tells_variance(self) -> bool:
        """Whether the network predicts variances beside the noise."""

    @property
    @abc.abstractmethod
    def null(self) -> int | str:
        """The condition that stands for none."""

    @abc.abstractmethod
    def conditions(self, classes: Sequence[str], titles: Sequence[str]) -> list[int | str]:
        """What the network is told to draw each class; SettingsError for classes unknown to it or to the set."""

    @abc.abstractmethod
    def _network(
        self, latents: Tensor, timesteps: Tensor, conditions: Sequence[int | str]
    ) -> Float[Tensor, "n channels s s"]:
        """All channels that the network gives for latents [n, c, s, s] in its own type."""

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "n 3 h w"]) -> Float32[Tensor, "n c s s"]:
        """Latents of RGB images in 0..1: resized to `side` (bicubic, antialiased), the posterior's mode, scaled."""
        size = (self.side, self.side)
        pixels = functional.interpolate(images.float(), size, mode="bicubic", antialias=True).clamp(0, 1)
        posterior = self.pipeline.vae.encode((2 * pixels - 1).to(self.device, self.dtype)).latent_dist
        return posterior.mode().float() * self.pipeline.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "n c s s"]) -> Float32[Tensor, "n 3 side side"]:
        """Images in 0..1 of latents; what the decoder gives beyond is clipped."""
        scaled = (latents.float() / self.pipeline.vae.config.scaling_factor).to(self.device, self.dtype)
        return (self.pipeline.vae.decode(scaled).sample.float() / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def predict(
        self, latents: Float32[Tensor, "n c s s"], timestep: int, conditions: Sequence[int | str], *, guided: bool
    ) -> Prediction:
        """The noise in latents at a timestep in 0..T-1; if `guided`, in the same pass also without a condition."""
        count, channels = len(latents), self.latent[0]
        told = [*conditions, *([self.null] * count if guided else [])]
        inputs = torch.cat([latents, latents]) if guided else latents
        timesteps = torch.full((len(inputs),), timestep, dtype=torch.int64, device=self.device)
        output = self._network(inputs.to(self.device, self.dtype), timesteps, told).float()
        noise, rest = output[:, :channels], output[:count, channels:]
        return Prediction(noise[:count], noise[count:] if guided else None, rest if self.tells_variance else None)

    def release(self) -> None:
        """Take what is offloaded off the device; call it when the work is done."""
        self.pipeline.maybe_free_model_hooks()


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class DiT(LatentDiffusion):
    """A diffusion transformer (Peebles & Xie 2023): a condition is the number of a class."""

    known: labels.Labels
    guidance: ClassVar[float] = 4.0

    @property
    def tells_variance(self) -> bool:
        return self.pipeline.transformer.config.out_channels == 2 * self.latent[0]

    @property
    def null(self) -> int:
        return self.pipeline.transformer.config.num_embeds_ada_norm

    def conditions(self, classes: Sequence[str], titles: Sequence[str]) -> list[int | str]:
        return list(self.known.indices(classes, titles, self.label_map))

    def _network(self, latents: Tensor, timesteps: Tensor, conditions: Sequence[int | str]) -> Tensor:
        numbers = torch.tensor(conditions, dtype=torch.int64, device=self.device)
        return self.pipeline.transformer(latents, timestep=timesteps, class_labels=numbers).sample


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class StableDiffusion(LatentDiffusion):
    """Stable Diffusion 1.x: a condition is a prompt; each is embedded once."""

    embedded: dict[str, Tensor] = field(default_factory=dict)
    guidance: ClassVar[float] = 7.5

    @property
    def tells_variance(self) -> bool:
        return False

    @property
    def null(self) -> str:
        return ""

    def conditions(self, classes: Sequence[str], titles: Sequence[str]) -> list[int | str]:
        labels.check_map(self.label_map, classes)
        return [f"a photo of a {self._word(name, title)}" for name, title in zip(classes, titles, strict=True)]

    def _word(self, name: str, title: str) -> str:
        """The first name of the ImageNet class, where it is one, else the title."""
        mapped = self.label_map.get(name)
        if isinstance(mapped, int):
            return labels.imagenet().names[labels.imagenet().at(mapped)][0]
        if mapped is not None:
            return labels.names_of(mapped)[0]
        return labels.names_of(name if name in labels.imagenet().wnids else title)[0]

    def _network(self, latents: Tensor, timesteps: Tensor, conditions: Sequence[int | str]) -> Tensor:
        texts = torch.cat([self._embedding(str(prompt)) for prompt in conditions])
        return self.pipeline.unet(latents, timesteps, encoder_hidden_states=texts).sample

    def _embedding(self, prompt: str) -> Tensor:
        if prompt not in self.embedded:
            with stock.quiet():  # the tokenizer logs what it cuts off
                made, _ = self.pipeline.encode_prompt(prompt, self.device, 1, do_classifier_free_guidance=False)
            self.embedded[prompt] = made
        return self.embedded[prompt]
