"""Dual prototype guidance: Stable Diffusion from a noised image prototype to an image of the text (edits.md 7).

The pipeline is diffusers' own for images to images, which takes a latent in place of an image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from attar.diffusion import stock
from attar.diffusion.edits.absent import absent
from attar.diffusion.edits.settings import EditsSettings
from attar.errors import BackboneError, SettingsError

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_KINDS = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
_CHUNK = 75  # words of CLIP's text encoder between the marks of beginning and end
_LARGEST = 256  # of the sets of the paper; smaller ones are given by --set out_size


@dataclass(frozen=True, eq=False)
class Request:
    """An image to make: what it starts from, what it shows, and the seed of its noise."""

    latent: Float[Tensor, "c h w"]
    text: str
    seed: int


def image_seed(seed: int, name: str, cluster: int, replica: int) -> int:
    """The seed of an image's noise: of the run, the class, the cluster, and how often it was used (edits.md 11)."""
    digest = hashlib.sha256(f"edits|{seed}|{name}|{cluster}|{replica}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 2**63


class Generator:
    """A Stable Diffusion model on a device, ready to make images as `settings` say.

    Attributes: `fingerprint` of its weights, `side` of its images in pixels, `placement` in words for the log.
    """

    def __init__(
        self,
        settings: EditsSettings,
        device: torch.device,
        *,
        precision: str = "auto",
        memory: int | None = None,
        offload: str = "auto",
        allow_download: bool = False,
    ):
        self._settings = settings
        self._pipeline = _open(settings, dtype_of(precision, device), allow_download)
        self.placement = stock.place(self._pipeline, device, memory=memory, offload=offload)
        self.fingerprint = _fingerprint(settings)
        scale = self._pipeline.vae_scale_factor
        self.side = settings.vae_side or self._pipeline.unet.config.sample_size * scale

    @torch.no_grad()
    def __call__(self, requests: Sequence[Request]) -> UInt8[np.ndarray, "n 3 out out"]:
        """Images of a batch; each is what it would be alone, but for the rounding of float sums.

        The texts must have the same number of `chunks`.
        """
        settings = self._settings
        text, negative = self._embeddings([request.text for request in requests])
        with stock.quiet():
            made = self._pipeline(
                prompt_embeds=text,
                negative_prompt_embeds=negative,
                image=torch.stack([request.latent for request in requests]),
                strength=1.0 if settings.control == "text-only" else settings.strength,
                guidance_scale=settings.guidance,
                num_inference_steps=settings.steps,
                generator=[torch.Generator().manual_seed(request.seed) for request in requests],
                output_type="np",
            ).images
        return np.stack(
            [resized((255 * image).round().astype(np.uint8), out_size(settings, self.side)) for image in made]
        )

    def chunks(self, text: str) -> int:
        """Pieces that the text encoder reads `text` in; 1 unless `long_prompts` is "chunks"."""
        return len(self._pieces(text))

    def _pieces(self, text: str) -> list[list[int]]:
        words = self._pipeline.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        starts = range(0, max(1, len(words)), _CHUNK)
        pieces = [words[start : start + _CHUNK] for start in starts]
        return pieces if self._settings.long_prompts == "chunks" else pieces[:1]

    def _embeddings(self, texts: Sequence[str]) -> tuple[Float[Tensor, "n words dim"], Float[Tensor, "n words dim"]]:
        """What the U-Net is told of the texts and of the negative prompt, padded to the same number of chunks."""
        pieces = [self._pieces(text) for text in texts]
        negative = self._pieces(self._settings.negative_prompt)
        longest = max(map(len, [*pieces, negative]))
        encoded = [self._encode(each + [[]] * (longest - len(each))) for each in [*pieces, negative]]
        return torch.stack(encoded[:-1]), encoded[-1].expand(len(texts), -1, -1)

    def _encode(self, pieces: Sequence[Sequence[int]]) -> Float[Tensor, "words dim"]:
        tokenizer, encoder = self._pipeline.tokenizer, self._pipeline.text_encoder
        ids = torch.tensor([_wrapped(piece, tokenizer) for piece in pieces])
        return encoder(ids.to(self._pipeline._execution_device))[0].flatten(0, 1)


def out_size(settings: EditsSettings, side: int) -> int:
    """Pixels of the set's images, where the model makes them of `side` pixels."""
    return settings.out_size or min(side, _LARGEST)


def resized(image: UInt8[np.ndarray, "_ _ 3"], side: int) -> UInt8[np.ndarray, "3 {side} {side}"]:
    """The image as a square of `side` pixels, channels first (bicubic)."""
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)).transpose(2, 0, 1)


def _wrapped(piece: Sequence[int], tokenizer: Any) -> list[int]:
    """A piece between the marks of beginning and end, filled up to the encoder's length."""
    marked = [tokenizer.bos_token_id, *piece, tokenizer.eos_token_id]
    return marked + [tokenizer.pad_token_id] * (_CHUNK + 2 - len(marked))


def _open(settings: EditsSettings, dtype: torch.dtype, allow_download: bool) -> Any:
    """The pipeline, without a filter of images; BackboneError where it isn't here, or another kind of model."""
    diffusers = stock.library("diffusers", "EDITS")
    refuse_other_kinds(settings.model)
    options: dict[str, Any] = {"torch_dtype": dtype, "allow_download": allow_download}
    if settings.vae is not None:
        options["vae"] = stock.load(diffusers.AutoencoderKL, settings.vae, absent=absent("VAE"), **options)
    pipeline = stock.load(
        _from_latents(diffusers.StableDiffusionImg2ImgPipeline),
        settings.model,
        absent=absent("diffusion model"),
        safety_checker=None,
        requires_safety_checker=False,
        feature_extractor=None,
        **options,
    )
    pipeline.image_processor.register_to_config(vae_latent_channels=pipeline.vae.config.latent_channels)
    if settings.scheduler == "ddim":
        pipeline.scheduler = _ddim(pipeline.scheduler.config, settings.model)
    return pipeline


def refuse_other_kinds(name: str) -> None:
    """BackboneError where a model on this machine is no Stable Diffusion of the first generations."""
    folder = stock.folder_of(name)
    if folder is None or not (folder / "model_index.json").is_file():
        if Path(name).exists():
            message = f"{name} is no StableDiffusionPipeline, which EDITS needs: it has no model_index.json"
            raise BackboneError(message, "Pass another --model.")
        return  # of a name on the hub a part may be here
    kind = stock.read_json(folder / "model_index.json").get("_class_name")
    if kind not in _KINDS:
        raise BackboneError(f"{name} is a {kind}, and EDITS needs a StableDiffusionPipeline", "Pass another --model.")


def _from_latents(stock_pipeline: Any) -> Any:
    """diffusers' pipeline, but that latents may have any number of channels, and noise is the same in any precision."""

    class FromLatents(stock_pipeline):
        def prepare_latents(
            self, image, timestep, batch_size, num_images_per_prompt, dtype, device, generator=None
        ):  # as diffusers calls it
            noise = torch.stack([torch.randn(image.shape[1:], generator=each) for each in generator])
            return self.scheduler.add_noise(image.to(device, dtype), noise.to(device, dtype), timestep)

    return FromLatents


def _ddim(config: Any, name: str) -> Any:
    """The deterministic sampler with a checkpoint's noise schedule; BackboneError where its table would be another."""
    scheduler = stock.library("diffusers", "EDITS").DDIMScheduler.from_config(config, clip_sample=False)
    wanted = {"steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False, "prediction_type": "epsilon"}
    for setting, value in wanted.items():
        if scheduler.config[setting] != value:
            raise BackboneError(
                f"the scheduler of {name} has {setting} {scheduler.config[setting]}, and EDITS samples with {value}",
                "use --set scheduler=own",
            )
    return scheduler


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """What networks work in; SettingsError for an unknown name."""
    if precision == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    if precision not in _DTYPES:
        raise SettingsError(f"there is no precision {precision!r}", f"Use auto, {', '.join(_DTYPES)}.")
    return _DTYPES[precision]


def _fingerprint(settings: EditsSettings) -> str:
    folders = [stock.folder_of(name) for name in (settings.model, settings.vae) if name is not None]
    return stock.fingerprint(*(folder for folder in folders if folder is not None))
