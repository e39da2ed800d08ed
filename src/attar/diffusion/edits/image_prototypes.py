"""The image prototype of a cluster: a latent made of those of its members (edits.md 5), and the VAE that makes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from attar.diffusion import stock
from attar.diffusion.edits.absent import absent
from attar.diffusion.edits.settings import EditsSettings

Kind = Literal["mean", "medoid", "mean-rescaled"]


def image_prototype(kind: Kind, latents: Float[Tensor, "k c h w"]) -> Float[Tensor, "c h w"]:
    """One latent of those of the `k` members nearest to a cluster's centre, the nearest first (edits.md 5).

    mean           their mean; of unlike images it loses contrast, down to a share of 1/sqrt(k)
    medoid         the first
    mean-rescaled  their mean with, in each channel, the average spread of the members
    """
    if kind == "medoid":
        return latents[0]
    mean = latents.mean(dim=0)
    if kind == "mean":
        return mean
    centre = mean.mean(dim=(1, 2), keepdim=True)
    wanted = latents.std(dim=(2, 3), keepdim=True).mean(dim=0)
    spread = mean.std(dim=(1, 2), keepdim=True)
    # Members that cancel each other out leave a flat channel, which no factor gives a spread.
    return centre + (mean - centre) * torch.where(spread > 0, wanted / spread, 1.0)


@dataclass(frozen=True, eq=False)
class Coder:
    """A VAE that turns images into scaled latents, squashed to `side` pixels, and latents into images."""

    network: Any
    side: int
    fingerprint: str

    @torch.no_grad()
    def encode(
        self, images: Iterable[UInt8[np.ndarray, "3 _ _"]], seeds: Sequence[int] | None = None
    ) -> Float[Tensor, "n c h w"]:
        """Latents on the CPU, one image after the other so that none depends on its neighbours.

        They are the posterior's mode, or with `seeds`, one for each image, samples of it.
        """
        latents = []
        for number, image in enumerate(images):
            pixels = torch.from_numpy(squashed(image, self.side)).to(self.network.device, torch.float32)
            posterior = self.network.encode(pixels[None] / 127.5 - 1).latent_dist
            latent = posterior.mode().cpu()
            if seeds is not None:
                noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seeds[number]))
                latent += posterior.std.cpu() * noise
            latents.append(latent * self.network.config.scaling_factor)
        return torch.cat(latents)

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "n c h w"]) -> UInt8[np.ndarray, "n 3 _ _"]:
        """Images of latents, without diffusion."""
        scaled = latents.to(self.network.device, torch.float32) / self.network.config.scaling_factor
        images = torch.cat([self.network.decode(each[None]).sample.cpu() for each in scaled])
        return ((images + 1) * 127.5).round().clip(0, 255).to(torch.uint8).numpy()


def open_coder(settings: EditsSettings, device: torch.device, *, allow_download: bool = False) -> Coder:
    """The VAE of `settings.vae`, else the diffusion model's own, in float32; BackboneError where it isn't here (R1).

    Stable Diffusion's widespread other VAE, stabilityai/sd-vae-ft-mse, has the same encoder: it changes looks alone.
    """
    kind = stock.library("diffusers", "EDITS").AutoencoderKL
    where = {"subfolder": "vae"} if settings.vae is None else {}
    name = settings.vae or settings.model
    network = stock.load(kind, name, absent=absent("VAE"), allow_download=allow_download, **where).to(device).eval()
    network.requires_grad_(False)
    scale = 2 ** (len(network.config.block_out_channels) - 1)
    side = settings.vae_side or _latent_side(settings.model, allow_download) * scale
    folder = stock.folder_of(name)
    assert folder is not None  # it was loaded from there
    return Coder(network, side - side % scale, stock.fingerprint(folder / "vae" if where else folder))


def squashed(image: UInt8[np.ndarray, "3 _ _"], side: int) -> UInt8[np.ndarray, "3 {side} {side}"]:
    """The whole image as a square of `side` pixels, whatever its shape (Lanczos, as the authors do)."""
    square = Image.fromarray(image.transpose(1, 2, 0)).resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(square).transpose(2, 0, 1).copy()


def _latent_side(model: str, allow_download: bool) -> int:
    """Side of the latents that a Stable Diffusion model was trained for."""
    kind = stock.library("diffusers", "EDITS").UNet2DConditionModel
    for local in (True, False) if allow_download else (True,):
        try:
            with stock.quiet():
                return int(kind.load_config(model, subfolder="unet", local_files_only=local)["sample_size"])
        except (OSError, LookupError, TypeError, ValueError):
            continue
    raise absent("diffusion model")(model)
